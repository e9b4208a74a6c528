"""Composed configurations as typed objects."""

import shutil
from pathlib import Path

import composed_once
import pytest
from composed import compose_config
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.cli.config.hydra_setup import register_schema, to_config
from seedsweep.names import conf_dir


def untyped(cfg: DictConfig) -> DictConfig:
    """As a run's config.yaml gives it back."""
    plain = OmegaConf.create(OmegaConf.to_container(cfg))
    assert isinstance(plain, DictConfig)
    return plain


@pytest.mark.parametrize("overrides", [["+experiment=frozen_bn"], ["+study=head_wide", "optim.lr=3e-5"]])
def test_composed_and_saved_configurations_are_the_same(overrides: list[str]):
    cfg = compose_config(*overrides)
    assert to_config(cfg) == to_config(untyped(cfg))


@pytest.mark.parametrize("override", ["+nope=1", "+optim.nope=1", "+augment.nope.deep=1"])
def test_keys_that_the_schema_lacks_are_refused(override: str):
    cfg = compose_config(override)
    for same in (cfg, untyped(cfg)):
        with pytest.raises(OmegaConfBaseException, match="nope"):
            to_config(same)


def test_values_of_a_wrong_type_are_refused():
    cfg = untyped(compose_config())
    cfg.optim.lr = "high"
    with pytest.raises(OmegaConfBaseException, match="high"):
        to_config(cfg)


@pytest.mark.slow
def test_what_is_remembered_is_what_hydra_composes(tmp_path: Path):
    """Of the tests' own memory (``composed_once``)."""
    shutil.copytree(conf_dir(), tmp_path / "conf")
    register_schema()
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        for width in (7, 9):
            (tmp_path / "conf/head/linear.yaml").write_text(f"width: {width}\n")
            for overrides in (["head=linear"], ["+study=head"], ["head=linear", "seed=2"], ["head=linear"]):
                asked = {"config_name": "config", "overrides": overrides, "return_hydra_config": True}
                remembered = compose(**asked)
                with pytest.MonkeyPatch.context() as patch:
                    composed_once.forget(patch)
                    anew = compose(**asked)
                assert OmegaConf.to_container(remembered) == OmegaConf.to_container(anew)
                assert to_config(remembered) == to_config(anew)
                assert remembered.head.width == (width if "head=linear" in overrides else 1024)
                remembered.head.width = 1  # the next asker's is another
