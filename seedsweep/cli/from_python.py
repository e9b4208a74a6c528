"""Composes, trains and reads a run from Python as the command line does: the same settings, files and refusals."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from seedsweep.cli.arguments import arrange, parse
from seedsweep.cli.composing import Composer, composing
from seedsweep.cli.config.compose import searching
from seedsweep.cli.config.hydra_setup import register_schema, to_config
from seedsweep.cli.config.schema import Config
from seedsweep.cli.job import run_in_folder
from seedsweep.cli.preflight import check
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir, path_of
from seedsweep.overrides import setting, written
from seedsweep.runs.jobs import holds_run, is_finished
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.settings import flat, refuse_other_settings
from seedsweep.training.options import what_counts

if TYPE_CHECKING:
    from torch import nn

BEST = Path("checkpoints") / "best.ckpt"


@dataclass(frozen=True)
class Run(RunResult):
    """A run that was trained, read from its folder; each part is read when it is first asked for.

    Example:
        >>> from pathlib import Path
        >>> import seedsweep as ss
        >>> run = ss.Run(Path("outputs/frozen_bn/2026-11-30_20-15-00"))  # load_run(folder) looks whether it is there
        >>> run.metrics  # nothing is
        {}
    """

    def model(self) -> nn.Module:
        """Builds the net of the best epoch, in eval mode: pixels 0..255 [B, 3, H, W] to logits [B, N].

        Raises:
            SeedsweepError: the checkpoint is missing or damaged.
        """
        from seedsweep.export.load import load_trained

        path = self.folder / BEST
        if not path.is_file():
            raise SeedsweepError(
                f"{path} is missing: no epoch of this run was finished, or the file was removed."
            )
        return load_trained(path).net


def compose(*overrides: str, config_dir: str | Path | None = None) -> Config:
    """Returns the settings that a command line with these overrides comes to, checked as it checks them.

    Example:
        >>> import seedsweep as ss
        >>> cfg = ss.compose("+experiment=frozen_bn", "optim.lr=3e-4", "trainer.max_epochs=5")
        >>> cfg.batchnorm.name, cfg.optim.lr, cfg.trainer.max_epochs
        ('inference', 0.0003, 5)

    Args:
        *overrides: of one run, such as ``data.root=DIR``.
        config_dir: a folder of configuration files of your own, as ``--config-dir``.

    Returns:
        The typed settings. Values may be changed before :func:`train`.

    Raises:
        SeedsweepError: an unknown setting or choice, a wrong type, a value out of bounds, several runs at once, or no
            such folder of images.
    """
    if options := [override for override in overrides if override.startswith("-")]:
        raise SeedsweepError(
            f"{options[0]} is an option of the command line: give settings such as optim.lr=3e-4."
        )
    register_schema()
    options = [] if config_dir is None else ["--config-dir", str(config_dir)]
    parsed = parse(arrange([*options, *overrides]))
    with composing(parsed) as composer:
        config = check(parsed, composer).config
    assert config is not None  # several runs at once need -m
    return config


def train(config: Config, folder: str | Path | None = None, *, resume: bool = False) -> Run:
    """Trains the run that ``config`` describes, as ``python -m seedsweep`` does, and writes the same files.

    Example:
        >>> import tempfile, seedsweep as ss
        >>> with tempfile.TemporaryDirectory() as tmp:
        ...     cfg = ss.compose(
        ...         "+experiment=frozen_bn", "backbone=efficientnet_lite0", "data.demo.n_images=70",
        ...         "data.image_size=[32,32]", "trainer.max_epochs=1", "trainer.progress_bar=false",
        ...         "head.width=8", "report.write=false", f"paths.cache={tmp}/cache",
        ...     )
        ...     run = ss.train(cfg, f"{tmp}/run")
        ...     len(run.history), 0 <= run.metrics["val"]["acc"] <= 1
        (1, True)

    Args:
        config: of :func:`compose`, perhaps with values changed since.
        folder: of the run; None: ``<paths.outputs>/<experiment.name>/<date_time>``.
        resume: go on with the run in ``folder``, which was stopped.

    Returns:
        The run.

    Raises:
        SeedsweepError: bad input, or the folder holds another run.
        DivergedError: the loss became NaN or infinite; what was trained before is in the folder.
    """
    if config.task != "train":
        raise SeedsweepError(
            f"train() trains one run, but the settings are of task={config.task}: use the command line."
        )
    if folder is None and resume:
        raise SeedsweepError("resume=True needs the folder of the run that was stopped.")
    where = _new_folder(config) if folder is None else path_of(str(folder))
    if resume and is_finished(where):
        return Run(where)
    if not resume and holds_run(where):
        raise SeedsweepError(
            f"{where} holds a run already: give another folder, or resume=True to go on with it."
        )
    composed = _composed_again(replace(config, resume=resume), where)
    cfg = _without_hydra(composed)
    if resume and holds_run(where):
        refuse_other_settings(where, what_counts(to_config(cfg)))
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(composed)
    try:
        run_in_folder(cfg, where)
    finally:
        hydra.cfg = before
    return Run(where)


def load_run(folder: str | Path) -> Run:
    """Reads a run that was trained before.

    Example:
        >>> import seedsweep as ss
        >>> try:
        ...     ss.load_run("outputs/no_such_run")
        ... except ss.SeedsweepError as error:
        ...     print(error)
        outputs/no_such_run holds no metrics.json: give the folder of a single run that has ended.

    Args:
        folder: of the run; of a grid, one of the folders in it.

    Raises:
        SeedsweepError: it holds no run that has ended.
    """
    path = path_of(str(folder))
    if not (path / "metrics.json").is_file():
        raise SeedsweepError(
            f"{folder} holds no metrics.json: give the folder of a single run that has ended."
        )
    return Run(path)


def _new_folder(config: Config) -> Path:
    """Returns where a command line begun now would write; another name where that is taken."""
    first = path_of(config.paths.outputs) / config.experiment.name / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}_{number}")
    return folder


def _composed_again(config: Config, folder: Path) -> DictConfig:
    """Returns what Hydra makes of the command line that comes to ``config``: what a run's folder keeps.

    Raises:
        SeedsweepError: a value is out of bounds, or can't be written on a command line.
    """
    register_schema()
    known = (conf_dir() / "experiment" / f"{config.experiment.name}.yaml").is_file()
    begin = [f"+experiment={config.experiment.name}"] if known else []
    with searching([]):
        compose = Composer()
        base = compose.config(begin)
        lines = [*begin, *_differences(base, config), setting("hydra.run.dir", str(folder))]
        composed, found = compose(lines), compose.config(lines)
    with open_dict(composed.hydra):
        composed.hydra.runtime.output_dir = str(folder.absolute())
    if other := list(_differences(found, config)):
        raise SeedsweepError(
            f"{other[0]} can't be written as a setting of the command line: give another value."
        )
    return composed


def _differences(base: object, config: object, prefix: str = "") -> Iterator[str]:
    """Yields what ``config`` has otherwise than ``base``, as overrides."""
    for field in fields(config):  # type: ignore[arg-type]
        before, value = getattr(base, field.name), getattr(config, field.name)
        if is_dataclass(value):
            yield from _differences(before, value, f"{prefix}{field.name}.")
        elif before == value:
            continue
        elif field.name == "logger":  # a group's name too: Hydra takes a dictionary for a choice of files
            keys = flat(value, f"{prefix}logger.")
            yield from (f"++{key}={written(each)}" for key, each in keys.items())
        else:
            yield setting(f"{prefix}{field.name}", value)


def _without_hydra(cfg: DictConfig) -> DictConfig:
    plain = copy.deepcopy(cfg)
    with open_dict(plain):
        plain.pop("hydra", None)
    return plain
