"""Trains several heads on the same batches at once, each as it would be trained alone.

The order of the images, the dropout masks, the optimiser, the choice of the best epoch and early stopping are
those of the online run behind the backbone, so the numbers are the same but for rounding. What is left out is
what costs more than the step of a small head: loaders, hooks, callbacks, the autograd graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from seedsweep.data.order import epoch_order, epoch_seed
from seedsweep.features.store import FeatureRows
from seedsweep.models.classifier import Head
from seedsweep.training.heads.data import HeadData, HeadSchedule
from seedsweep.training.heads.objective import Objective
from seedsweep.training.heads.stack import HeadStack
from seedsweep.training.optimizer import FusedSteps
from seedsweep.training.options import OptimConfig
from seedsweep.training.sums import divergence, validation_metrics

KEPT = 2**22  # logits kept before they are summed up: 16 MiB
SMALL = 85_000  # weights of a first layer up to which company paid on a CPU, and
FEW = 4  # the heads it took; measured at 1,280 and 2,048 features, batches of 4, 32 and 256


def pays(widths: Sequence[int], features: int, classes: int, device: torch.device) -> bool:
    """Says whether heads are trained faster together than one after the other.

    The step of a small head is mostly the cost of calls, and that of any head on a GPU; company shares them. On a
    CPU the weights and moments of larger heads fall out of the cache when there are several, and company costs
    more than it saves.

    Args:
        widths: of the hidden layers; 0: none.
        features: that they read.
        classes: N.
        device: where they are trained.
    """
    if device.type != "cpu":
        return len(widths) > 1
    return len(widths) >= FEW and all(features * (width or classes) <= SMALL for width in widths)


@dataclass
class Setup:
    """A head and how it is trained. ``class_weights`` are [N] or None."""

    head: nn.Module
    optim: OptimConfig
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0


@dataclass
class Member:
    """How a head of the company stands.

    ``best_state`` is its state dict after ``best_epoch``; ``left`` that it is trained no more.
    """

    best_epoch: int = -1
    best_acc: float = -1.0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    left: bool = False


class Company:
    """A fit of several heads under way: call :meth:`epoch` until :attr:`done`.

    Args:
        setups: the heads, trained in place, all with the same features, classes and device.
        data: features and labels, on the heads' device.
        schedule: epochs, patience, batch size, seed: the same for all.

    Raises:
        TypeError: a head isn't a :class:`Head`.
    """

    def __init__(self, setups: list[Setup], data: HeadData, schedule: HeadSchedule) -> None:
        self.data = data
        self.schedule = schedule
        self.next_epoch = 0
        self.members = [Member() for _ in setups]
        self._setups = setups
        self._dtype = torch.bfloat16 if schedule.bfloat16 else torch.float32
        self._plain: Tensor | None = None  # of these features ``_rounded`` is the copy in bfloat16
        self._val, self._probe = data.val.to(self._dtype), data.probe.to(self._dtype)
        self._heads: list[Head] = []
        for setup in setups:
            if not isinstance(setup.head, Head):
                raise TypeError(
                    f"a head is a seedsweep.models.classifier.Head, not {type(setup.head).__name__}"
                )
            self._heads.append(setup.head)
        self._gather(list(range(len(setups))))
        self._optimizers = [
            FusedSteps(self._stack.parameters(place), setup.optim) for place, setup in enumerate(setups)
        ]

    @property
    def done(self) -> bool:
        """Whether every head has left: after the last epoch all have."""
        return not self._present

    def drop(self, index: int) -> None:
        """Takes a head out between two epochs: a pruned trial. It keeps the weights it has."""
        if index in self._present:
            self._leave([index])

    @torch.no_grad()
    def epoch(self) -> list[dict[str, float]]:
        """Trains one epoch and scores it.

        A head whose loss became NaN or infinite leaves; its best weights are those of an epoch before.

        Returns:
            The history's columns of each head, in the order of ``setups``; empty for a head that has left.
        """
        epoch = self.next_epoch
        train = self._train(epoch)
        scores = self._score()
        self.next_epoch += 1
        found: list[dict[str, float]] = [{} for _ in self.members]
        leaving = []
        for index, trained, scored in zip(self._present, train, scores, strict=True):
            found[index] = scored | trained
            if divergence(found[index]):  # its accuracy means nothing, and it would not come back
                leaving.append(index)
                continue
            waited = self._note(index, epoch, scored["val/acc"])
            if waited or self.next_epoch == self.schedule.max_epochs:
                leaving.append(index)
        self._leave(leaving)
        return found

    def _train(self, epoch: int) -> list[dict[str, float]]:
        data, size, stack = self.data, self.schedule.batch_size, self._stack
        features, labels = self._features(epoch), data.train_labels
        order = epoch_order(len(labels), size, self.schedule.seed, epoch).to(labels.device)
        labels = labels[order]
        shares = self._objective.shares(labels, size)
        stack.reseed(epoch_seed(self.schedule.seed, epoch))
        sums = _Sums(self._objective, len(order))
        steps = [self._optimizers[index] for index in self._present]
        batches = list(zip(*(torch.split(tensor, size) for tensor in (order, labels, shares)), strict=True))
        self._fetch(features, batches[0][0])
        stack.enter(len(batches[0][0]))
        followers = [*(rows for rows, _, _ in batches[1:]), None]
        for (rows, y, share), following in zip(batches, followers, strict=True):
            logits = stack.forward(len(rows))
            sums.keep(logits, y, share)
            stack.backward(len(rows), self._objective.gradient(logits, y, share))
            if following is not None:
                self._fetch(features, following)
            stack.update(len(rows), steps, 0 if following is None else len(following))
        return sums.metrics()

    def _fetch(self, features: FeatureRows, rows: Tensor) -> None:
        """Writes the next batch's features where the stack reads them."""
        x = self._stack.batch(len(rows))
        if isinstance(features, Tensor):
            torch.index_select(features, 0, rows, out=x)
        else:
            x.copy_(features[rows])

    def _features(self, epoch: int) -> FeatureRows:
        features = self.data.train(epoch)
        if self._dtype == torch.float32 or not isinstance(features, Tensor):
            return features
        if features is not self._plain:  # without augmentation all epochs have the same
            self._plain, self._rounded = features, features.to(self._dtype)
        return self._rounded

    def _score(self) -> list[dict[str, float]]:
        data = self.data
        logits = self._stack.score(self._val).cpu()
        hits = self._stack.score(self._probe).argmax(2) == data.probe_labels.unsqueeze(1)
        accuracies = hits.cpu().double().mean(0).tolist()
        found = []
        for place, accuracy in enumerate(accuracies):
            metrics = validation_metrics(logits[:, place], data.val_labels.cpu(), data.classes)
            # the features are the same in both modes: there is no gap to measure
            metrics["train_images/acc_train_mode"] = metrics["train_images/acc_eval_mode"] = accuracy
            metrics["bn_gap"] = 0.0
            metrics["gap/generalisation"] = accuracy - metrics["val/acc"]
            found.append(metrics)
        return found

    def _note(self, index: int, epoch: int, acc: float) -> bool:
        """Keeps the best weights; returns whether the head has waited long enough for better ones."""
        member, patience = self.members[index], self.schedule.patience
        if acc > member.best_acc:  # a tie keeps the earlier one, as ModelCheckpoint does
            state = self._heads[index].state_dict()
            member.best_acc, member.best_epoch = acc, epoch
            member.best_state = {key: value.detach().clone() for key, value in state.items()}
        return bool(patience) and epoch - member.best_epoch >= patience

    def _leave(self, leaving: list[int]) -> None:
        if not leaving:
            return
        for index in leaving:
            self.members[index].left = True
            self._stack.release(self._present.index(index))
        self._gather([index for index in self._present if index not in leaving])
        for place, index in enumerate(self._present):
            self._optimizers[index].rebind(self._stack.parameters(place))

    def _gather(self, present: list[int]) -> None:
        self._present = present
        if present:
            self._stack = HeadStack(
                [self._heads[index] for index in present], self._dtype, self.schedule.batch_size
            )
            here = [self._setups[index] for index in present]
            self._objective = Objective(
                [setup.class_weights for setup in here],
                [setup.label_smoothing for setup in here],
                len(self.data.classes),
                self._stack.device,
            )


class _Sums:
    """Loss and hits of an epoch's training batches; read once, for reading makes a GPU wait."""

    def __init__(self, objective: Objective, n: int) -> None:
        self._objective = objective
        self._n = n
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._held = 0
        self._parts: list[Tensor] = []

    def keep(self, logits: Tensor, labels: Tensor, shares: Tensor) -> None:
        """Notes a batch's logits [B, K, N]."""
        self._kept.append((logits.clone(), labels, shares))
        self._held += logits.numel()
        if self._held > KEPT:
            self._add_up()

    def metrics(self) -> list[dict[str, float]]:
        """Returns ``train/loss`` and ``train/acc`` of each head."""
        self._add_up()
        sums = torch.stack(self._parts).cpu().double().sum(0) / self._n
        return [{"train/loss": loss, "train/acc": acc} for loss, acc in sums.t().tolist()]

    def _add_up(self) -> None:
        if not self._kept:
            return
        logits, labels, shares = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
        sizes = torch.tensor([float(len(kept[1])) for kept in self._kept], device=logits.device)
        losses = self._objective.losses(logits, labels, shares)
        sizes = sizes.repeat_interleave(sizes.long()).unsqueeze(1)
        hits = logits.argmax(2) == labels.unsqueeze(1)
        self._parts.append(torch.stack([(losses * sizes).sum(0), hits.float().sum(0)]))
        self._kept, self._held = [], 0
