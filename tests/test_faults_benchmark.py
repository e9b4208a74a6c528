"""The benchmark of planted faults: scenarios are whole, folders hold what they say, and twelve are diagnosed right."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FAULTS = ROOT / "benchmarks" / "faults"
DATA, WEIGHTS = ROOT.parent / "shared" / "data", ROOT.parent / "shared" / "weights"
RIGHT = (
    "coffee-lite0-scaled_twice",
    "coffee-lite0-lr_low",
    "coffee-lite0-batch_stats",
    "coffee-lite0-batch_stats+scaled_twice",
    "coffee-lite0-noise_10",
    "coffee-lite0-copies_exact",
    "wheat-lite0-unreadable",
    "wheat-lite0-contradictions",
    "wheat-lite0-leak",
    "wheat-lite0-quality",
    "coffee-lite0-healthy",
    "parts-lite0-healthy",
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """The benchmark's modules, found as ``python benchmarks/faults`` finds them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FAULTS))
        import planting
        import running
        import scenario
        import scoring

        yield (scenario, planting, running, scoring)
        for module in ("planting", "running", "scenario", "scoring", "altering"):
            sys.modules.pop(module, None)


def test_scenarios_are_as_many_as_promised(bench: Any):
    every = bench[0].read_scenarios()
    kinds = Counter(each.kind for each in every)
    assert len({each.name for each in every}) == len(every) >= 80
    assert kinds["healthy"] >= 20
    assert kinds["combination"] >= 15
    assert sum(each.data == "parts" and each.kind == "healthy" for each in every) >= 10
    assert 0.3 <= sum(each.held_out for each in every) / len(every) <= 0.4
    assert all(fault.answers for each in every for fault in each.faults.values() if fault.kind != "healthy")
    assert set(RIGHT) <= {each.name for each in every if not each.held_out}
    tuned, held = (
        {(s.name, seed) for s, seed in bench[0].chosen([], part, [0, 1, 2])} for part in ("tuned", "held-out")
    )
    assert not tuned & held
    assert len(tuned) + len(held) == 3 * len(every)
    assert all(seed != bench[0].HELD_SEED for _, seed in tuned)


def test_a_folder_holds_what_was_planted(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scenario, planting, *_ = bench
    monkeypatch.setattr(planting, "draw_parts", lambda folder: altering_parts(folder))
    near = next(each for each in scenario.read_scenarios() if each.name == "parts-lite0-contradictions_near")

    def altering_parts(folder: Path) -> None:
        import altering

        altering.draw_parts(folder, each=30, side=48)

    truths = [planting.build(near, 0, DATA, tmp_path / run / "images") for run in ("once", "again")]
    assert truths[0] == truths[1]
    wrong = [path for path, label in truths[0].items() if not path.startswith(f"{label}/")]
    assert len(wrong) == round(0.06 * 120)
    files = [path for path in (tmp_path / "once" / "images").rglob("*") if path.is_file()]
    assert len(files) == len(truths[0]) == 120 + len(wrong)
    assert sum(not path.is_symlink() for path in files) == len(wrong)


def test_scores_ask_for_every_cause(bench: Any):
    scenario, _, _, scoring = bench
    two = next(
        each for each in scenario.read_scenarios() if each.name == "coffee-lite0-batch_stats+scaled_twice"
    )
    finding = {"check": "scaling", "title": "Input scaling", "verdict": "fault"}
    row = {"findings": [finding], "thumb": "learning_rate"}
    found = scoring.score(row, two)
    assert found == {"all": False, "any": True, "first": True, "fault": True, "said": True, "thumb": False}
    assert scoring.hits(
        {"check": "duplicates", "title": "Copies across splits"}, ["duplicates/Copies across splits"]
    )
    assert not scoring.hits(
        {"check": "duplicates", "title": "Duplicates"}, ["duplicates/Copies across splits"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_a_planted_fault_is_named_first_and_a_healthy_run_has_none(
    name: str, bench: Any, tmp_path_factory: Any
):
    if not (DATA / "coffee").is_dir():
        pytest.skip("no shared photographs here")
    scenario, _, running, scoring = bench
    work = tmp_path_factory.getbasetemp() / "faults"  # one store of features for all twelve
    work.mkdir(exist_ok=True)
    ((planted, seed),) = scenario.chosen([name], "all", [0])
    row = running.measure(planted, seed, running.Places(DATA, WEIGHTS, work), False)
    assert row["error"] is None
    said = [(finding["title"], finding["verdict"]) for finding in row["findings"]]
    if planted.kind == "healthy":
        assert "fault" not in dict(said).values(), said
    else:
        found = scoring.score(row, planted)
        assert found["all"], said
        assert found["first"], said
