"""``+study=backbones``: which pretrained net suits these images?

Each net's features are extracted once, and judged by a probe on images of training and validation. The best few are
fine-tuned, each by a grid of its own, whose command line is printed; they alone meet the test images. Features and runs
that are there already are not made again.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from seedsweep.cli.composing import check_choice
from seedsweep.cli.config.compose import command_line_here
from seedsweep.cli.config.hydra_setup import is_timm
from seedsweep.cli.config.schema import Config, NetConfig
from seedsweep.cli.tasks.answer import Parts
from seedsweep.data.checked import FileChecks
from seedsweep.data.prepare import prepare_images
from seedsweep.diagnosis.audit_run import facts_of
from seedsweep.diagnosis.stored_features import Material
from seedsweep.diagnosis.transfer import measure
from seedsweep.errors import SeedsweepError
from seedsweep.models import nets
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.models.options import BackboneConfig
from seedsweep.names import path_of
from seedsweep.overrides import key_of, setting
from seedsweep.report.backbones import Candidate, Comparison
from seedsweep.runs.command import command
from seedsweep.runs.duration import Clock

log = logging.getLogger(__name__)

FROZEN = "frozen_bn"  # the arm of a winner that was only probed


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Compares backbones on the images of the command line.

    Args:
        config: ``backbones``, ``data`` and ``features`` are read.
        folder: of backbones.csv, report.html, and a grid for each net that is fine-tuned.

    Raises:
        SeedsweepError: bad input, or no net can be had.
        KeyboardInterrupt: it was stopped.
    """
    here, wanted = command_line_here(), config.backbones
    assert here is not None
    _check(wanted.nets, wanted.arm, [key_of(line) for line in here.overrides])
    parts = Parts(here, folder.absolute(), Clock.of(None), config.forecast)
    found = _compared(config)
    shared = [line for line in parts.shared() if key_of(line) != "data.image_size"]

    def words(arm: str, of: Candidate) -> list[str]:
        net, size = of.net, setting("data.image_size", of.size)
        weights = [] if net.weights == "auto" else [setting("backbone.weights", net.weights)]
        return [f"+experiment={arm}", f"backbone={net.name}", *weights, *shared, size]

    seeds = ",".join(map(str, range(config.seed, config.seed + wanted.seeds)))
    for number, each in enumerate(found.best_nets[: wanted.finetune], 1):
        each.finetuned = parts.folder / "finetuned" / f"{number}_{each.net.name}"
        line = [*words(wanted.arm, each), f"seed={seeds}", setting("hydra.sweep.dir", str(each.finetuned))]
        parts.run(f"fine-tune {each.name}", ["-m", *line], share=1.0)
    winner = found.winner
    options = [part for each in here.config_dirs for part in ("--config-dir", each)]
    arm = wanted.arm if winner.runs else FROZEN
    found.tell(parts.folder, command(*options, *words(arm, winner)), write_page=config.report.write)


def _check(wanted: list[NetConfig], arm: str, given: list[str]) -> None:
    """Stops before anything is extracted where a net, a file or the arm does not exist, or a setting would be lost."""
    for key in given:
        if key.split(".")[0] in ("backbone", "experiment") and key != "experiment.name":
            ways = {
                "backbone": "name the nets in backbones.nets",
                "experiment": "name the arm in backbones.arm",
            }
            raise SeedsweepError(f"{key}= is not read by +study=backbones: {ways[key.split('.')[0]]}.")
    check_choice("experiment", arm)
    if not wanted:
        raise SeedsweepError(
            "backbones.nets is empty: name one net at least, or take +study=backbones as it is."
        )
    names = [_called(net, []) for net in wanted]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SeedsweepError(f"backbones.nets names {twice} twice: leave one out, or rename its file.")
    for net in wanted:
        if net.name not in nets.names() and not is_timm(net.name):
            known = ", ".join(nets.names())
            raise SeedsweepError(
                f"backbones.nets names {net.name}, which is no net: take {known}, or a model of timm."
            )
        if net.weights not in ("auto", "none") and not path_of(net.weights).is_file():
            raise SeedsweepError(f"backbones.nets names weights={net.weights}, which is no file.")


def _compared(config: Config) -> Comparison:
    """Probes every net at every size.

    Raises:
        SeedsweepError: no net could be probed.
    """
    flush_denormals()
    wanted, checks, groups = config.backbones, FileChecks(), list[str]()
    sizes = wanted.sizes or [config.data.image_size]
    found, left_out = list[Candidate](), dict[str, str]()
    for size in sizes:
        data = replace(config.data, image_size=size)
        prepared = prepare_images(data, config.cache_dir, checks=checks)
        images = Material(prepared, wanted.images, seed=0).images
        groups = groups or facts_of(images, data, config.cache_dir).groups
        for net in wanted.nets:
            library = "own" if net.name in nets.names() else "timm"
            backbone = BackboneConfig(net.name, library, net.weights)
            name = _called(net, size if len(sizes) > 1 else [])
            try:
                measured = measure(replace(config, data=data, backbone=backbone), images, groups)
            except SeedsweepError as error:
                left_out[name] = str(error)
                log.warning("%s is left out: %s", name, error)
            else:
                found.append(Candidate(name, backbone, size, measured))
                log.info("%s: %.3f by the probe", name, measured.acc)
    if not found:
        raise SeedsweepError("none of the nets of backbones.nets can be compared, for the reasons above.")
    return Comparison(found, left_out, groups, config.backbones.arm)


def _called(net: NetConfig, size: list[int]) -> str:
    weights = {"auto": "", "none": " (random)"}.get(net.weights, f" ({path_of(net.weights).name})")
    return f"{net.name}{weights}{' ' if size else ''}{'x'.join(map(str, size))}"
