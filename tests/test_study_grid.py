"""Grids of studies, with a stub in the place of training: one name each, and how they end."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import study_stub
from composed import config_of
from study_stub import Arm

from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.data.pin import Pin
from seedsweep.study import main_process, processes, reevaluation
from seedsweep.training import finish

arm = study_stub.arm  # the fixture

GRID = ["-m", "+study=head", "backbone=efficientnet_lite0", "trainer.max_epochs=3", "study.n_trials=2",
        "study.finalists=1", "study.finalist_seeds=1", "hydra.sweep.dir=a grid"]  # fmt: skip
BOTH = "+experiment=frozen_bn,frozen_inception"


def rows() -> list[dict[str, str]]:
    with Path("a grid/results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_studies_stand_side_by_side_and_ctrl_c_keeps_what_they_found(
    arm: Arm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*GRID, BOTH, "study.finalist_seeds=2"]) == 0
    out = capsys.readouterr().out
    end = out[out.index("2 studies finished, 0 failed") :]
    assert "head_frozen_bn" in end
    assert "head_frozen_inception" in end
    assert "go on" not in end
    assert "(results.csv)" in end
    found = {row["study"]: row for row in rows()}
    for name, row in found.items():
        result = json.loads(Path(f"outputs/studies/{name}/result.json").read_text())
        assert float(row["mean"]) == result["winner"]["mean"]
        assert (row["experiment"], row["seed"]) == (name.removeprefix("head_"), "1")
        assert row["settings"] == ", ".join(result["winner"]["settings"])
        assert (row["finished_trials"], row["seeds"], row["test_acc"]) == ("2", "2", "0.8")
        assert Path(row["config"]).is_file()

    def act(config: Config) -> None:
        raise KeyboardInterrupt

    arm.act = act
    assert main(["resume=a grid", "study.n_trials=3"]) == 130
    out = capsys.readouterr().out
    assert "(of an earlier call)" in out
    assert "stopped; the same command goes on with it: 2 of 3 trials are done\n" in out
    assert {row["study"] for row in rows()} == {"head_frozen_bn", "head_frozen_inception"}


def test_the_best_study_stands_first(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    varied = ["head.dropout=0.6,0.1", "~study.space.dropout", "study.name=s_${head.dropout}"]
    assert main([*GRID, "+experiment=frozen_bn", *varied, "study.first=[['optim.lr=1e-3']]"]) == 0
    assert [row["study"] for row in rows()] == ["s_0.1", "s_0.6"]
    assert [float(row["mean"]) for row in rows()] == sorted(
        (float(row["mean"]) for row in rows()), reverse=True
    )
    end = capsys.readouterr().out.split("2 studies finished")[1]
    assert end.index("s_0.1") < end.index("s_0.6")


def test_a_study_that_fails_costs_the_others_nothing(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    def act(config: Config) -> None:
        if config.experiment.name == "frozen_inception":
            raise RuntimeError("no such luck")

    arm.act = act
    assert main([*GRID, BOTH]) == 1
    end = capsys.readouterr().out.split("1 study finished, 1 failed")[1]
    assert "failed: 1_frozen_inception_s1: no trial of head_frozen_inception went to its end" in end
    assert "'resume=a grid'" in end
    assert [row["study"] for row in rows()] == ["head_frozen_bn"]
    arm.calls.clear()
    arm.act = lambda config: None
    assert main(["resume=a grid", "study.n_trials=3"]) == 0
    assert "2 studies finished, 0 failed" in capsys.readouterr().out
    assert {c.experiment.name for c in arm.calls} == {"frozen_bn", "frozen_inception"}


def test_ctrl_c_says_what_is_left(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    def act(config: Config) -> None:
        if config.experiment.name == "frozen_inception":
            raise KeyboardInterrupt

    arm.act = act
    assert main([*GRID, f"{BOTH},scratch"]) == 130
    end = capsys.readouterr().out
    assert "1 study finished, 0 failed, 1 stopped on the way, 1 not begun" in end
    assert "'resume=a grid'" in end


def test_the_jobs_of_one_study_leave_its_end_to_the_leader(
    arm: Arm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*GRID, "+experiment=frozen_bn", "study.job=0,1"]) == 0
    out = capsys.readouterr().out
    assert out.count("The winner on the test images") == 1
    assert "finished, " not in out.split("The winner on the test images")[1]
    assert not Path("a grid/results.csv").exists()


@pytest.mark.parametrize(
    ("varied", "sentence"),
    [
        (["+experiment=frozen_bn", "seed=1,2"],
         "share the name head_frozen_bn, but differ (seed=1 and seed=2): put what differs into it, as in "),
        (["+experiment=frozen_bn,frozen_inception", "study.name=mine"],
         "share the name mine, but differ (experiment=frozen_bn and experiment=frozen_inception): "),
        (["+experiment=frozen_bn", "optim.weight_decay=0,1e-3"], "(optim.weight_decay=0 and "),
        (["+experiment=frozen_bn", "study.metric=acc,macro_f1"], "(study.metric=acc and study.metric=macro_f1): "),
        (["+experiment=frozen_bn", "augment=none,light"], "(augment=none and augment=light): "),
        (["+experiment=frozen_bn", "data.image_size=[64,64],[96,96]"], "one by one, each with a study.name=NAME"),
        (["+experiment=frozen_bn", "study.first=[],[['optim.lr=1e-3']]"], "one by one, each with a study.name=NAME"),
        (["+experiment=frozen_bn", "study.name=a,b", "seed=1,2"], "one by one, each with a study.name=NAME"),
        (["+experiment=frozen_bn", "storage.path=a.journal,b.journal"], "(storage.path=a.journal and "),
        (["+experiment=frozen_bn", "seed=1,2", "storage.path=a.journal", "paths.outputs=${seed}"], "(seed=1 and "),
        (["+experiment=frozen_bn", "study.n_trials=3,5", "hydra/launcher=workers"],
         "two jobs at once would be the main process of head_frozen_bn (study.n_trials=3 and study.n_trials=5): "),
    ],
)  # fmt: skip
def test_two_studies_of_one_name(
    varied: list[str], sentence: str, arm: Arm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*GRID, *varied]) == 2
    assert sentence in capsys.readouterr().err
    assert not arm.calls
    assert not Path("a grid").exists()


def test_an_experiment_joins_the_name_that_is_offered(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GRID, "+experiment=frozen_bn", "seed=1,2", "study.name=mine"]) == 2
    assert "'study.name=mine_${experiment.name}_${seed}', or call them" in capsys.readouterr().err


def test_ctrl_c_among_the_finalists_says_so(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    def act(config: Config) -> None:
        if config.seed > 1000:
            raise KeyboardInterrupt

    arm.act = act
    assert study_stub.run(n=1) == 130
    assert "1 of 1 trials are done (but not the re-evaluation of the best)" in capsys.readouterr().out


def test_studies_of_two_seeds_share_no_fresh_seed() -> None:
    seeds = [reevaluation.fresh_seed(seed, number) for seed in (0, 1, 2) for number in range(1000)]
    assert len(set(seeds)) == len(seeds)
    assert seeds[1000] == 1001
    assert 0 <= reevaluation.fresh_seed(2**31 - 1, 999) < 2**31


@pytest.mark.slow
def test_finals_keep_the_seeds_that_an_earlier_version_gave_them(
    arm: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(reevaluation, "fresh_seed", lambda seed, number: seed + 1000 + number)
        assert study_stub.run(*study_stub.ALL, "seed=2", n=3) == 0
    arm.calls.clear()
    assert study_stub.run(*study_stub.ALL, "seed=2", n=3) == 0
    assert not arm.calls
    assert study_stub.result()["winner"]["seeds"] == [1002, 1003, 1004]


@pytest.mark.slow
def test_the_name_that_is_offered_works(arm: Arm) -> None:
    name = "study.name=head_${experiment.name}_${seed}"
    assert main([*GRID, "+experiment=frozen_bn", "seed=1,2", name]) == 0
    assert sorted(path.name for path in Path("outputs/studies").iterdir()) == [
        "head_frozen_bn_1", "head_frozen_bn_2",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_grid_over_kinds_of_studies(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra takes it for a grid of training: the task stands in the files that are swept."""
    grid = [part for part in GRID if part != "+study=head"]
    assert main([*grid, "+study=head,head_wide", "+experiment=frozen_bn"]) == 0
    assert "2 studies finished, 0 failed" in capsys.readouterr().out
    assert {row["study"] for row in rows()} == {"head_frozen_bn", "head_wide_frozen_bn"}


def test_studies_of_two_rules_are_not_ranked(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    rules = ["study.rule=tail,checkpoint", "study.name=${study.rule}"]
    assert main([*GRID, "+experiment=frozen_bn", *rules]) == 0
    assert [row["study"] for row in rows()] == ["tail", "checkpoint"], "as they were called"
    assert "not ranked" in capsys.readouterr().out


@pytest.mark.slow
def test_a_study_ends_with_its_leader(
    arm: Arm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its other jobs end before, and well, though the leader may fail at the very end."""
    grid = [*GRID, BOTH, "study.job=0,1"]
    assert main(grid) == 0
    assert "4 jobs finished, 0 failed" in capsys.readouterr().out
    close = main_process.close_study

    def fails(study: Any, finals: Any, plan: Any, started: float) -> Any:
        if plan.asked.experiment.name == "frozen_bn":
            raise RuntimeError("no room on the disk")
        return close(study, finals, plan, started)

    monkeypatch.setattr(main_process, "close_study", fails)
    assert main(["resume=a grid", "study.n_trials=3"]) == 1
    assert "3 jobs finished, 1 failed" in capsys.readouterr().out
    assert [row["study"] for row in rows()] == ["head_frozen_inception"], (
        "the other's result is an earlier call's"
    )


def test_a_finished_study_begins_no_workers(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert study_stub.run(n=1) == 0
    monkeypatch.setattr(processes, "preload", lambda *_: None)
    monkeypatch.setattr(processes.Workers, "work", lambda *_: pytest.fail("there is nothing to do"))
    assert study_stub.run("study.workers=2", n=1) == 0


def test_the_test_images_are_met_once(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = in_tmp / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    scores = {"acc": 0.9, "macro_f1": 0.8, "loss": 0.1}
    (folder / "metrics.json").write_text(json.dumps({"status": "finished", "test": scores}))
    monkeypatch.setattr(finish, "pinned_images", lambda *_: pytest.fail("they were met before"))
    assert finish.score_test(config_of("+experiment=frozen_bn"), folder, Pin.of_run(folder)) == scores


def test_one_study_may_be_called_with_more_trials(arm: Arm) -> None:
    assert main([*GRID, "+experiment=frozen_bn", "study.n_trials=1,2"]) == 0
    assert len(study_stub.study("head_frozen_bn").trials) == 2


def test_a_grid_of_other_tasks_counts_jobs(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "task=report", "report.dir=a,b", "hydra.sweep.dir=a grid"]) == 1
    end = capsys.readouterr().out
    assert "0 jobs finished, 2 failed" in end
    assert "failed: 0_custom_s1: " in end
