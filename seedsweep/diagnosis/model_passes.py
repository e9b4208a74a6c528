"""What a model of any origin makes of a loader: classes, features before its head, classes for changed inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep.batchnorm.batches import device_of_net, inputs_of, labels_of
from seedsweep.batchnorm.policy import modes_untouched
from seedsweep.errors import SeedsweepError

Change = Callable[[Tensor], Tensor]
OF_A_HEAD = (nn.Linear, nn.LayerNorm, nn.BatchNorm1d)


@dataclass(frozen=True)
class Seen:
    """What a model makes of a loader's inputs, in eval mode."""

    labels: NDArray[np.int64]  # class numbers, int64 [N]
    predicted: NDArray[np.int64]  # classes for the inputs as they are, int64 [N]
    features: Tensor | None  # what the last layers read, [N, C]; None: not found
    changed: dict[str, NDArray[np.int64]]  # classes for changed inputs, int64 [N], by what was changed

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Says [N] which inputs are classified correctly as they are."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right


def first_of(loader: Iterable[Any], limit: int) -> Iterable[Any]:
    """Yields batches until they hold ``limit`` inputs."""
    seen = 0
    for batch in loader:
        yield batch
        seen += len(inputs_of(batch))
        if seen >= limit:
            return


def input_changes(means: Sequence[float], stds: Sequence[float]) -> dict[str, Change]:
    """Returns what inputs [B, 3, H, W] are tried as, by what a sentence calls it."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, stds))

    def normalise(x: Tensor) -> Tensor:
        return (x - mean.to(x)) / std.to(x)

    scalings: dict[str, Change] = {
        "divided by 255": lambda x: x / 255,
        "multiplied by 255": lambda x: x * 255,
        "normalised with mean and standard deviation": normalise,
        "divided by 255, then normalised": lambda x: normalise(x / 255),
        "without mean and standard deviation": lambda x: x * std.to(x) + mean.to(x),
        "from 0..1 to -1..1": lambda x: 2 * x - 1,
        "from -1..1 to 0..1": lambda x: (x + 1) / 2,
    }
    return {"with red and blue swapped": lambda x: x.flip(1), **scalings}


def passed(model: nn.Module, loader: Iterable[Any], changes: dict[str, Change]) -> Seen:
    """Passes a loader through the model in eval mode."""
    device = device_of_net(model)
    labels, predicted, features = [], [], []
    changed: dict[str, list[Tensor]] = {name: [] for name in changes}
    with modes_untouched(model), torch.inference_mode():
        model.eval()
        for batch in loader:
            x, y = inputs_of(batch).to(device), labels_of(batch)
            with _HeadInput(model) as read:
                predicted.append(_classes_of(model(x), y))
            features.append(read.features)
            labels.append(y.cpu())
            if x.ndim == 4 and x.shape[1] == 3:
                for name, change in changes.items():
                    changed[name].append(_classes_of(model(change(x.float())), y))
    if not labels:
        raise SeedsweepError("The loader gives no batches: there is nothing to diagnose.")
    return Seen(
        torch.cat(labels).numpy(),
        torch.cat(predicted).numpy(),
        torch.cat([each for each in features if each is not None])
        if all(f is not None for f in features)
        else None,
        {name: torch.cat(parts).numpy() for name, parts in changed.items() if parts},
    )


def _classes_of(logits: Any, labels: Tensor) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise SeedsweepError(f"The model must give logits [B, N] for {len(labels)} inputs, but gave {shape}.")
    return logits.float().nan_to_num(nan=-torch.inf).argmax(1).cpu()


class _HeadInput:
    """Notes what the last dense layers of a model read in one pass: ``features`` [B, C], or None."""

    def __init__(self, model: nn.Module) -> None:
        self._leaves = [m for m in model.modules() if any(True for _ in m.parameters(recurse=False))]
        self._calls: list[tuple[nn.Module, Tensor]] = []

    def __enter__(self) -> _HeadInput:
        self._hooks = [leaf.register_forward_pre_hook(self._note) for leaf in self._leaves]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self.features: Tensor | None = None
        for layer, x in reversed(self._calls):
            if not isinstance(layer, OF_A_HEAD) or x.ndim != 2:
                break
            self.features = x.float().cpu()

    def _note(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            self._calls.append((layer, inputs[0]))
