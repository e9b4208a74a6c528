"""Composed configurations as typed objects."""

import pytest
from composed import compose_config
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.config.store import to_config


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
