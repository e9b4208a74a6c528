"""From pixels 0..255 to what a backbone reads: as its weights expect, or with a scaling fault to study."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seedsweep.models.backbone import InputSpec
from seedsweep.models.options import PreprocessConfig

SMALLEST_NORMAL = torch.finfo(torch.float32).smallest_normal


class Preprocess(nn.Module):
    """One multiply and add a channel.

    ``normalise`` computes ``(x / 255 - mean) / std``; ``rescale`` multiplies by 1/255, after normalising: Keras'
    ImageDataGenerator calls preprocessing_function first and rescales its result, so `rescale_twice`, which
    has both, feeds values within about 0.01 of zero.

    Args:
        spec: what the backbone's weights were trained with.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, config: PreprocessConfig, spec: InputSpec) -> None:
        super().__init__()
        self.normalise, self.rescale = config.normalise, config.rescale
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        scale = 1 / (255 * std) if config.normalise else torch.ones(3)
        bias = -mean / std if config.normalise else torch.zeros(3)
        if config.rescale:
            scale, bias = scale / 255, bias / 255
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("bias", bias.view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns float32 [B, 3, H, W] of uint8 or float images [B, 3, H, W] with values 0..255.

        Values too small for a normal float32 become 0: arithmetic on denormal numbers is many times slower.
        """
        scaled = torch.addcmul(self.bias, images.float(), self.scale)
        return scaled.masked_fill(scaled.abs() < SMALLEST_NORMAL, 0)


def flush_denormals() -> bool:
    """Makes the CPU treat denormal floats as zero; returns False where it can't.

    Tiny inputs, and Adam's squared tiny gradients, fall below 1.2e-38, where x86 computes in microcode, about
    ten times slower. Call it before torch starts its thread pool: new threads inherit the setting.
    """
    return torch.set_flush_denormal(True)
