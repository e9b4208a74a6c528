"""In what precision a head is trained on stored features."""

from __future__ import annotations

import torch

SMALLEST_BATCH = 32  # measured: below it the conversions cost a CPU what the products save


def takes_bfloat16(choice: str, device: torch.device, batch_size: int) -> bool:
    """Says whether the large matrix products of a head's step are taken in bfloat16.

    Args:
        choice: float32 | bfloat16 | auto. ``auto`` takes bfloat16 where the processor multiplies it natively; others
            emulate it, which is slower than float32.
        device: where the head is trained.
        batch_size: images a step.
    """
    if choice != "auto":
        return choice == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or batch_size < SMALLEST_BATCH:
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))  # bf16: ARM
