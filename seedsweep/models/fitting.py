"""Puts the tensors of a weight file into a net, or says in one sentence why they don't fit.

One rule holds for every net. A file may keep a net's tensors below any prefix (``model.``, ``state_dict.module.``,
``student.backbone.``); the prefix is found by the names that stand behind it. It serves if each tensor of the net is
there with its shape; ``num_batches_tracked`` alone may be missing. What else the file holds (a classifier, a loss, an
optimiser, tables of indices, a pruning's masks) is left aside, but further blocks of the net itself are not: that is a
deeper net.

Where several prefixes serve, the order is: averaged weights (``ema``, ``swa``, ``teacher``) before others, and these
before the slow copy of a contrastive method (``encoder_k``, ``momentum``, ``target``); then the shortest prefix, then
the first in the file.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from seedsweep.errors import SeedsweepError
from seedsweep.names import and_more

COUNTER = "num_batches_tracked"  # files of before 2018 lack it, and no output depends on it
MASK = "_mask"  # of a pruning, behind the name of the tensor that it was made for
CLASSIFIERS = ("fc.", "AuxLogits.", "classifier.", "head.fc.", "_fc.")
AVERAGED = {"ema", "swa", "averaged", "teacher"}
SLOW = {"k", "momentum", "target"}  # encoder_k, momentum_encoder, target_network
VARIANCE = "running_var"


log = logging.getLogger(__name__)


class WeightsMisfitError(SeedsweepError):
    """A weight file holds another net."""


class FurtherBlocksError(WeightsMisfitError):
    """A weight file fills the net, but has blocks that the net lacks: it is of a deeper net."""


@dataclass(frozen=True)
class _Place:
    """The tensors behind one prefix (with its last dot), as against those that a net wants, by the net's names.

    ``filled`` counts those with the right shape, ``shapes`` says how others are, and ``further`` names tensors that
    belong to blocks of the net, but that the net doesn't have.
    """

    prefix: str
    filled: int
    missing: list[str]
    shapes: list[str]
    further: list[str]

    @property
    def serves(self) -> bool:
        return not (self.missing or self.shapes or self.further)

    @property
    def label(self) -> str:
        return self.prefix.rstrip(".") or "the outermost names"


def fit_by_name(
    net: nn.Module, tensors: dict[str, Tensor], name: str, path: Path, classifiers: tuple[str, ...] = ()
) -> str:
    """Loads tensors that have the net's own names behind a prefix; float16 becomes the net's dtype.

    Args:
        net: filled in place, whole or not at all.
        tensors: by their names in the file.
        classifiers: key prefixes of this net's classifier, beside the usual ones.

    Returns:
        Which tensors were taken where several would have served; else nothing.

    Raises:
        WeightsMisfitError: no prefix serves; the nearest one is described.
        SeedsweepError: a value is not finite.
    """
    wanted = net.state_dict()
    computed = {key for key, _ in net.named_buffers()} - wanted.keys()  # files of older versions hold them
    places = _places(wanted, tensors, (*CLASSIFIERS, *classifiers, *computed))
    serving = [place for place in places if place.serves]
    if not serving:
        deeper = any(not (place.missing or place.shapes) for place in places)
        kind = FurtherBlocksError if deeper else WeightsMisfitError
        raise kind(f"{path} doesn't fit {name}: {_why_not(places, wanted, tensors)}.")
    taken = min(serving, key=lambda place: _rank(place.prefix))
    load_whole(
        net, {key: tensors.get(taken.prefix + key, value) for key, value in wanted.items()}, name, path
    )
    if len(serving) == 1:
        return ""
    return f"took {taken.label} of {and_more([place.label for place in serving], most=6)}"


def _places(wanted: dict[str, Tensor], tensors: dict[str, Tensor], aside: tuple[str, ...]) -> list[_Place]:
    """Returns a place a prefix that stands before a name of the net, in the order of the file."""
    prefixes: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        for start in range(len(parts)):
            short = ".".join(parts[start:])
            if short in wanted and not short.endswith(COUNTER):
                prefixes[key.removesuffix(short)] += 1
    most = max(prefixes.values(), default=0)
    # a lone `norm.weight` elsewhere is no other copy of the net
    return [_place(prefix, wanted, tensors, aside) for prefix, count in prefixes.items() if 2 * count >= most]


def _place(
    prefix: str, wanted: dict[str, Tensor], tensors: dict[str, Tensor], aside: tuple[str, ...]
) -> _Place:
    """Compares what stands behind a prefix with what is wanted; ``aside`` begins names that no net is filled from."""
    missing, shapes, further = [], [], []
    for key, value in wanted.items():
        there = tensors.get(prefix + key)
        if there is None:
            if not key.endswith(COUNTER):
                missing.append(key)
        elif there.shape != value.shape:
            shapes.append(f"{key} is {list(there.shape)} and not {list(value.shape)}")
        elif value.is_floating_point() and not there.is_floating_point():
            shapes.append(f"{key} is {str(there.dtype).removeprefix('torch.')} and not floating")
    blocks = {key.split(".")[0] for key in wanted if "." in key}
    for key, value in tensors.items():
        short = key.removeprefix(prefix)
        theirs = key.startswith(prefix) and short not in wanted and short.split(".")[0] in blocks
        left = short.startswith(aside) or short.removesuffix(MASK) in wanted
        if theirs and value.ndim and value.is_floating_point() and not left:  # counters have no dimension
            further.append(short)
    filled = sum(prefix + key in tensors for key in wanted) - len(shapes)
    return _Place(prefix, filled, missing, shapes, further)


def _rank(prefix: str) -> tuple[int, int]:
    """Sorts the prefix that is to be preferred first."""
    words = set(re.split(r"[._]", prefix.lower()))
    kind = 0 if words & AVERAGED else 2 if words & SLOW else 1
    return kind, prefix.count(".")


def _why_not(places: list[_Place], wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> str:
    """Describes the place that comes nearest."""
    needed = [key for key in wanted if not key.endswith(COUNTER)]
    if not tensors:
        return "it holds no tensors"
    if not places:
        lacks = f"it lacks all {len(needed)} tensors of the net ({and_more(needed)})"
        return f"{lacks}, and holds {and_more(list(tensors))}"
    near = max(places, key=lambda place: (place.filled, -len(place.further), -place.prefix.count(".")))
    behind = f" behind the prefix {near.prefix}" if near.prefix else ""
    of_net = f"of the net's {len(needed)} tensors{behind}"
    used = {near.prefix + key for key in wanted}
    others = [key for key in tensors if key not in used]
    reasons = []
    if near.missing:
        beside = f", and holds {and_more(others)} beside the others" if others else ""
        reasons.append(f"it lacks {len(near.missing)} {of_net} ({and_more(near.missing)}){beside}")
    if near.shapes:
        reasons.append(f"it has {len(near.shapes)} {of_net} otherwise ({and_more(near.shapes)})")
    if near.further:
        further = f"{len(near.further)} tensors{behind} that the net has no place for"
        reasons.append(f"it has {further} ({and_more(near.further)})")
    return "; ".join(reasons)


def named_in_order(net: nn.Module, tensors: dict[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """Returns tensors by the net's names, for a file whose names differ but whose order is the net's.

    Raises:
        WeightsMisfitError: the number of tensors or a shape differs.
    """
    wanted = net.state_dict()
    values = [value for key, value in tensors.items() if not key.startswith(CLASSIFIERS)]
    if [v.shape for v in values] != [v.shape for v in wanted.values()]:
        raise WeightsMisfitError(f"{path} doesn't fit {name}: its tensors differ in number or shape.")
    return dict(zip(wanted, values, strict=True))


def tables_of(tensors: dict[str, Tensor], least: int) -> Iterator[dict[str, Tensor]]:
    """Yields the tables of tensors in a file by names without their common beginning, the preferred one first.

    They are for a converter that knows names of its own: all tensors, or those behind one outermost name.

    Args:
        tensors: by their names in the file.
        least: tensors that a table must have.
    """
    whole = _without_beginning(tensors)
    outer: dict[str, dict[str, Tensor]] = {}
    for key, value in whole.items():
        first, _, rest = key.partition(".")
        outer.setdefault(first, {})[rest] = value
    inner = [_without_beginning(outer[first]) for first in sorted(outer, key=_rank)]
    yield from (table for table in (whole, *inner) if len(table) >= least)


def _without_beginning(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while len({key.partition(".")[0] for key in tensors}) == 1 and all("." in key for key in tensors):
        tensors = {key.partition(".")[2]: value for key, value in tensors.items()}
    return tensors


def load_whole(net: nn.Module, given: dict[str, Tensor], name: str, path: Path) -> None:
    """Fills a net whole, or not at all; warns where every weight, or every variance, is 0.

    Raises:
        SeedsweepError: a value is not finite, or a variance is below 0.
    """
    wanted = net.state_dict()
    state = {key: value.to(wanted[key].dtype) for key, value in given.items()}
    floats = {key: value for key, value in state.items() if value.is_floating_point()}
    if broken := [key for key, value in floats.items() if not value.isfinite().all()]:
        raise SeedsweepError(
            f"{path} can't be used for {name}: not all values of {and_more(broken)} are finite."
        )
    if negative := [key for key, value in floats.items() if key.endswith(VARIANCE) and (value < 0).any()]:
        raise SeedsweepError(f"{path} can't be used for {name}: {and_more(negative)} has variances below 0.")
    kernels = [value for value in floats.values() if value.ndim > 1]
    if kernels and not any(value.any() for value in kernels):
        log.warning(
            "%s: every weight that it gives %s is 0, so the net is the same for all images", path, name
        )
    variances = [value for key, value in floats.items() if key.endswith(VARIANCE)]
    if variances and not any(value.any() for value in variances):
        log.warning(
            "%s: every running variance that it gives %s is 0: at inference its features explode", path, name
        )
    net.load_state_dict(state)
