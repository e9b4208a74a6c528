"""A training step of a dense head, written out: loss, gradients, update.

A head is Linear, ReLU, Dropout, Linear, so its gradient is three matrix products. Written out they need no autograd
graph, which for a small head costs more than the products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import get_total_norm
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from seedsweep.features.feature_store import FeatureRows
from seedsweep.models.classifier import Head, Mask
from seedsweep.training.options import OptimConfig

SCORED = 2**22  # hidden activations held at a time while scoring: 16 MiB


def optimizer_step(parameters: list[Tensor], config: OptimConfig) -> Callable[[list[Tensor], float], None]:
    """Returns a function that changes ``parameters`` by a step of the optimiser, as ``build_optimizer`` makes it.

    It takes the gradients, in the order of ``parameters``, whose norm it limits, and the learning rate. The optimiser
    object's bookkeeping is left out: it takes longer than the update of a small head.

    Args:
        parameters: float32, changed in place.
    """
    options: dict[str, Any] = {"weight_decay": config.weight_decay, "maximize": False}
    first = [torch.zeros_like(parameter) for parameter in parameters]

    def clipped(gradients: list[Tensor]) -> list[Tensor]:
        if config.clip_norm:
            total = get_total_norm(gradients)
            factor = (config.clip_norm / (total + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
            torch._foreach_mul_(gradients, factor)
        return gradients

    if config.name == "sgd":
        options |= {"momentum": config.momentum, "dampening": 0.0, "nesterov": config.nesterov, "fused": True}
        momenta: list[Tensor | None] = [*first]
        return lambda gradients, lr: sgd(parameters, clipped(gradients), momenta, lr=lr, **options)
    second = [torch.zeros_like(parameter) for parameter in parameters]
    steps = [torch.zeros((), device=parameter.device) for parameter in parameters]
    function = adamw if config.name == "adamw" else adam
    options |= {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False, "fused": True}

    def update(gradients: list[Tensor], lr: float) -> None:
        function(parameters, clipped(gradients), first, second, [], steps, lr=lr, **options)

    return update


def _put(target: Tensor, value: Tensor, beta: int) -> None:
    """Writes ``value`` into ``target``, or with ``beta=1`` adds it."""
    if beta:
        target.add_(value)
    else:
        target.copy_(value)


class HeadLoss:
    """What ``functional.cross_entropy(logits, labels, weight, label_smoothing)`` computes, and its gradient.

    With weights w and smoothing s the loss of an image with label y is ``-sum_n t[y, n] log p[n]``, where
    ``t[y, n] = (1 - s) w[y] [n = y] + s / N w[n]``; a batch's loss is their sum over the sum of its w[y]. So the
    gradient of a logit is ``(p[n] sum(t[y]) - t[y, n]) / sum of w[y]``.

    Args:
        classes: N.
        weights: [N] or None.
        smoothing: s.
        device: of the logits.
    """

    def __init__(self, classes: int, weights: Tensor | None, smoothing: float, device: torch.device) -> None:
        self._weights = torch.ones(classes, device=device) if weights is None else weights.to(device)
        self._smoothing = smoothing
        self._targets = (1 - smoothing) * torch.diag(self._weights) + smoothing / classes * self._weights
        self._totals = self._targets.sum(1, keepdim=True)

    def shares(self, labels: Tensor, batch_size: int) -> Tensor:
        """Returns 1 / (sum of w[y] over the image's batch), [n, 1], of labels [n] in their order."""
        weights = functional.pad(self._weights[labels], (0, -len(labels) % batch_size))
        sums = weights.view(-1, batch_size).sum(1)
        return sums.reciprocal().repeat_interleave(batch_size)[: len(labels)].unsqueeze(1)

    def factors(self, labels: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what :meth:`gradient` needs of each image, [n, N] and [n, 1]; split it into batches."""
        return -self._targets[labels] * shares, self._totals[labels] * shares

    def gradient(self, logits: Tensor, targets: Tensor, totals: Tensor) -> Tensor:
        """Returns the gradient of a batch's loss by its logits [B, N]; the rest is the batch's of :meth:`factors`."""
        return torch.addcmul(targets, torch.softmax(logits, 1), totals)

    def sums(self, logits: Tensor, labels: Tensor, shares: Tensor, batch_size: int) -> Tensor:
        """Returns the sum of the images' losses, each that of its batch, and the number of hits: [2], float64.

        Args:
            logits: [n, N], of whole batches one after the other; the last one may be smaller.
            labels: [n].
            shares: of the images, [n, 1].
            batch_size: images of a batch.
        """
        losses = functional.cross_entropy(
            logits, labels, self._weights, label_smoothing=self._smoothing, reduction="none"
        )
        sizes = torch.full_like(losses, batch_size)
        sizes[len(sizes) - len(sizes) % batch_size :] = len(sizes) % batch_size
        hits = logits.argmax(1) == labels
        sums = torch.stack([(losses * shares.squeeze(1) * sizes).sum(), hits.sum()])
        return sums.cpu().double()


class HeadStep:
    """Trains a head step by step: :meth:`forward`, then :meth:`backward`.

    The second computes ``dW2 = d^T h``, ``dh = d W2`` where ReLU and dropout let h pass, and ``dW1 = dh^T x``, of the
    loss's gradient d by the logits, the hidden units h and the features x, and lets the optimiser go a step.

    Args:
        dtype: that the products with the features are taken in, float32 or bfloat16; weights are float32.
    """

    def __init__(self, head: Head, optim: OptimConfig, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._dropout = head.dropout
        self._generator = torch.Generator(head.output.weight.device)
        self._second, self._second_bias = head.output.weight.detach(), head.output.bias.detach()
        parameters = [self._second, self._second_bias]
        self._first: Tensor | None = None  # [width, C]
        if head.hidden is not None:
            self._first, self._first_bias = head.hidden.weight.detach(), head.hidden.bias.detach()
            parameters += [self._first, self._first_bias]
        self._gradients = [torch.empty_like(parameter) for parameter in parameters]
        self._update = optimizer_step(parameters, optim)
        self._accumulate, self._waiting = optim.accumulate, 0  # batches of a step; those since the last step
        self._rounded: tuple[Tensor, Tensor] | None = None  # features, and a copy in bfloat16
        self._masks: dict[int, Mask] = {}  # by batch size
        self._x = self._h = self._second_bias  # of the present batch: features, hidden units

    def reseed(self, seed: int) -> None:
        """Begins the random numbers of dropout anew."""
        self._generator.manual_seed(seed)

    def rows_of(self, features: FeatureRows) -> FeatureRows:
        """Returns features [n, C] as :meth:`forward` reads them: in bfloat16 where it computes in it."""
        if self._dtype == torch.float32 or self._first is None or not isinstance(features, Tensor):
            return features
        # without augmentation all epochs have the same
        if self._rounded is None or features is not self._rounded[0]:
            self._rounded = features, features.to(self._dtype)
        return self._rounded[1]

    def forward(self, features: FeatureRows, rows: Tensor) -> Tensor:
        """Returns training logits [B, N] of rows int64 [B] of ``features`` [n, C]."""
        if isinstance(features, Tensor):
            self._x = features.index_select(0, rows)
        else:
            self._x = features[rows.cpu()].to(self._second.device)
        if self._first is None:
            self._h = self._x.float()
        else:
            self._x = self._x.to(self._dtype)
            self._h = self._hidden(self._x)
        scale = 1.0
        if self._dropout:
            mask = self._mask(len(rows))
            self._h.mul_(mask.draw())
            scale = mask.scale
        return torch.addmm(self._second_bias, self._h, self._second.t(), alpha=scale)

    def backward(self, signal: Tensor, lr: float, *, last: bool = False) -> None:
        """Changes the head by a step, after :meth:`forward`; batches that are accumulated do so with the last of them.

        Args:
            signal: gradient of the loss by the logits, [B, N].
            lr: learning rate.
            last: of the epoch: no batch is left waiting.
        """
        if self._accumulate > 1:
            signal = signal / self._accumulate
        self._add_gradients(signal, beta=1 if self._waiting else 0)
        self._waiting += 1
        if last or self._waiting == self._accumulate:
            self._waiting = 0
            self._update(self._gradients, lr)

    def _add_gradients(self, signal: Tensor, beta: int) -> None:
        """Writes the gradients, or with ``beta=1`` adds them to those of the batches before."""
        scale = self._masks[len(signal)].scale if self._dropout else 1.0
        second, second_bias, *first = self._gradients
        torch.addmm(second, signal.t(), self._h, beta=beta, alpha=scale, out=second)
        _put(second_bias, signal.sum(0), beta)
        if first:
            below = torch.addmm(self._h, signal, self._second, beta=0, alpha=scale).mul_(self._h.sign_())
            if self._dtype == torch.float32:
                torch.addmm(first[0], below.t(), self._x, beta=beta, out=first[0])
            else:
                _put(first[0], torch.mm(below.to(self._dtype).t(), self._x), beta)
            _put(first[1], below.sum(0), beta)

    def score(self, features: Tensor) -> Tensor:
        """Returns logits [n, N] of features [n, C], without dropout."""
        logits = []
        for x in torch.split(features, max(1, SCORED // self._second.shape[1])):
            h = x if self._first is None else self._hidden(x.to(self._dtype))
            logits.append(torch.addmm(self._second_bias, h, self._second.t()))
        return torch.cat(logits)

    def _hidden(self, x: Tensor) -> Tensor:
        """Returns hidden units [n, width] of features [n, C], float32."""
        assert self._first is not None
        if self._dtype == torch.float32:
            return torch.addmm(self._first_bias, x, self._first.t()).relu_()
        return torch.mm(x, self._first.to(self._dtype).t()).float().add_(self._first_bias).relu_()

    def _mask(self, size: int) -> Mask:
        if size not in self._masks:
            self._masks[size] = Mask(torch.empty_like(self._h), self._dropout, self._generator)
        return self._masks[size]
