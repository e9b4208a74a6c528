"""Several heads side by side: one matrix product for all first layers, gradients written out by hand.

A head is Linear, ReLU, Dropout, Linear, so its gradient is three matrix products. Written out they need no
graph and no fresh memory, which for a small head cost more than the products.

The weights and moments of a wide first layer are larger than a CPU's cache, and to fetch them takes as long as the
arithmetic. So the layer is cut into blocks of units, and a block does in one go all that needs its weights: gradient,
update, and the product with the next batch, which is known already. The numbers are those of one step after another.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seedsweep.models.classifier import Head
from seedsweep.training.heads.batch import Batch
from seedsweep.training.heads.blocks import BATCH, Block, Place, cut_in_blocks, parts_of, weights_of_a_block
from seedsweep.training.heads.product import product
from seedsweep.training.optimizer import FusedSteps

SCORED = 2**22  # hidden activations held at a time while scoring: 16 MiB


class HeadStack:
    """Trains ``heads`` in place; their first layers become parts of one matrix.

    A step is :meth:`forward`, :meth:`backward` and :meth:`update`; :meth:`enter` comes before the first.
    A head's random numbers are its own, and nothing but the features passes from one head to another: a head
    that diverges to NaN leaves the others as they are.

    Args:
        heads: with the same features and classes, on one device.
        dtype: that the products with the features are taken in, float32 or bfloat16; weights and moments are
            float32.
        batch_size: images of a step.
    """

    def __init__(
        self, heads: Sequence[Head], dtype: torch.dtype = torch.float32, batch_size: int = BATCH
    ) -> None:
        self.dtype = dtype
        self.heads = list(heads)
        self.device = heads[0].output.weight.device
        self._wanted = weights_of_a_block(self.device, batch_size)
        self.classes = heads[0].output.out_features
        dense = [head.hidden for head in heads if head.hidden is not None]
        self.width = sum(layer.out_features for layer in dense)
        self.features = dense[0].in_features if dense else heads[0].output.in_features
        self.places: list[Place] = []
        dense_start, linear_start = (
            0,
            self.width,
        )  # linear heads read copies of the features, behind the units
        for head in heads:
            start = linear_start if head.hidden is None else dense_start
            place = Place(head, start, torch.Generator(self.device))
            if place.linear:
                linear_start += place.width
            else:
                dense_start += place.width
            self.places.append(place)
        self._blocks: list[Block] = []
        if dense:
            self._first = torch.cat([layer.weight.detach() for layer in dense])  # [width, C]
            self._first_bias = torch.cat([layer.bias.detach() for layer in dense])
            self._first_bias_gradient = torch.empty_like(self._first_bias)
        for head, place in zip(heads, self.places, strict=True):
            if head.hidden is not None:
                head.hidden.weight.data = self._first[place.columns]
                head.hidden.bias.data = self._first_bias[place.columns]
                place.gradients.append(self._first_bias_gradient[place.columns])
        if dense:
            self._blocks = cut_in_blocks(self.places, self._first, self._wanted, dtype)
        self._batches: dict[int, Batch] = {}

    def parameters(self, index: int) -> list[Tensor]:
        """Returns a head's parameters: the last layer's, the first one's bias, and its weights block by block.

        In how many blocks does not depend on the others in the stack.
        """
        head, place = self.heads[index], self.places[index]
        if head.hidden is None:
            return [place.second, place.second_bias]
        return [
            place.second,
            place.second_bias,
            head.hidden.bias.detach(),
            *parts_of(head.hidden.weight.detach(), self._wanted),
        ]

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
            self._batches[size] = Batch(
                size, self.places, self._blocks, self.features, self.classes, self.dtype
            )
        return self._batches[size].waiting

    def enter(self, size: int) -> None:
        """Takes the features in :meth:`batch` as the first batch."""
        batch = self._batches[size]
        batch.turn()
        for number, block in enumerate(self._blocks):
            self._product(block, number, batch)

    def forward(self, size: int) -> Tensor:
        """Returns training logits [size, K, N] of the present batch; call it once a batch, the next overwrites them."""
        batch = self._batches[size]
        batch.dense.relu_()
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
        """Takes the gradients of the last layers, and what the first layers' follow from, after :meth:`forward`.

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

    def update(self, size: int, steps: Sequence[FusedSteps], following: int = 0) -> None:
        """Changes all parameters by a step, after :meth:`backward`, and makes the next batch the present one.

        Args:
            size: of the batch.
            steps: the heads' optimisers, over :meth:`parameters`.
            following: size of the next batch, whose features are in :meth:`batch`; 0: there is none.
        """
        batch, x = self._batches[size], self._batches[size].x
        then = self._batches[following] if following else None
        if then is not None:
            then.turn()
        for place, own in zip(self.places, steps, strict=True):
            own.begin()
            if place.linear:
                own.update(slice(0, 2), place.gradients)
        for number, block in enumerate(self._blocks):
            signal = batch.signals[number]
            if block.rounded is None:
                torch.mm(signal.t(), x, out=block.gradient)
            else:
                torch.mm(batch.rounded[number].copy_(signal).t(), x, out=block.rounded)
                block.gradient.copy_(block.rounded)
            for part in block.parts:
                steps[part.head].update(part.parameters, part.gradients)
            if then is not None:
                self._product(block, number, then)

    def score(self, features: Tensor) -> Tensor:
        """Returns logits [n, K, N] of features [n, C], without dropout.

        The features are in the stack's dtype, or in float32.
        """
        parts = []
        rounded = bool(self.width) and self.dtype != torch.float32
        first = self._first.to(self.dtype) if self.width else None
        for x in torch.split(features, max(1, SCORED // max(self.width, 1))):
            if first is None:
                dense = x.float()
            elif rounded:
                dense = torch.mm(x.to(self.dtype), first.t()).float().add_(self._first_bias).relu_()
            else:
                dense = product(self._first_bias, x, first, x.new_empty(len(x), self.width)).relu_()
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

    def _product(self, block: Block, number: int, batch: Batch) -> None:
        """Puts a block's first layer of the present batch in its place."""
        out, bias = batch.denses[number], self._first_bias[block.columns]
        if block.rounded is None:
            product(bias, batch.x, block.weight, out)
        else:
            torch.mm(batch.x, block.rounded.copy_(block.weight).t(), out=batch.rounded[number])
            out.copy_(batch.rounded[number]).add_(bias)
