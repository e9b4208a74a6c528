"""Writes runs to experiment trackers beside TensorBoard: MLflow, Weights & Biases, or a logger of one's own.

A tracker is a file of ``conf/logger/``: a function (``_target_``) and its arguments. The function gets a
:class:`TrackedRun` and returns a :class:`Tracker`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from seedsweep.errors import SeedsweepError
from seedsweep.runs.record import FINISHED
from seedsweep.whole import read_json, write_json

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

log = logging.getLogger(__name__)

IDS = "trackers.json"  # in the run's folder: the id that each tracker gave the run
PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs
EXTRAS = ("mlflow", "wandb")  # trackers that need a package of their name
FILES = ("report.html", "metrics.json", "checkpoints/best.ckpt")  # of a run's folder, kept by trackers


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers see it.

    Attributes:
        folder: of the run.
        name: in the tracker's list of runs.
        within: folder of the grid or study that it belongs to; None: it stands alone.
        known: the tracker's own id of this run, where it goes on; None: it is new.
    """

    folder: Path
    name: str
    within: Path | None = None
    known: str | None = None


@dataclass(frozen=True)
class Tracker:
    """A Lightning logger, and what Lightning has no common method for.

    Attributes:
        logger: gets settings and metrics.
        keep: stores a file with the run.
        close: ends the run; gets whether it was finished.
    """

    logger: Logger
    keep: Callable[[Path], object]
    close: Callable[[bool], object]


class Trackers:
    """The trackers of one run. One that fails is left out with a warning, and the run goes on.

    Args:
        loggers: function and arguments by the tracker's name, as of ``conf/logger/``.
        run: what is tracked.
        settings: of the run, by dotted key.
    """

    def __init__(
        self, loggers: Mapping[str, Mapping[str, Any]], run: TrackedRun, settings: Mapping[str, Any]
    ) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._folder = run.folder
        if not loggers:
            return
        path = run.folder / IDS
        ids = dict(read_json(path))

        def begin(name: str) -> None:
            tracker = _made(loggers[name], replace(run, known=ids.get(name)))
            tracker.logger.log_hyperparams(dict(settings))
            ids[name] = str(tracker.logger.version)
            self._trackers[name] = tracker

        for name in loggers:
            self._try(name, partial(begin, name))
        write_json(path, ids)

    def __enter__(self) -> Trackers:
        """Returns the trackers, which are closed when the block ends."""
        return self

    def __exit__(self, *error: object) -> None:
        """Closes what :meth:`end` did not: the run was stopped, pruned, or failed."""
        self._each(lambda tracker: tracker.close(False))

    def epoch(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Writes the last row of the history; its epochs count from 0, and those of trackers from 1."""
        values = dict(rows[-1])
        step = int(values.pop("epoch")) + 1
        self._each(lambda tracker: tracker.logger.log_metrics(values, step=step))

    def end(self, metrics: Mapping[str, Any]) -> None:
        """Writes the scores of the end, keeps the run's report, metrics and best checkpoint, and closes.

        Args:
            metrics: of the run's metrics.json; without a finished epoch there is nothing to write.
        """
        if not self._trackers or metrics["best_epoch"] is None:
            return
        from seedsweep.training.finish import at_the_end

        scores = at_the_end(dict(metrics), metrics["train_images"]["bn_gap_last"])
        final = {f"final/{name}": value for name, value in scores.items()}
        kept = [path for name in FILES if (path := self._folder / name).is_file()]

        def write(tracker: Tracker) -> None:
            tracker.logger.log_metrics(final)
            for path in kept:
                tracker.keep(path)
            tracker.close(metrics["status"] == FINISHED)

        self._each(write)
        self._trackers.clear()

    def _each(self, do: Callable[[Tracker], object]) -> None:
        for name, tracker in list(self._trackers.items()):
            self._try(name, partial(do, tracker))

    def _try(self, name: str, do: Callable[[], object]) -> None:
        """Leaves a tracker out where it fails otherwise than by a mistake in the settings."""
        try:
            do()
        except SeedsweepError:
            raise
        except Exception as error:
            self._trackers.pop(name, None)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.warning("%s gets no more of this run, which goes on without it: %s", name, reason)


def check_trackers(loggers: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that what trackers need is installed.

    Raises:
        SeedsweepError: a package is missing.
    """
    for name in loggers:
        if name in EXTRAS and importlib.util.find_spec(name) is None:
            raise SeedsweepError(
                f"logger={name} needs the package {name}: pip install 'seedsweep[{name}]', or leave it out."
            )


def _made(given: Mapping[str, Any], run: TrackedRun) -> Tracker:
    from hydra.utils import get_method

    target = given.get("_target_")
    if not isinstance(target, str):
        raise SeedsweepError(
            "a logger needs _target_, the function that makes it: see conf/logger/mlflow.yaml."
        )
    made: Tracker = get_method(target)(run, **{k: v for k, v in given.items() if k != "_target_"})
    return made


def mlflow(run: TrackedRun, experiment_name: str, tracking_uri: str) -> Tracker:
    """Returns MLflow's logger; a grid's or study's runs are nested below one that bears its name.

    Args:
        run: what is tracked.
        experiment_name: of MLflow.
        tracking_uri: a server's address, or ``sqlite:///FILE``.
    """
    # a server that is away is known after seconds, not minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from pytorch_lightning.loggers import MLFlowLogger

    database = tracking_uri.removeprefix("sqlite:///")
    files = None  # where a server keeps them is its own matter
    if database != tracking_uri:  # else MLflow keeps them in the working directory
        files = (Path(database).absolute().parent / "mlflow_files").as_uri()

    def made(name: str, tags: dict[str, str], run_id: str | None) -> MLFlowLogger:
        return MLFlowLogger(
            experiment_name, name, tracking_uri, tags=tags, run_id=run_id, artifact_location=files
        )

    tags: dict[str, str] = {}
    if run.within is not None:
        with FileLock(run.within / f".{IDS}.lock"):
            path = run.within / IDS
            ids = dict(read_json(path))
            above = made(run.within.name, {}, ids.get("mlflow"))
            if "mlflow" not in ids:
                write_json(path, ids | {"mlflow": above.run_id})
                above.finalize()
            tags[PARENT] = str(above.run_id)
    logger = made(run.name, tags, run.known)
    return Tracker(
        logger,
        lambda path: logger.experiment.log_artifact(logger.run_id, str(path)),
        lambda finished: logger.finalize("success" if finished else "failed"),
    )


def wandb(run: TrackedRun, project: str, offline: bool) -> Tracker:
    """Returns the logger of Weights & Biases; a grid's or study's runs are one group.

    Args:
        run: what is tracked.
        project: of Weights & Biases.
        offline: write into the run's folder alone; ``wandb sync`` sends it later.
    """
    from pytorch_lightning.loggers import WandbLogger

    group = None if run.within is None else run.within.name
    logger = WandbLogger(
        run.name, run.folder, version=run.known, offline=offline, project=project, group=group
    )

    def keep(path: Path) -> None:
        kind = "model" if path.suffix == ".ckpt" else "result"
        logger.experiment.log_artifact(str(path), name=f"{logger.version}-{path.name}", type=kind)

    return Tracker(logger, keep, lambda finished: logger.experiment.finish(exit_code=0 if finished else 1))
