"""What a setting affects is said once, on its field; digests and pins go by that."""

from dataclasses import fields, replace

import pytest
from composed import config_of

from seedsweep.affects import SPEED, SPLIT, content
from seedsweep.data.options import DataConfig
from seedsweep.training.options import run_digest, what_counts

OTHER = {"bool": lambda value: not value, "int": lambda value: value + 1, "float": lambda value: value + 0.01}
CHANGED = [f for f in fields(DataConfig) if f.type in OTHER]


@pytest.mark.parametrize("field", CHANGED, ids=lambda field: field.name)
def test_only_speed_leaves_a_digest_as_it_is(field):
    config = config_of()
    value = OTHER[field.type](max(getattr(config.data, field.name), 0))
    other = replace(config, data=replace(config.data, **{field.name: value}))
    assert (run_digest(config) == run_digest(other)) == (field.metadata == SPEED)
    same_split = content(config.data, only=SPLIT) == content(other.data, only=SPLIT)
    assert same_split == (field.metadata != SPLIT)


def test_a_run_is_the_same_wherever_it_is_written_and_whatever_else_is_done():
    config = config_of()
    other = config_of(
        "paths.cache=elsewhere", "study.seed=3", "report.write=false", "trainer.progress_bar=false"
    )
    assert run_digest(config) == run_digest(other) != run_digest(config_of("seed=2"))
    assert "paths" not in what_counts(config)
    assert what_counts(config)["experiment"] == {"name": config.experiment.name}
