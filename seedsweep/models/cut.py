"""A backbone in two: what stands before a module, and what runs from that module on, in the order of execution.

Only the modules around the cut are traced with torch.fx. Every other one is a unit that is called as the whole
net calls it, so control flow, hooks and train/eval mode inside it stay as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, fx, nn

from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import Backbone


@dataclass
class Cut:
    """A place where exactly one tensor goes from the lower part of a backbone to the upper one.

    ``name`` is the module that the upper part begins with, as the user names it. ``prefix`` maps normalised images
    [B, 3, H, W] to the activations [B, ...] at the cut; its modules are the backbone's own. ``upper`` is the rest
    of the graph.
    """

    name: str
    backbone: Backbone
    prefix: fx.GraphModule
    upper: fx.Graph

    def __post_init__(self) -> None:
        self._paths = [
            str(node.target) for node in self.upper.nodes if node.op in ("call_module", "get_attr")
        ]
        self._run = fx.Interpreter(self.backbone, graph=self.upper)  # on the net itself: nothing is copied

    def finish(self, activations: Tensor) -> Tensor:
        """Returns the feature map [B, C, h, w] of activations [B, ...] at the cut, in the backbone's mode."""
        features: Tensor = self._run.run(activations)
        return features

    def holds(self, path: str) -> bool:
        """Says whether a module or parameter of the backbone, by its full name, belongs to the upper part."""
        return any(f"{path}.".startswith(f"{upper}.") for upper in self._paths)


def find_cut(backbone: Backbone, name: str, wanted: str) -> Cut:
    """Cuts ``backbone`` before the first operation of a module.

    Args:
        backbone: left as it is.
        wanted: ``backbone.train_from``: a module's name; or a share in (0, 1) of the net's blocks, those that hold
            weights, counted in the order of execution, that stand before the cut.

    Raises:
        SeedsweepError: no such module, or more than one tensor crosses there; the message names others.
    """
    paths = {_shown(path): path for path, _ in backbone.named_modules() if _shown(path)}
    if wanted not in paths:
        wanted = _at_share(backbone, name, wanted, list(paths))
    path = paths[wanted]
    around = [path[:place] for place, char in enumerate(path) if char == "."]
    nodes = list(_trace(backbone, name, around).nodes)
    inside = (
        place
        for place, node in enumerate(nodes)
        if node.op == "call_module" and f"{node.target}.".startswith(f"{path}.")
    )
    at = next(inside, None)
    crossing = [] if at is None else _crossing(backbone, nodes, at)
    if at is None or len(crossing) != 1:
        near = _nearest(backbone, name, path)
        hint = f"cuts that work nearby are {', '.join(near)}" if near else "no cut of this net works"
        raise SeedsweepError(
            f"backbone.train_from={wanted}: {name} can't be cut there, for exactly one tensor must go from the "
            f"part before it to the part from it on; {hint}."
        )
    if crossing[0].op == "placeholder":
        raise SeedsweepError(
            f"backbone.train_from={wanted}: nothing of {name} stands before it; leave backbone.train_from out to "
            "train all layers."
        )
    lower, upper = _parts(nodes, at, crossing[0])
    return Cut(wanted, backbone, fx.GraphModule(backbone, lower), upper)


class _Tracer(fx.Tracer):
    """Looks into some modules; all others are units."""

    def __init__(self, opened: Collection[str]) -> None:
        super().__init__()
        self.opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.opened


def _shown(path: str) -> str:
    """Returns a module's name as files and users know it, without what holds the net here."""
    return path.removeprefix("net").removeprefix(".").removeprefix("model.")


def _trace(
    backbone: Backbone, name: str, opened: Collection[str], asked: str = "backbone.train_from"
) -> fx.Graph:
    """Traces in both modes: what a traced module does only in one of them would be done in both."""
    flags = [(module, module.training) for module in backbone.modules()]
    graphs = []
    try:
        for training in (True, False):
            backbone.train(training)
            graphs.append(_Tracer(opened).trace(backbone))
        reason = "" if str(graphs[0]) == str(graphs[1]) else "it differs between training and evaluation"
    except Exception as error:  # control flow that depends on values
        reason = str(error).splitlines()[0].split(". ")[0]
    finally:
        for module, was in flags:
            module.training = was
    if reason:
        raise SeedsweepError(
            f"{asked} can't be used with {name}: its data flow can't be followed ({reason})."
        )
    return graphs[0]


def _crossing(backbone: Backbone, nodes: list[fx.Node], at: int) -> list[fx.Node]:
    """Returns the values that go from ``nodes[:at]`` to the others; none if a layer with weights runs in both."""
    upper = set(nodes[at:])
    both = _layers(backbone, nodes[:at]) & _layers(backbone, nodes[at:])
    if both:
        return []
    return [n for n in nodes[:at] if n.op != "get_attr" and any(user in upper for user in n.users)]


def _layers(backbone: Backbone, nodes: list[fx.Node]) -> set[str]:
    """Returns the units that hold weights."""
    calls = [str(node.target) for node in nodes if node.op == "call_module"]
    return {path for path in calls if any(True for _ in backbone.get_submodule(path).parameters())}


def _parts(nodes: list[fx.Node], at: int, crossing: fx.Node) -> tuple[fx.Graph, fx.Graph]:
    lower, upper = fx.Graph(), fx.Graph()
    below: dict[fx.Node, fx.Node] = {}
    for node in nodes[:at]:
        below[node] = lower.node_copy(node, lambda n: below[n])
    lower.output(below[crossing])
    above = {crossing: upper.placeholder("activations")}
    tensors = [n for n in nodes[:at] if n.op == "get_attr" and any(user in nodes[at:] for user in n.users)]
    for node in [*tensors, *nodes[at:]]:
        above[node] = upper.node_copy(node, lambda n: above[n])
    return lower, upper


def blocks_of(backbone: Backbone) -> list[str]:
    """Returns the modules of ``backbone`` that hold weights, in the order of execution; blocks are not looked into.

    Raises:
        SeedsweepError: its data flow can't be followed.
    """
    return [path for path, _ in _blocks(backbone, "the backbone", "optim.layer_decay")]


def _blocks(backbone: Backbone, name: str, asked: str = "backbone.train_from") -> list[tuple[str, bool]]:
    """Returns the units that hold weights, in the order of execution, and whether a cut before each works.

    Looked into are the net and its plain chains; what branches inside is a unit.
    """
    chains = [
        path
        for path, module in backbone.named_modules()
        if path == "net"
        or (isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward)
    ]
    nodes = list(_trace(backbone, name, chains, asked).nodes)
    blocks = []
    for at, node in enumerate(nodes):
        if _layers(backbone, [node]):
            crossing = _crossing(backbone, nodes, at)
            blocks.append((str(node.target), len(crossing) == 1 and crossing[0].op != "placeholder"))
    return blocks


def _nearest(backbone: Backbone, name: str, path: str) -> list[str]:
    """Returns the cuts that work around ``path``."""
    blocks = _blocks(backbone, name)
    inside = [n for n, (block, _) in enumerate(blocks) if f"{path}.".startswith(f"{block}.")]
    at = inside[0] if inside else len(blocks) - 1
    working = [(abs(n - at), n, block) for n, (block, works) in enumerate(blocks) if works]
    return [_shown(block) for _, _, block in sorted(sorted(working)[:3], key=lambda found: found[1])]


def _at_share(backbone: Backbone, name: str, wanted: str, known: list[str]) -> str:
    """Returns the module that a share of the blocks stands before."""
    try:
        share = float(wanted)
    except ValueError:
        near = difflib.get_close_matches(wanted, known, 3, 0.5) or known[:3]
        raise SeedsweepError(
            f"backbone.train_from={wanted} is no module of {name}; the nearest are {', '.join(near)}."
        ) from None
    if not 0 < share < 1:
        raise SeedsweepError(
            f"backbone.train_from={wanted} is neither a module of {name} nor a share between 0 and 1."
        )
    blocks = _blocks(backbone, name)
    first = int(share * len(blocks) + 0.5)
    working = [(n, block) for n, (block, works) in enumerate(blocks) if works]
    if not working:
        raise SeedsweepError(f"backbone.train_from={wanted}: {name} can't be cut in two anywhere.")
    later = [block for n, block in working if n >= first]
    return _shown(later[0] if later else working[-1][1])
