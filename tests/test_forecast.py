"""How long a grid or study takes is measured before it begins; a budget is kept, and what it leaves out is said."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from composed import config_of
from study_stub import arm as arm  # a fixture
from study_stub import result, run
from tiny_net import tiny_net

from seedsweep import signals
from seedsweep.cli.arguments import interpret
from seedsweep.cli.close_grid import finish_grid
from seedsweep.cli.forecast import Forecast, Job, is_short, measured
from seedsweep.cli.grid_clock import GridClock
from seedsweep.cli.main import main
from seedsweep.errors import SeedsweepError
from seedsweep.report.sections.the_time import section
from seedsweep.runs.csv_files import write_predictions
from seedsweep.runs.duration import Clock, Pace, seconds_of, spoken
from seedsweep.runs.record import has_scores, is_finished
from seedsweep.runs.time_given import TimeGiven
from seedsweep.session import Session
from seedsweep.study import worker
from seedsweep.study.plan import StudyTime
from seedsweep.training.limit import Rival, RunLimit, reachable


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("0.5h", 1800), (" 2M ", 120)],
)
def test_times_are_read(text: str, seconds: float):
    assert seconds_of("budget", text) == seconds


@pytest.mark.parametrize("text", ["", "30", "soon", "1h 30m", "-5m", "30m1h", "5s", "nan", "1d"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(SeedsweepError, match=r"^budget=.* is (no time|too short)"):
        seconds_of("budget", text)


def test_times_are_spoken():
    assert [spoken(each) for each in (0.4, 59, 60, 246, 3569, 5400)] == [
        "0 s", "59 s", "1.0 min", "4.1 min", "59.5 min", "1.5 h",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["-m", "seed=1,2", "budget=tomorrow"], "budget=tomorrow is no time"),
        (["budget=5m"], "budget=5m is for a grid (-m), a study or +sweep=answer"),
        (["forecast=only"], "forecast=only is for a grid (-m)"),
        (["+study=head", "budget=5m", "study.workers=2"], "budget=5m needs a study with one worker"),
        (
            ["-m", "+study=head", "+experiment=frozen_bn,scratch", "budget=5m"],
            "budget=5m can't be had: the jobs are no training runs",
        ),
        (["-m", "+sweep=answer"], "leave out -m"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(
    line: list[str], said: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(line) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(in_tmp.iterdir())


def test_an_answer_is_a_word_before_a_folder(in_tmp: Path):
    (in_tmp / "seeds").mkdir()
    said = interpret(["answer", "seeds", "budget=1h"])
    assert {"task=answer", "data.root=seeds", "data=folder", "experiment.name=answer"} <= set(said)


def pace(epoch: float, epochs: int = 10, **once: float) -> Pace:
    return Pace(epochs, epoch, setup=1.0, ending=2.0, once=once, images_per_second=100.0)


def test_the_arithmetic_of_a_forecast(capsys: pytest.CaptureFixture[str]):
    found = Forecast(
        {"a": pace(1, f=30), "b": pace(2, f=30)}, {"c": "no weights"}, pictures=5, closing=7, opening=3
    )
    assert found.run("a") == 1 + 10 + 2 + 5
    assert found.run("b", epochs=3) == 1 + 6 + 2 + 5
    assert found.once(["a", "b"]) == 30, "features that two arms share are computed once"
    assert found.seconds(["a", "a", "b"]) == 30 + 2 * 18 + 28
    assert found.total(["a", "c"]) == 3 + 30 + 18 + 7
    found.show(["a", "a", "b", "c"], 4)
    out = capsys.readouterr().out.splitlines()
    assert out[1].split() == ["a", "100", "10", "2", "1.1"]
    assert out[3].split()[:3] == ["c", "not", "measured"]
    assert "not measured: c: no weights" in out
    assert out[-1] == "forecast   1.7 min for 4 runs, without 1 that could not be measured (measured in 4 s)"


def test_a_pace_is_read_off_the_later_half():
    assert reachable([0.5, 0.6, 0.62, 0.64], 6, 10_000) == pytest.approx(0.649 + 2 * 0.02, abs=0.001)
    flat = reachable([0.2, 0.2, 0.2, 0.2], 100, 10_000)
    assert 0.2 < flat < 0.22, "the interval's upper end, for nothing was gained"
    assert reachable([0.2, 0.2, 0.2, 0.3], 100, 10_000) == 1.0, "still climbing: it may come to anything"


def test_what_ends_a_run(monkeypatch: pytest.MonkeyPatch):
    rows = [{"val/acc": 0.2, "seconds": 10.0} for _ in range(4)]
    limit = RunLimit()
    assert limit.early(rows, 10, 100, "constant") is None
    limit.rival = Rival("best", 0.6)
    ended = limit.early(rows, 10, 100, "constant")
    assert ended is not None
    assert ended["why"] == "behind"
    assert "best is at 0.600" in ended["text"]
    assert limit.early(rows[:3], 10, 100, "constant") is None, "too few epochs to tell"
    assert limit.early(rows, 10, 100, "cosine") is None, "the pace says nothing about a rate that falls"
    limit.until = time.monotonic() + 9
    ended = limit.early(rows[:1], 10, 100, "constant")
    assert ended == {"why": "time", "text": "the budget ended it after 1 of 10 epochs"}
    assert limit.early(rows, 4, 100, "constant") is None, "it is at its end anyway"


class Grid:
    """A grid without training: a clock that jobs move on, and accuracies by arm and epoch."""

    def __init__(
        self, folder: Path, accuracies: dict[str, Callable[[int], float]], seeds: int, budget: float
    ) -> None:
        self.now, self.folder, self.session = 0.0, folder, Session()
        self.accuracies, self.launched = accuracies, list[str]()
        labels = [(label, seed) for label in accuracies for seed in range(1, seeds + 1)]
        self.jobs = [Job(n, [], label, seed) for n, (label, seed) in enumerate(labels)]
        self.clock = Clock(budget, began=0.0)

    def run(self, paces: dict[str, Pace]) -> TimeGiven:
        clock = GridClock(self, self.jobs, Forecast(paces, closing=1), self.clock, self.folder, self.session)
        clock.launch([], 0)
        given = clock.summary(self.now)
        given.write(self.folder)
        self.paces = paces
        return given

    def launch(self, _: Any, number: int) -> list[Any]:
        job, limit = self.jobs[number], self.session.of(RunLimit)
        pace, folder = PACES[job.label], self.folder / f"{number}_{job.label}_s{job.seed}"
        folder.mkdir(exist_ok=True)
        known = (
            json.loads((folder / "metrics.json").read_text()) if (folder / "metrics.json").is_file() else {}
        )
        done, early, rows = known.get("epochs", 0), None, []
        self.launched.append(f"{job.label}{job.seed}")
        self.now += pace.setup
        for epoch in range(pace.epochs):
            rows.append({"val/acc": self.accuracies[job.label](epoch), "seconds": pace.epoch})
            if epoch < done:
                continue
            self.now += pace.epoch
            if early := limit.early(rows, pace.epochs, 100, "constant"):
                break
        self.now += pace.ending
        acc = max(row["val/acc"] for row in rows)
        (folder / "job.json").write_text(json.dumps({"label": job.label}))
        score = {"acc": acc, "macro_f1": acc}
        metrics = {
            "status": "finished", "label": job.label, "experiment": job.label, "seed": job.seed, "val": score,
            "test": score, "train": score, "train_images": {"bn_gap": 0.0, "bn_gap_last": 0.0}, "wall_seconds": 1.0,
            "images": {"val": {"a": 50, "b": 50}}, "epochs": len(rows), "best_epoch": 0, "ended_early": early,
        }  # fmt: skip
        (folder / "metrics.json").write_text(json.dumps(metrics))
        right = np.arange(100) < round(acc * 100)
        wrote = [
            {
                "path": f"{n}.png",
                "split": "val",
                "label": "a",
                "predicted": "a" if ok else "b",
                "p_a": 0.5,
                "p_b": 0.5,
            }
            for n, ok in enumerate(right)
        ]
        write_predictions(folder / "predictions.csv", wrote)
        return []


PACES = {"good": pace(1), "near": pace(2), "poor": pace(3)}
CURVES: dict[str, Callable[[int], float]] = {
    "good": lambda epoch: 0.9, "near": lambda epoch: 0.88, "poor": lambda epoch: 0.3,
}  # fmt: skip


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Grid]:
    def made(seeds: int, budget: float, curves: dict[str, Callable[[int], float]] = CURVES) -> Grid:
        stub = Grid(tmp_path, curves, seeds, budget)
        for module in ("runs.duration", "cli.grid_clock", "training.limit"):
            monkeypatch.setattr(f"seedsweep.{module}.time", SimpleNamespace(monotonic=lambda: stub.now))
        return stub

    return made


def test_a_budget_that_is_long_enough_leaves_nothing_out(grid: Callable[..., Grid]):
    stub = grid(2, 400)
    given = stub.run(PACES)
    assert stub.launched == ["good1", "near1", "poor1", "good2", "near2", "poor2"], (
        "each arm has a result early"
    )
    assert not given.not_run
    assert not given.dropped, "nothing is ended while there is time for all"
    assert given.line == "budget 6.7 min, forecast 2.3 min for all runs, took 2.3 min"


def test_an_arm_that_cannot_overtake_is_ended_and_marked(
    grid: Callable[..., Grid], capsys: pytest.CaptureFixture[str]
):
    stub = grid(4, 160)
    given = stub.run(PACES)
    assert stub.now <= 160
    assert "poor1" in stub.launched
    assert "poor2" not in stub.launched
    assert {"good4", "near3"} <= set(stub.launched), "its time goes to the others"
    assert given.dropped["poor"].startswith("60.0 points behind good (95 % interval ")
    finish_grid(stub.folder, interrupted=False)
    out = capsys.readouterr().out
    assert "poor (ended early)" in out
    assert "good (ended early)" not in out
    assert "poor was ended early, 60.0 points behind good" in out
    assert "not run: seeds 2, 3, 4." in out
    found = section(SimpleNamespace(kind="sweep", folder=stub.folder))  # type: ignore[arg-type]
    assert found is not None
    assert any("poor was ended early" in str(block) for block in found.blocks)


def test_a_run_that_cannot_overtake_is_ended_before_its_last_epoch(grid: Callable[..., Grid]):
    stub = grid(1, 70, {**CURVES, "poor": lambda epoch: 0.3})
    stub.run({**PACES, "poor": pace(3)})
    record = json.loads((stub.folder / "2_poor_s1" / "metrics.json").read_text())
    assert record["ended_early"]["why"] in ("behind", "time")
    assert record["epochs"] < 10


def test_a_run_that_is_cut_short_goes_on_if_it_may_overtake(grid: Callable[..., Grid]):
    stub = grid(1, 70, {**CURVES, "poor": lambda epoch: min(0.95, 0.1 + epoch * 0.1)})
    stub.run(PACES)
    assert stub.launched.count("poor1") >= 2, "it still climbs"
    assert stub.now <= 70


def test_a_budget_that_is_spent_before_all_arms_says_what_was_not_run(
    grid: Callable[..., Grid], capsys: pytest.CaptureFixture[str]
):
    stub = grid(2, 20)
    given = stub.run({**PACES, "poor": pace(30)})
    assert stub.launched[0] == "good1"
    assert given.not_run["poor"] == [1, 2]
    (stub.folder / "multirun.yaml").write_text(
        "hydra: {sweeper: {params: {+experiment: 'a,b,c', seed: '1,2'}}, overrides: {task: []}}\n"
    )
    assert finish_grid(stub.folder, interrupted=False) == 0, "what a budget leaves out is no failure"
    out = capsys.readouterr().out
    assert "Not run, for the budget was too short: good (seed 2)" in out
    assert "poor (seeds 1, 2)." in out
    assert "resume=" in out


def test_an_alarm_stops_what_runs_and_leaves_the_process_as_it_was():
    with signals.heard() as stop:
        with pytest.raises(KeyboardInterrupt), signals.alarm(0.02) as alarm:
            time.sleep(5)
        assert alarm.rang
        assert not signals.asked()
        with signals.alarm(math.inf) as other:
            pass
        assert not other.rang
    assert stop.number == 0


def test_a_study_with_a_budget_keeps_time_for_its_finals(
    arm: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def measured(plan: Any, n: int, clock: Clock, forecast: str) -> float:
        plan.time = StudyTime(clock, 10.0, 0.0)
        return 10.0 * n

    monkeypatch.setattr("seedsweep.cli.study_forecast.measure_study", measured)
    monkeypatch.setattr(worker, "seconds_of", lambda *_: 10.0)
    monkeypatch.setattr(StudyTime, "left", lambda self, reserve=0.0: 100 - 10.0 * len(arm.calls) - reserve)
    assert run("budget=100s", "study.finalists=2", "study.finalist_seeds=2", "study.first=[]", n=20) == 0
    assert result()["trials"]["complete"] == 6, "of 100 s, the finals keep 2 x 2 x 10"
    assert [len(each["values"]) for each in result()["finalists"]] == [2, 2]
    out = capsys.readouterr().out
    assert "Not run, for the budget was too short: 14 of 20 trials." in out
    assert "budget 1.7 min, forecast 3.3 min for all runs, took" in out


def test_measuring_takes_a_part_of_a_budget(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("seedsweep.training.measure.measure", lambda *_: time.sleep(30))
    config = config_of("backbone=efficientnet_lite0", "data.demo.n_images=70", "data.image_size=[32,32]")
    started = time.monotonic()
    with signals.heard():
        found = measured({"a": config}, Session(), 1.0)
        assert not signals.asked()
    assert time.monotonic() - started < 25
    assert found.unknown == {"a": "the budget is too short to measure it"}


TINY = [
    "data.demo.n_images=70", "data.image_size=[32,32]", "trainer.probe_images=8", "trainer.progress_bar=false",
    "report.write=false", "audit=off", "trainer.accelerator=cpu",
]  # fmt: skip


def test_a_run_that_the_time_cut_short_goes_on(in_tmp: Path):
    line = ["+experiment=finetune_bn", "trainer.max_epochs=2", "hydra.run.dir=run", *TINY, *tiny_net()]
    limit = Session().of(RunLimit)  # all sessions of a module's tests are one, see conftest.py
    limit.until = 0.0
    assert main(line) == 0
    limit.until = math.inf
    record = json.loads(Path("run/metrics.json").read_text())
    assert record["epochs"] == 1
    assert record["ended_early"]["why"] == "time"
    assert has_scores(Path("run"))
    assert not is_finished(Path("run"))
    assert main(["resume=run"]) == 0
    again = json.loads(Path("run/metrics.json").read_text())
    assert again["epochs"] == 2
    assert again["ended_early"] is None
    assert again["wall_seconds"] > record["wall_seconds"]


def test_a_grid_is_measured_and_the_forecast_compared_with_the_truth(
    in_tmp: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    line = [
        "-m",
        "+experiment=frozen_bn,finetune_upper",
        "seed=1,2",
        "trainer.max_epochs=1",
        *TINY,
        *tiny_net(),
    ]
    assert main([*line, "forecast=only"]) == 0
    out = capsys.readouterr().out
    assert [row.split()[0] for row in out.splitlines()[2:4]] == ["frozen_bn", "finetune_upper"]
    assert "for 4 runs" in out
    assert not Path("multirun").exists()
    monkeypatch.setattr("seedsweep.cli.forecast.SHORT", 0)
    assert main([*line, "seed=1", "hydra.sweep.dir=g"]) == 0
    out = capsys.readouterr().out
    assert "time left: 1 runs need about" not in out
    assert "\ntime       forecast " in out
    assert ", took " in out
    given = TimeGiven.read(Path("g"))
    assert given is not None
    assert given.forecast
    assert given.took > 0


def test_a_short_grid_is_not_measured(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    config = config_of("+experiment=frozen_bn", *TINY, *tiny_net(), "trainer.max_epochs=3", "augment=none")
    images, pixels = config.data.demo.n_images, math.prod(config.data.image_size) / 224**2
    trained = replace(config, backbone=replace(config.backbone, freeze=False))
    assert is_short([config, trained], Session())
    assert f"2 small runs, about {images * pixels * 4:,.0f} images of 224x224 " in capsys.readouterr().out
    many = replace(trained, trainer=replace(config.trainer, max_epochs=50_000))
    assert not is_short([many], Session())
    assert not is_short([config, config_of(*TINY, "data=folder", "data.root=nowhere")], Session())
    assert "no forecast" not in capsys.readouterr().out


@pytest.mark.slow
def test_an_answer_from_one_command(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    line = ["+sweep=answer", "answer.arms=[frozen_bn,finetune_bn]", "answer.seeds=1", "answer.trials=3"]
    assert main([*line, "trainer.max_epochs=2", "hydra.run.dir=a", "budget=2m", *TINY, *tiny_net()]) == 0
    out = capsys.readouterr().out
    text = Path("a/answer.md").read_text()
    assert text in out
    assert "% of the test images correctly" in text or "% of the validation images correctly" in text
    assert "task=predict checkpoint=a/winner" in text
    assert is_finished(Path("a/winner"))
    photographs = next(Path(os.environ["SEEDSWEEP_CACHE"]).glob("demo/*_n70_*"))
    assert main(["task=predict", "checkpoint=a/winner", f"data.root={photographs}", "predict.out=x.csv"]) == 0
    assert len(Path("x.csv").read_text().splitlines()) == 71
