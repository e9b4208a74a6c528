"""The training loss of several heads at once: cross-entropy with class weights and label smoothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class Objective:
    """What ``functional.cross_entropy(logits, labels, weight, label_smoothing)`` computes, and its gradient.

    With weights w and smoothing s the loss of an image with label y is ``-sum_n t[y, n] log p[n]``, where
    ``t[y, n] = (1 - s) w[y] [n = y] + s / N w[n]``; a batch's loss is their sum over the sum of its w[y]. So the
    gradient of a logit is ``(p[n] sum(t[y]) - t[y, n]) / sum of w[y]``.

    Args:
        weights: [N] a head, or None.
        smoothing: a head.
        classes: N.
        device: of the logits.
    """

    def __init__(
        self, weights: list[Tensor | None], smoothing: list[float], classes: int, device: torch.device
    ) -> None:
        tables, own = [], []
        for weight, share in zip(weights, smoothing, strict=True):
            w = torch.ones(classes, device=device) if weight is None else weight.to(device)
            table = (1 - share) * torch.diag(w) + share / classes * w
            tables.append(torch.cat([table, table.sum(1, keepdim=True)], 1))
            own.append(w)
        self._classes = classes
        self._tables = torch.stack(tables, 1)  # [N, K, N + 1]: t, and its sum
        self._weights = torch.stack(own, 1)  # [N, K]

    def shares(self, labels: Tensor, batch_size: int) -> Tensor:
        """Returns 1 / (sum of w[y] over the image's batch), [n, K, 1], of an epoch's labels in their order."""
        n = len(labels)
        weights = functional.pad(self._weights[labels], (0, 0, 0, -n % batch_size))
        sums = weights.view(-1, batch_size, weights.shape[1]).sum(1)
        return sums.reciprocal().repeat_interleave(batch_size, 0)[:n].unsqueeze(2)

    def gradient(self, logits: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        """Returns the gradient of the batch's loss by the logits [B, K, N]."""
        targets = self._tables.index_select(0, labels).mul_(shares)
        gradient = torch.softmax(logits, 2)
        return gradient.mul_(targets[:, :, self._classes :]).sub_(targets[:, :, : self._classes])

    def losses(self, logits: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        """Returns what each image adds to its batch's loss, [B, K]."""
        targets = self._tables.index_select(0, labels)[:, :, : self._classes]
        return -(targets * torch.log_softmax(logits, 2)).sum(2) * shares.squeeze(2)
