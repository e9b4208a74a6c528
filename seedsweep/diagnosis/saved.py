"""What a run left in its folder: its settings, its net, its history."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from seedsweep.config.schema import Config
from seedsweep.config.store import to_config
from seedsweep.data.pin import values_beside
from seedsweep.data.prepare import PreparedImages
from seedsweep.data.values import Ranges, read_ranges
from seedsweep.diagnosis.local import LocalSettings
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.models.checkpoint import read_checkpoint
from seedsweep.models.classifier import Classifier
from seedsweep.names import path_of
from seedsweep.training.assemble import build_module, trunk_as_set, trunk_of


def load_net(config: Config, prepared: PreparedImages, checkpoint: Path) -> Classifier:
    """Builds the net of ``config`` and fills it from a checkpoint of ours, the head alone where that is all it has.

    No code that the file may hold is run.

    Raises:
        SeedsweepError: damaged, or it doesn't fit.
    """
    saved = read_checkpoint(checkpoint)
    state, whole = saved["state_dict"], bool(saved.get("whole", True))
    trunk = trunk_as_set(config) if whole else trunk_of(config, prepared)
    module, built = build_module(config, prepared, trunk)
    try:
        wrong = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise SeedsweepError(
            f"{checkpoint} does not fit {built.backbone.name} and the head's settings."
        ) from error
    missing = [key for key in wrong.missing_keys if whole or ".head." in key]
    if wrong.unexpected_keys or missing:
        raise SeedsweepError(f"{checkpoint} does not fit {built.backbone.name} and the head's settings.")
    return built.classifier.eval()


def saved_config(folder: Path) -> Config:
    """Reads the settings that a run left in its folder.

    Raises:
        SeedsweepError: there are none, or this version can't read them.
    """
    path = folder / ".hydra" / "config.yaml"
    if not path.is_file():
        raise SeedsweepError(
            f"{folder} has no .hydra/config.yaml, and the run's own settings are needed; of a study, whose trials have "
            "none, train the winner (+experiment=best_of_STUDY) and diagnose that run."
        )
    try:
        cfg = OmegaConf.load(path)
        return to_config(cfg)  # type: ignore[arg-type]
    except Exception as error:  # of YAML, OmegaConf and the schema: many kinds
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise DamagedError(
            f"{path} is damaged, or of another version of seedsweep ({reason}): put back a copy of it. Or remove it, "
            f"for it comes before settings of the command line, and give the run's settings with "
            f"diagnose.checkpoint={folder}/checkpoints/best.ckpt."
        ) from error


def ranges_of(folder: Path) -> Ranges | None:
    """Returns how a run's images of more than 8 bits were scaled; None if its folder does not say."""
    path = values_beside(folder / "manifest.csv")
    return read_ranges(path) if path.is_file() else None


def repeat_split(config: Config, folder: Path, here: LocalSettings | None) -> str | None:
    """Has a run's images split as they were, by the manifest.csv that it left, unless this machine's settings differ.

    Args:
        config: the run's own; changed in place.
        folder: of the run.
        here: settings that replace the run's own.

    Returns:
        The manifest that the user gave, now or to the run; None: the run made its split itself.
    """
    given, own = config.data.manifest, folder / "manifest.csv"
    if own.is_file():
        config.data.manifest = str(own)
    if here is not None:
        here.lay_over(config)
    used = config.data.manifest
    if used is not None and path_of(used).resolve() == own.resolve():
        return given
    return used
