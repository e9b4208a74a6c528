"""What a study is: its settings, those of its trials, and the trials that its main process adds to it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState

from seedsweep.affects import SPLIT, content
from seedsweep.errors import RefusedError, SeedsweepError
from seedsweep.runs.duration import Clock
from seedsweep.runs.record import METRICS
from seedsweep.runs.settings import differences, flat
from seedsweep.session import Session
from seedsweep.study.leases import NUMBER, WORKER, is_gone, me
from seedsweep.study.options import PrunerConfig, SamplerConfig, StorageConfig, StudyConfig
from seedsweep.study.space import GRID, Start, build_pruner, dimensions, grid, starts
from seedsweep.study.storage import open_storage
from seedsweep.training.options import ArmSettings, what_counts

if TYPE_CHECKING:  # it brings torch, which a finished study does without
    from seedsweep.data.prepare import PreparedImages

log = logging.getLogger(__name__)

OF_THE_HEAD = ("head", "optim", "trainer", "data.batch_size")  # beginnings of keys that change no feature
COMPARED = ("metric", "rule", "tail", "seed")  # settings of a study that its trials' values depend on
EXTRA, SETTINGS, MAIN = "overrides", "settings", "leader"  # attributes of trials and studies
AGAIN = "/finalists"  # end of the name of the study that holds the re-evaluation of the best


@dataclass(frozen=True)
class StudyTime:
    """The time of a study with a budget."""

    clock: Clock  # of the whole call
    trial: float  # seconds of a trial with all its epochs, by the forecast
    closing: float  # seconds of tables, pictures and page at the end

    def left(self, reserve: float = 0.0) -> float:
        """Returns the seconds that trials have, less ``reserve``."""
        return self.clock.left - self.closing - reserve


@dataclass
class Plan:
    """A study as this process sees it; pickled for the worker processes."""

    asked: ArmSettings  # the settings of the command line
    study: StudyConfig  # what is searched, and who works on it
    sampler: SamplerConfig  # proposes settings
    pruner: PrunerConfig  # ends hopeless trials
    storage: StorageConfig  # where trials are kept
    folder: Path  # of the study
    # returns a trial's settings: what all trials share, and these overrides over it
    compose: Callable[[list[str]], ArmSettings]
    # returns the settings in which a trial departs from the file of its experiment
    departures: Callable[[ArmSettings], list[str]]
    digests: list[str] | None = None  # of the split and of the images, once they were found
    session: Session = field(default_factory=Session, repr=False)  # shared by the trials of this process
    time: StudyTime | None = None  # that there is; None: no limit
    # trackers of the trials beside TensorBoard, as of ``conf/logger/``
    loggers: dict[str, Any] = field(default_factory=dict)
    _images: tuple[dict[str, Any], PreparedImages] | None = field(default=None, repr=False)

    @property
    def is_of_heads(self) -> bool:
        """Whether all trials read the same features."""
        return all(param.key.startswith(OF_THE_HEAD) for param in dimensions(self.study))

    def images(self, trial: ArmSettings) -> PreparedImages:
        """Finds a trial's images, those of the last trial where the settings are the same.

        To look for 2,000 files again takes a quarter of a small trial, and a study is about the images it began with:
        its manifest.csv names them.

        Raises:
            SeedsweepError: they are not there any more, or the trial asks for others.
        """
        from seedsweep.data.pin import Pin
        from seedsweep.data.prepare import pinned_images

        key = asdict(trial.data) | {"cache": str(trial.cache_dir), "batch_size": None}
        if self._images is None or self._images[0] != key:
            check_same_split(self.compose([]), trial)
            self._images = key, pinned_images(trial.data, trial.cache_dir, Pin.of_study(self.folder))
            table = self._images[1].table
            self.digests = [table.split_digest(), table.images_digest()]
        return self._images[1]

    def check_images(self) -> None:
        """Compares the images with those that the study began with, so that a refused call leaves it as it was.

        Raises:
            RefusedError: images are missing or have another content.
        """
        if (self.folder / "manifest.csv").is_file():
            self.images(self.compose([]))


def check_same_split(study: ArmSettings, trial: ArmSettings) -> None:
    """Checks that a trial asks for the images of its study, for other scores can't be compared."""
    asked = (flat(content(settings.data, only=SPLIT), "data.") for settings in (study, trial))
    if others := differences(*asked):
        raise SeedsweepError(
            f"a trial would have other images than its study ({others}), and scores on different images are no "
            "ranking: leave it out of the space, and make a study or a grid for each."
        )


def what_counts_of_study(study: StudyConfig, sampler: SamplerConfig, pruner: PrunerConfig) -> dict[str, Any]:
    """Returns what a study's trials depend on beside the settings that they share: how they are drawn and judged."""
    compared: dict[str, Any] = {key: getattr(study, key) for key in COMPARED}
    compared["space"] = {param.key: asdict(param) for param in study.space.values()}
    return {"sampler": asdict(sampler), "pruner": asdict(pruner), "study": compared}


def open_study(plan: Plan) -> optuna.Study:
    """Opens the study in its storage, or begins it.

    Raises:
        RefusedError: it was begun with other settings.
        SeedsweepError: it can't be opened.
    """
    name = plan.study.name
    shared = plan.compose([])
    plan.folder.mkdir(parents=True, exist_ok=True)
    storage = open_storage(plan.storage, plan.folder)

    def opened() -> optuna.Study:
        return optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=build_pruner(plan.pruner, shared.trainer.max_epochs),
        )

    with FileLock(plan.folder / "begin.lock"):
        study = opened()
        settings = flat(what_counts(shared) | what_counts_of_study(plan.study, plan.sampler, plan.pruner))
        begun = study.user_attrs.get(SETTINGS)
        if begun not in (None, settings) and _is_abandoned(study, plan):
            log.info("study %s never came to its first trial: begun anew", name)
            optuna.delete_study(study_name=name, storage=storage)
            study, begun = opened(), None
        if begun is None:
            with suppress(KeyError):  # a study that was deleted left its re-evaluation
                optuna.delete_study(study_name=name + AGAIN, storage=storage)
            (plan.folder / "manifest.csv").unlink(missing_ok=True)  # of an earlier study of this name
            study.set_user_attr(SETTINGS, settings)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([METRICS[plan.study.metric]])  # for dashboards
        elif begun != settings:
            raise RefusedError(
                f"the study {name} in {plan.folder} was begun with other settings ({differences(begun, settings)}): "
                "its trials can't be compared with new ones; give another study.name=NAME."
            )
        if plan.study.job == 0 and ((main := study.user_attrs.get(MAIN)) is None or is_gone(main)):
            study.set_user_attr(MAIN, me())
    return study


def _is_abandoned(study: optuna.Study, plan: Plan) -> bool:
    """Says whether no worker ever took a trial of a study, and none will: its main process is gone.

    Of a study in a database this is not known: other machines may be at it.
    """
    main = study.user_attrs.get(MAIN)
    if plan.study.job != 0 or plan.storage.name != "journal" or main is None or not is_gone(main):
        return False
    return all(
        trial.state == TrialState.WAITING and WORKER not in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


def add_trials(study: optuna.Study, plan: Plan) -> None:
    """Adds the trials that the study still lacks, to be taken by workers.

    Only the main process may do so: two would add them twice. The lock keeps two of one machine apart.

    Raises:
        RefusedError: the images are not those that the study began with.
    """
    with FileLock(plan.folder / "begin.lock"):
        present = {trial.user_attrs[NUMBER] for trial in trials_of(study)}
        wanted, space = plan.study.n_trials, dimensions(plan.study)
        if plan.sampler.name == GRID:
            first = grid(space, plan.study.seed)
            wanted = min(wanted, len(first))
        else:
            first = starts(plan.study, space)
        lacking = [number for number in range(wanted) if number not in present]
        if present and lacking:
            plan.check_images()
        for number in lacking:
            add_trial(study, number, first[number] if number < len(first) else Start())


def add_trial(study: optuna.Study, number: int, start: Start, **attrs: Any) -> None:
    """Adds one WAITING trial; what ``start`` fixes is not drawn."""
    study.enqueue_trial(start.fixed, user_attrs={**attrs, NUMBER: number, EXTRA: start.overrides})


def trials_of(study: optuna.Study, states: tuple[TrialState, ...] | None = None) -> list[FrozenTrial]:
    """Returns the study's trials by their numbers; those that another program added are left out."""
    found = study.get_trials(deepcopy=False, states=states)
    return sorted((t for t in found if NUMBER in t.user_attrs), key=lambda t: int(t.user_attrs[NUMBER]))
