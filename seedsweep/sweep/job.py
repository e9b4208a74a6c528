"""What Hydra calls for a single run, and for each job of a grid.

A job of a grid leaves its result in its folder (metrics.json, or failure.json with the reason), never in memory
alone, so that other launchers may run it in another process.
"""

from __future__ import annotations

import hashlib
import json
import logging
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seedsweep.config.schema import Config
from seedsweep.config.store import to_config
from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)

UNLABELLED = ("seed", "experiment", "sweep", "resume")  # swept keys that don't name an arm


@dataclass
class _State:
    """Of the process that runs the command line."""

    sweep_dir: Path | None = None
    interrupted: bool = False
    error: SeedsweepError | None = None
    defect: Exception | None = None


_state = _State()


def reset() -> None:
    """Forgets an earlier command line."""
    global _state
    _state = _State()


def sweep_dir() -> Path | None:
    """Returns the grid's folder; None for a single run."""
    return _state.sweep_dir


def interrupted() -> bool:
    """Says whether Ctrl-C ended the grid."""
    return _state.interrupted


def error() -> SeedsweepError | None:
    """Returns what the user can mend in a single run."""
    return _state.error


def defect() -> Exception | None:
    """Returns what went wrong by no fault of the user's."""
    return _state.defect


class GridFolder(Callback):
    """Hydra callback: remembers where the grid's jobs are."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes the folder before the first job."""
        _state.sweep_dir = Path(config.hydra.sweep.dir).absolute()


def run(cfg: DictConfig) -> None:
    """Hydra's task function."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if hydra.mode == RunMode.MULTIRUN:
        try:
            _grid_job(cfg, folder)
        except KeyboardInterrupt:
            _state.interrupted = True
            raise
        return
    try:
        _single(cfg, folder)
    except SeedsweepError as caught:
        _state.error = caught
    except Exception as caught:
        _state.defect = caught
        _write_defect(folder)
        log.error(
            "seedsweep: a defect of ours: %s; the details are in %s", _reason(caught), folder / "error.log"
        )


def _single(cfg: DictConfig, folder: Path) -> None:
    from seedsweep.training.run import train

    resume = bool(cfg.resume)
    status = _status(folder)
    if status == "finished" and resume:
        log.info("%s is finished already", folder)
        return
    if not resume and (status or (folder / "checkpoints").is_dir()):
        raise SeedsweepError(
            f"{folder} holds a run already: give another hydra.run.dir, or resume={folder} to go on with it."
        )
    config = to_config(cfg)
    log.info("%s -> %s", config.experiment.name, folder)
    try:
        train(config, folder, label=config.experiment.name, resume=resume)
    except KeyboardInterrupt:
        log.info("stopped; go on with: python -m seedsweep resume=%s", folder)
        raise
    log.info("dashboard: tensorboard --logdir %s", folder)


def _grid_job(cfg: DictConfig, folder: Path) -> None:
    from seedsweep.training.run import train

    hydra = HydraConfig.get()
    grid = Path(hydra.sweep.dir)
    _state.sweep_dir = _state.sweep_dir or grid.absolute()
    config = to_config(cfg)
    label = arm_label(config.experiment.name, list(hydra.overrides.task), _swept_keys(grid))
    digest = _digest(config)
    log.info("")
    log.info("[job %d] %s, seed %d", int(hydra.job.num), label, config.seed)
    known = _read(folder / "job.json").get("config")
    if known not in (None, digest):
        _fail(
            folder, config, label, "its folder holds a run with other settings; give another hydra.sweep.dir"
        )
        return
    if known == digest and _status(folder) == "finished":
        log.info("finished already")
        return
    (folder / "job.json").write_text(json.dumps({"config": digest, "label": label}) + "\n")
    (folder / "failure.json").unlink(missing_ok=True)
    try:
        train(config, folder, label=label, resume=True)
    except SeedsweepError as caught:
        _fail(folder, config, label, str(caught))
    except Exception as caught:  # a failing job must not end the grid: out of memory, a defect, ...
        _write_defect(folder)
        _fail(folder, config, label, _reason(caught))


def arm_label(experiment: str, overrides: list[str], swept: set[str]) -> str:
    """Names an arm: its experiment, and what else the grid varies besides the seed."""
    parts = [experiment]
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if key in swept and key not in UNLABELLED:
            parts.append(f"{key}={override.get_value_element_as_str()}")
    return " ".join(parts)


def _swept_keys(grid: Path) -> set[str]:
    """Returns the keys that vary, from the multirun.yaml that Hydra writes before the first job."""
    path = grid / "multirun.yaml"
    if not path.is_file():
        return set()
    content: Any = OmegaConf.load(path)
    node = content.get("hydra", content)
    lines = [*node.overrides.task, *[f"{k}={v}" for k, v in (node.sweeper.get("params") or {}).items()]]
    parsed = OverridesParser.create().parse_overrides(lines)
    return {override.key_or_group for override in parsed if override.is_sweep_override()}


def _digest(config: Config) -> str:
    """Returns what must be equal for a job to be the same job: everything but where it is written."""
    content = {key: value for key, value in asdict(config).items() if key != "paths"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _status(folder: Path) -> str | None:
    status = _read(folder / "metrics.json").get("status")
    return str(status) if status else None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _reason(caught: Exception) -> str:
    text = str(caught).strip().splitlines()
    return f"{type(caught).__name__}: {text[0]}" if text else type(caught).__name__


def _write_defect(folder: Path) -> None:
    (folder / "error.log").write_text(traceback.format_exc())


def _fail(folder: Path, config: Config, label: str, reason: str) -> None:
    log.error("failed: %s", reason)
    content = {"reason": reason, "label": label, "experiment": config.experiment.name, "seed": config.seed}
    (folder / "failure.json").write_text(json.dumps(content, indent=2) + "\n")
