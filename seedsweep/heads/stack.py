"""Several heads side by side: one matrix product for all first layers, gradients written out by hand.

A head is Linear, ReLU, Dropout, Linear, so its gradient is three matrix products. Written out they need no
graph and no fresh memory, which for a small head cost more than the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seedsweep.models.classifier import Head
from seedsweep.models.dropout import Mask

SCORED = 2**22  # hidden activations held at a time while scoring: 16 MiB


class _Place:
    """Where a head's hidden units are."""

    def __init__(self, head: Head, start: int, generator: torch.Generator) -> None:
        self.linear = head.hidden is None
        self.width = head.output.in_features
        self.columns = slice(start, start + self.width)
        self.dropout = head.dropout
        self.generator = generator
        self.second = head.output.weight.detach()  # [N, width]
        self.second_bias = head.output.bias.detach()
        self.gradients: list[Tensor] = []


class _Batch:
    """Memory for a step with ``size`` images."""

    def __init__(self, size: int, stack: HeadStack) -> None:
        device, places = stack.device, stack.places
        self.x = torch.empty(size, stack.features, device=device, dtype=stack.dtype)
        self.units = torch.empty(size, stack.width + sum(p.width for p in places if p.linear), device=device)
        self.dense = self.units[:, : stack.width]
        if stack.dtype != torch.float32:
            self.rounded = torch.empty(size, stack.width, device=device, dtype=stack.dtype)
        self.signal = torch.empty(size, stack.width, device=device)  # gradient by the units
        self.logits = torch.empty(size, len(places), stack.classes, device=device)
        self.own = [self._part(number, place) for number, place in enumerate(places)]

    def _part(self, number: int, place: _Place) -> _Part:
        units = self.units[:, place.columns]
        mask = Mask(torch.empty(units.shape, device=units.device), place.dropout, place.generator)
        signal = None if place.linear else self.signal[:, place.columns]
        return _Part(place, units, mask, signal, self.logits[:, number])


@dataclass
class _Part:
    """What a batch holds of one head: its columns of the batch's matrices."""

    place: _Place
    units: Tensor
    mask: Mask
    signal: Tensor | None
    logits: Tensor


class HeadStack:
    """Trains ``heads`` in place; their first layers become parts of one matrix.

    A head's random numbers are its own, and nothing but the features passes from one head to another: a head
    that diverges to NaN leaves the others as they are.

    Args:
        heads: with the same features and classes, on one device.
        dtype: that the products with the features are taken in, float32 or bfloat16; weights and moments are
            float32.
    """

    def __init__(self, heads: Sequence[Head], dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.heads = list(heads)
        self.device = heads[0].output.weight.device
        self.classes = heads[0].output.out_features
        dense = [head.hidden for head in heads if head.hidden is not None]
        self.width = sum(layer.out_features for layer in dense)
        self.features = dense[0].in_features if dense else heads[0].output.in_features
        self.places: list[_Place] = []
        dense_start, linear_start = (
            0,
            self.width,
        )  # linear heads read copies of the features, behind the units
        for head in heads:
            start = linear_start if head.hidden is None else dense_start
            place = _Place(head, start, torch.Generator(self.device))
            if place.linear:
                linear_start += place.width
            else:
                dense_start += place.width
            self.places.append(place)
        if dense:
            self._first = torch.cat([layer.weight.detach() for layer in dense])  # [width, C]
            self._first_bias = torch.cat([layer.bias.detach() for layer in dense])
            self._first_gradient = torch.empty_like(self._first)
            if dtype != torch.float32:
                self._rounded = torch.empty_like(self._first, dtype=dtype)  # weights, then gradients
            self._first_bias_gradient = torch.empty_like(self._first_bias)
        for head, place in zip(heads, self.places, strict=True):
            place.gradients = [torch.empty_like(place.second), torch.empty_like(place.second_bias)]
            if head.hidden is not None:
                head.hidden.weight.data = self._first[place.columns]
                head.hidden.bias.data = self._first_bias[place.columns]
                place.gradients += [
                    self._first_gradient[place.columns],
                    self._first_bias_gradient[place.columns],
                ]
        self._batches: dict[int, _Batch] = {}

    def parameters(self, index: int) -> list[Tensor]:
        """Returns a head's parameters, in the order of :meth:`gradients`."""
        head, place = self.heads[index], self.places[index]
        first = [head.hidden.weight.detach(), head.hidden.bias.detach()] if head.hidden is not None else []
        return [place.second, place.second_bias, *first]

    def gradients(self, index: int) -> list[Tensor]:
        """Returns the gradients of a head, which :meth:`backward` fills."""
        return self.places[index].gradients

    def release(self, index: int) -> None:
        """Gives a head memory of its own."""
        hidden = self.heads[index].hidden
        if hidden is not None:
            hidden.weight.data = hidden.weight.detach().clone()
            hidden.bias.data = hidden.bias.detach().clone()

    def reseed(self, seed: int) -> None:
        """Sets each head's random numbers to those it would meet alone."""
        for place in self.places:
            place.generator.manual_seed(seed)

    def batch(self, size: int) -> Tensor:
        """Returns where the features [size, C] of the next batch must be written."""
        if size not in self._batches:
            self._batches[size] = _Batch(size, self)
        return self._batches[size].x

    def forward(self, size: int) -> Tensor:
        """Returns training logits [size, K, N] of the features in :meth:`batch`; the next call overwrites them."""
        batch = self._batches[size]
        if self.width and self.dtype == torch.float32:
            torch.addmm(self._first_bias, batch.x, self._first.t(), out=batch.dense).relu_()
        elif self.width:
            torch.mm(batch.x, self._rounded.copy_(self._first).t(), out=batch.rounded)
            batch.dense.copy_(batch.rounded).add_(self._first_bias).relu_()
        for part in batch.own:
            place, units = part.place, part.units
            if place.linear:
                units.copy_(batch.x)
            if place.dropout:
                units.mul_(part.mask.draw())
            alpha = part.mask.scale  # the scale is free here
            torch.addmm(place.second_bias, units, place.second.t(), alpha=alpha, out=part.logits)
        return batch.logits

    def backward(self, size: int, signal: Tensor) -> None:
        """Fills the gradients after :meth:`forward`.

        Args:
            size: of the batch.
            signal: gradient of the loss by the logits, [size, K, N].
        """
        batch = self._batches[size]
        for part, own in zip(batch.own, signal.unbind(1), strict=True):
            alpha, (gradient, bias_gradient) = part.mask.scale, part.place.gradients[:2]
            torch.addmm(gradient, own.t(), part.units, beta=0, alpha=alpha, out=gradient)
            torch.sum(own, 0, out=bias_gradient)
            if part.signal is not None:
                torch.addmm(part.signal, own, part.place.second, beta=0, alpha=alpha, out=part.signal)
        if self.width:
            batch.signal.mul_(batch.dense.sign_())  # a unit is above 0 where ReLU and dropout let it pass
            torch.sum(batch.signal, 0, out=self._first_bias_gradient)
            if self.dtype == torch.float32:
                torch.mm(batch.signal.t(), batch.x, out=self._first_gradient)
            else:
                torch.mm(batch.rounded.copy_(batch.signal).t(), batch.x, out=self._rounded)
                self._first_gradient.copy_(self._rounded)

    def score(self, features: Tensor) -> Tensor:
        """Returns logits [n, K, N] of features [n, C], without dropout.

        The features are in the stack's dtype, or in float32.
        """
        parts = []
        rounded = bool(self.width) and self.dtype != torch.float32
        first = self._rounded.copy_(self._first) if rounded else self._first if self.width else None
        for x in torch.split(features, max(1, SCORED // max(self.width, 1))):
            if first is None:
                dense = x.float()
            elif rounded:
                dense = torch.mm(x.to(self.dtype), first.t()).float().add_(self._first_bias).relu_()
            else:
                dense = torch.addmm(self._first_bias, x, first.t()).relu_()
            logits = [
                torch.addmm(
                    place.second_bias,
                    x.float() if place.linear else dense[:, place.columns],
                    place.second.t(),
                )
                for place in self.places
            ]
            parts.append(torch.stack(logits, 1))
        return torch.cat(parts)
