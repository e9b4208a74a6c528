"""The studies in ``experiments/`` compose, and their arms differ in what they say they differ in."""

from pathlib import Path

import pytest
import yaml
from composed import config_of

from seedsweep.cli.config.schema import Config

STUDY = Path(__file__).resolve().parents[1] / "experiments" / "coffee_arms"
SWEEP = yaml.safe_load((STUDY / "conf/sweep/coffee_arms.yaml").read_text())
ARMS = SWEEP["hydra"]["sweeper"]["params"]["+experiment"].split(",")


def arm_of(arm: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("SEEDSWEEP_WEIGHTS", "weights")
    searched = f"hydra.searchpath=[file://{STUDY / 'conf'}]"
    return config_of(searched, f"+experiment={arm}", "+sweep=coffee_arms")


def test_every_arm_file_is_in_the_sweep():
    assert sorted(ARMS) == sorted(path.stem for path in (STUDY / "conf/experiment").glob("*.yaml"))


def test_an_arm_keeps_its_settings_in_the_sweep(monkeypatch: pytest.MonkeyPatch):
    arms = {arm: arm_of(arm, monkeypatch) for arm in ARMS}
    assert all(arm == config.experiment.name for arm, config in arms.items())
    assert arms["lite0_batch_stats_b4"].data.batch_size == 4
    assert arms["lite0_batch_stats_b32"].data.batch_size == 32
    for arm, config in arms.items():
        assert config.data.image_size == [96, 96]
        assert config.preprocess.rescale == arm.endswith("rescale_twice")
        assert config.backbone.freeze == (arm not in ("lite0_scratch", "lite0_finetune"))
    policies = {arm: config.batchnorm.name for arm, config in arms.items()}
    assert policies["lite0_update_stats"] == "update_stats"
    assert policies["lite0_bn_only"] == policies["lite0_scratch"] == policies["lite0_finetune"] == "train"
    assert policies["lite0_recalibrated"] == "recalibrate"
    assert policies["inception_batch_stats"] == "batch_stats"
