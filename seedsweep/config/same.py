"""What makes two configurations one run, so that a grid or a study that is resumed repeats nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from seedsweep.config.schema import Config

# where a run is written, what is said about it, and what other tasks read
SECTIONS = (
    "task", "resume", "paths", "report", "diagnose", "checkpoint", "predict", "export", "rung", "study", "sampler",
    "pruner", "storage", "cache", "dashboard",
)  # fmt: skip
# how fast it goes, and what it says
SETTINGS = {
    "data": ("workers", "cache_gib"),
    "trainer": ("progress_bar",),
    "features": ("budget_gib", "batch_size"),
    "experiment": ("teaches",),
}


def what_counts(config: Config) -> dict[str, Any]:
    """Returns the settings that a run's numbers depend on, and its name."""
    content = {key: value for key, value in asdict(config).items() if key not in SECTIONS}
    for section, names in SETTINGS.items():
        content[section] = {key: value for key, value in content[section].items() if key not in names}
    return content


def what_counts_of_study(config: Config) -> dict[str, Any]:
    """Returns what a study's trials depend on beside the settings that they share: how they are drawn and judged."""
    study = config.study
    compared: dict[str, Any] = {key: getattr(study, key) for key in ("metric", "rule", "tail", "seed")}
    compared["space"] = {param.key: asdict(param) for param in study.space.values()}
    return {"sampler": asdict(config.sampler), "pruner": asdict(config.pruner), "study": compared}
