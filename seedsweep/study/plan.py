"""What a study is: its settings, its trials' configurations, and its slots."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import optuna
from filelock import FileLock
from hydra import compose
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, TrialState

from seedsweep.config.location import study_of
from seedsweep.config.same import check_same_split, differences, flat, what_counts_of_study
from seedsweep.config.schema import Config
from seedsweep.config.store import register_schema, to_config
from seedsweep.config.study_options import METRICS, OF_THE_STUDY, ParamConfig
from seedsweep.config.values import as_meant
from seedsweep.errors import RefusedError
from seedsweep.names import conf_dir
from seedsweep.overrides import key_of, plus
from seedsweep.study.identity import is_gone, me
from seedsweep.study.leases import SLOT, WORKER
from seedsweep.study.search import GRID, build_pruner
from seedsweep.study.space import Start, dimensions, grid, merged, starts
from seedsweep.study.storage import open_storage
from seedsweep.training.identity import what_counts
from seedsweep.training.options import ArmSettings

if TYPE_CHECKING:  # it brings torch, which a finished study does without
    from seedsweep.data.prepare import PreparedImages

log = logging.getLogger(__name__)

OF_THE_HEAD = ("head", "optim", "trainer", "data.batch_size")  # beginnings of keys that change no feature
EXTRA, SETTINGS, LEADER = "overrides", "settings", "leader"
SUFFIX = "/finalists"  # of the study beside the study


@dataclass
class Plan:
    """A study as this process sees it.

    ``base`` are the overrides that all trials share; ``folder`` is the study's.
    """

    config: Config
    folder: Path
    base: list[str]
    config_dirs: list[str] = field(default_factory=list)
    config_name: str = "config"
    digests: list[str] | None = None  # of the split and of the images, once they were found
    _cache: dict[tuple[str, ...], bytes] = field(default_factory=dict, repr=False)
    _images: tuple[dict[str, Any], PreparedImages] | None = field(default=None, repr=False)

    @property
    def space(self) -> list[ParamConfig]:
        """The dimensions, in order."""
        return dimensions(self.config.study)

    @property
    def is_of_heads(self) -> bool:
        """Whether all trials read the same features."""
        return all(param.key.startswith(OF_THE_HEAD) for param in self.space)

    def trial_config(self, lines: list[str]) -> Config:
        """Composes a trial's configuration: what all share, and ``lines`` over it.

        Composing takes Hydra a tenth of a second, so trials that differ in plain values share it.
        """
        values = [line for line in lines if _is_plain_value(line)]
        rest = merged(self.base, [line for line in lines if not _is_plain_value(line)])
        theirs = {key_of(line) for line in values}
        composed = self._composed([line for line in rest if key_of(line) not in theirs])
        for line in values:
            OmegaConf.update(composed, key_of(line), _value(line))
        return to_config(composed)

    def images(self, config: ArmSettings) -> PreparedImages:
        """Finds a trial's images, those of the last trial where the settings are the same.

        To look for 2,000 files again takes a quarter of a small trial, and a study is about the images it began with:
        its manifest.csv names them.

        Raises:
            SeedsweepError: they are not there any more, or the trial asks for others.
        """
        from seedsweep.data.pin import Pin
        from seedsweep.data.prepare import pinned_images

        key = asdict(config.data) | {"cache": str(config.cache_dir), "batch_size": None}
        if self._images is None or self._images[0] != key:
            check_same_split(self.trial_config([]), config)
            self._images = key, pinned_images(config.data, config.cache_dir, Pin.of_study(self.folder))
            table = self._images[1].table
            self.digests = [table.split_digest(), table.images_digest()]
        return self._images[1]

    def check_images(self) -> None:
        """Compares the images with those that the study began with, so that a refused call leaves it as it was.

        Raises:
            RefusedError: images are missing or have another content.
        """
        if (self.folder / "manifest.csv").is_file():
            self.images(self.trial_config([]))

    def _composed(self, overrides: list[str]) -> DictConfig:
        key = tuple(overrides)
        if key not in self._cache:
            with _hydra(self.config_dirs):
                self._cache[key] = pickle.dumps(compose(self.config_name, overrides))
        # a copy for each trial; to read a pickle takes a fraction of the time of copy.deepcopy
        return cast(DictConfig, pickle.loads(self._cache[key]))


def read_plan(config: Config) -> Plan:
    """Reads the running Hydra job: which overrides are the study's, which the trials'."""
    hydra = HydraConfig.get()
    study = config.study
    given = [o for o in hydra.overrides.task if key_of(o).split(".")[0] not in OF_THE_STUDY]
    theirs = {key_of(override) for override in given}
    settings = [plus(as_meant(o)) for o in study.settings if key_of(o) not in theirs]
    sources = hydra.runtime.config_sources
    folders = [source.path for source in sources if source.provider == "command-line"]
    name = str(hydra.job.config_name or "config")
    return Plan(config, study_of(config), merged(settings, given), folders, name)


def open_study(plan: Plan) -> optuna.Study:
    """Opens the study in its storage, or begins it.

    Raises:
        RefusedError: it was begun with other settings.
        SeedsweepError: it can't be opened.
    """
    config = plan.config
    plan.folder.mkdir(parents=True, exist_ok=True)
    storage = open_storage(config.storage, plan.folder)

    def opened() -> optuna.Study:
        return optuna.create_study(
            storage=storage,
            study_name=config.study.name,
            direction="maximize",
            load_if_exists=True,
            pruner=build_pruner(config.pruner, plan.trial_config([]).trainer.max_epochs),
        )

    with FileLock(plan.folder / "begin.lock"):
        study = opened()
        settings = _settings(plan)
        begun = study.user_attrs.get(SETTINGS)
        if begun not in (None, settings) and _is_abandoned(study, plan):
            log.info("study %s never came to its first trial: begun anew", config.study.name)
            optuna.delete_study(study_name=config.study.name, storage=storage)
            study, begun = opened(), None
        if begun is None:
            with suppress(KeyError):  # a study that was deleted left its finals
                optuna.delete_study(study_name=config.study.name + SUFFIX, storage=storage)
            (plan.folder / "manifest.csv").unlink(missing_ok=True)  # of an earlier study of this name
            study.set_user_attr(SETTINGS, settings)
            _name_metric(study, METRICS[config.study.metric])
        elif begun != settings:
            raise RefusedError(_other_settings(plan, begun, settings))
        if config.study.job == 0 and ((leader := study.user_attrs.get(LEADER)) is None or is_gone(leader)):
            study.set_user_attr(LEADER, me())
    return study


def _is_abandoned(study: optuna.Study, plan: Plan) -> bool:
    """Says whether no worker ever took a trial of a study, and none will: its main process is gone.

    Of a study in a database nobody knows: other machines may be at it.
    """
    leader = study.user_attrs.get(LEADER)
    if plan.config.study.job != 0 or plan.config.storage.name != "journal":
        return False
    if leader is None or not is_gone(leader):
        return False
    return all(
        trial.state == TrialState.WAITING and WORKER not in trial.user_attrs
        for trial in study.get_trials(deepcopy=False)
    )


def _name_metric(study: optuna.Study, name: str) -> None:
    """Tells dashboards what the objective is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([name])


def lay_slots(study: optuna.Study, plan: Plan) -> None:
    """Lays down the trials that the study still lacks, as WAITING slots.

    Only the main process may do so: two would lay them twice. The lock keeps two of one machine apart.

    Raises:
        RefusedError: the images are not those that the study began with.
    """
    config = plan.config
    with FileLock(plan.folder / "begin.lock"):
        present = {trial.user_attrs[SLOT] for trial in slots(study)}
        wanted = config.study.n_trials
        if config.sampler.name == GRID:
            first = grid(plan.space, config.study.seed)
            wanted = min(wanted, len(first))
        else:
            first = starts(config.study, plan.space)
        lacking = [slot for slot in range(wanted) if slot not in present]
        if present and lacking:
            plan.check_images()
        for slot in lacking:
            add_slot(study, slot, first[slot] if slot < len(first) else Start())


def add_slot(study: optuna.Study, slot: int, start: Start, **attrs: Any) -> None:
    """Adds one WAITING trial; what ``start`` fixes is not drawn."""
    study.enqueue_trial(start.fixed, user_attrs={**attrs, SLOT: slot, EXTRA: start.overrides})


def slots(study: optuna.Study, states: tuple[TrialState, ...] | None = None) -> list[FrozenTrial]:
    """Returns the study's trials by slot."""
    found = study.get_trials(deepcopy=False, states=states)
    return sorted((t for t in found if SLOT in t.user_attrs), key=lambda t: int(t.user_attrs[SLOT]))


def _is_plain_value(line: str) -> bool:
    """Says whether an override sets a value, and chooses no file of a group."""
    key = key_of(line)
    return not line.startswith(("+", "~")) and ("." in key or key == "seed")


def _value(line: str) -> Any:
    return OverridesParser.create().parse_override(line).value()


def _settings(plan: Plan) -> dict[str, Any]:
    """Returns what must be equal for two calls to mean one study, flat."""
    content = what_counts(plan.trial_config([])) | what_counts_of_study(plan.config)
    return flat(content)


def _other_settings(plan: Plan, begun: dict[str, Any], now: dict[str, Any]) -> str:
    return (
        f"the study {plan.config.study.name} in {plan.folder} was begun with other settings "
        f"({differences(begun, now)}): its trials can't be compared with new ones; give another study.name=NAME."
    )


@contextmanager
def _hydra(config_dirs: list[str]) -> Iterator[None]:
    """Lets ``compose`` work in a worker's process, where Hydra itself is not running."""
    register_schema()
    if GlobalHydra.instance().is_initialized():
        yield
        return
    path = create_config_search_path(str(conf_dir()))
    for folder in reversed(config_dirs):
        path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    Hydra.create_main_hydra2(task_name="seedsweep", config_search_path=path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
