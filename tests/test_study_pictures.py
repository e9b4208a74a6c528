"""Pictures and tables of a study whose response surface is known, and the dashboards."""

import csv
import io
import logging
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import optuna
import pytest
from matplotlib import pyplot as plt
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from PIL import Image
from rich.console import Console

from seedsweep.errors import SeedsweepError
from seedsweep.report import study_pictures as pictures
from seedsweep.report.study_pictures import draw_study
from seedsweep.report.study_trials import print_study, read_trials, study_rows, text_of, write_trials_csv

LR = FloatDistribution(1e-5, 1e-2, log=True)
WIDTH = IntDistribution(32, 2048, log=True)
DROPOUT = FloatDistribution(0, 0.7)
ARMS = ("frozen_bn", "frozen_inception", "scratch")
ALL = ["contour", "history", "importances", "learning_curves", "parallel", "slices"]


def truth(lr: float, width: int) -> float:
    """The best is at lr 3e-4; width hardly matters; dropout does nothing."""
    return 0.85 - 0.1 * (math.log10(lr) + 3.5) ** 2 - 0.002 * (math.log2(width) - 8) ** 2


def fake_study(
    n: int = 40, names: tuple[str, ...] = ("optim.lr", "head.width", "head.dropout"), seed: int = 0
):
    """A study of ``n`` trials drawn at random: every fourth pruned, every ninth failed, some without a width."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(seed)
    study = optuna.create_study(direction="maximize", study_name="head")
    for number in range(n):
        drawn = {
            "optim.lr": (10 ** rng.uniform(-5, -2), LR),
            "head.width": (int(2 ** rng.uniform(5, 11)), WIDTH),
            "head.dropout": (rng.uniform(0, 0.7), DROPOUT),
            "experiment": (rng.choice(ARMS), CategoricalDistribution(ARMS)),
        }
        kept = {name: drawn[name] for name in names if name != "head.width" or number % 10}
        end = truth(drawn["optim.lr"][0], drawn["head.width"][0]) + rng.gauss(0, 0.002)
        curve = {epoch: end * (1 - 0.5 ** (epoch + 1)) for epoch in range(8)}
        state = (
            TrialState.FAIL
            if number % 9 == 8
            else TrialState.PRUNED
            if number % 4 == 3
            else TrialState.COMPLETE
        )
        if state != TrialState.COMPLETE:
            curve = {epoch: value for epoch, value in curve.items() if epoch < 3}
        study.add_trial(
            create_trial(
                state=state,
                value=end if state == TrialState.COMPLETE else None,
                params={name: value for name, (value, _) in kept.items()},
                distributions={name: distribution for name, (_, distribution) in kept.items()},
                intermediate_values=curve,
                user_attrs={"slot": number}
                | ({"reason": "not enough memory"} if state == TrialState.FAIL else {}),
            )
        )
    return study


@pytest.fixture(scope="module")
def study():
    return fake_study()


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    """Draws the study; returns the files, what stood on each picture's first axes, and what pyplot was, and is."""
    found = {}

    def read(path):
        axes = plt.gcf().axes[0]
        bars = {} if path.stem != "importances" else [bar.get_width() for bar in axes.patches]
        names = [tick.get_text() for tick in axes.get_yticklabels()]
        found[path.stem] = {
            "bars": dict(zip(names, bars, strict=False)), "axes": (axes.get_xlabel(), axes.get_ylabel()),
            "scales": (axes.get_xscale(), axes.get_yscale()),
            "lines": [(line.get_label(), list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines],
        }  # fmt: skip
        save(path)

    def state():
        return dict(plt.rcParams), plt.get_fignums(), optuna.logging.get_verbosity()

    save, before = pictures._save, state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "_save", read)
        written = draw_study(study, tmp_path_factory.mktemp("study") / "plots", "macro-F1")
    return written, found, before, state()


@pytest.fixture
def shown(drawn):
    return drawn[1]


@pytest.fixture
def unsaved(monkeypatch):
    """Pictures are laid out, but not written."""
    monkeypatch.setattr(pictures, "_save", lambda path: None)


def test_every_picture_is_drawn(drawn):
    written, *_ = drawn
    assert [path.stem for path in written] == ALL
    for path in written:
        with Image.open(path) as image:
            assert image.width > 700
            assert len(set(image.convert("L").resize((60, 40)).tobytes())) > 5, f"{path.name} is nearly blank"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (dict(n=0), []),
        (dict(n=3), ["contour", "history", "learning_curves", "parallel", "slices"]),
        (dict(n=12, names=("optim.lr",)), ["history", "learning_curves", "slices"]),
        (dict(n=12, names=("optim.lr", "experiment")), ALL[1:]),
    ],
)
def test_what_cannot_be_drawn_is_left_out_with_a_word(given, left, tmp_path, unsaved, caplog):
    with caplog.at_level(logging.INFO):
        written = draw_study(fake_study(**given), tmp_path, "accuracy")
    assert [path.stem for path in written] == left
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert [line.startswith("left out, ") for line in told] == [True], "one line, whatever is missing"
    for name in set(ALL) - set(left):
        assert f"{name}.png" in told[0]
    assert "could not be drawn" not in caplog.text


def test_equal_values_and_only_failed_trials_are_borne(tmp_path, unsaved, caplog):
    equal, failed = (optuna.create_study(direction="maximize") for _ in range(2))
    for number in range(20):
        params = {"optim.lr": 10 ** (-5 + number / 10), "head.width": 32 + number}
        both = {"params": params, "distributions": {"optim.lr": LR, "head.width": WIDTH}}
        equal.add_trial(create_trial(value=0.5, **both))
        failed.add_trial(create_trial(state=TrialState.FAIL, **both))
    equal.add_trial(create_trial(value=float("inf"), **both))
    assert [path.stem for path in draw_study(equal, tmp_path / "a", "x")] == [
        "contour",
        "history",
        "parallel",
        "slices",
    ]
    assert draw_study(failed, tmp_path / "b", "x") == []
    assert "could not be drawn" not in caplog.text


def test_a_picture_that_breaks_does_not_take_the_others_along(study, tmp_path, monkeypatch, caplog):
    def breaks(*_):
        raise ZeroDivisionError

    few = {"contour": breaks, "history": pictures.PICTURES["history"]}
    monkeypatch.setattr(pictures, "PICTURES", few)
    assert [path.stem for path in draw_study(study, tmp_path / "plots", "x")] == ["history"]
    assert "contour.png could not be drawn" in caplog.text


def test_pyplot_is_left_as_it_was(drawn):
    *_, before, after = drawn
    assert after == before


def test_a_study_that_minimises_is_refused(tmp_path):
    with pytest.raises(SeedsweepError, match="does not maximise"):
        draw_study(optuna.create_study(direction="minimize", study_name="s"), tmp_path, "x")


def test_importances_name_what_matters(shown):
    bars = shown["importances"]["bars"]
    assert bars["optim.lr"] > 0.7 > 0.2 > bars["head.dropout"]


def test_the_contour_is_of_learning_rate_and_width(shown):
    assert set(shown["contour"]["axes"]) == {"optim.lr", "head.width"}
    assert shown["contour"]["scales"] == ("log", "log")


def test_learning_curves_hold_every_trial_and_mark_the_best(study, shown):
    trials = read_trials(study, "x")
    lines = shown["learning_curves"]["lines"]
    assert [label for label, *_ in lines].count("finished") == len(trials.finished) - 1
    assert [label for label, *_ in lines].count("not finished") == len(trials.pruned)
    best = max(trials.finished, key=lambda trial: trial.value)
    (drawn,) = (line for line in lines if line[0] == f"best: trial {best.number}")
    assert drawn[1:] == (list(range(8)), list(best.intermediate_values.values()))


def test_rows_and_csv_hold_every_trial(study, tmp_path):
    rows = study_rows(study)
    assert len(rows) == 40
    assert rows[0]["head.width"] is None  # conditional: this one has none
    assert (rows[8]["state"], rows[8]["value"], rows[8]["reason"]) == ("failed", None, "not enough memory")
    assert (rows[3]["state"], rows[3]["epochs"]) == ("pruned", 3)
    assert rows[3]["value"] == pytest.approx(study.trials[3].intermediate_values[2], abs=1e-6)
    write_trials_csv(study, tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["trial"] for row in read] == [str(n) for n in range(40)]
    assert float(read[1]["optim.lr"]) == study.trials[1].params["optim.lr"]
    write_trials_csv(optuna.create_study(), tmp_path / "empty.csv")
    assert (tmp_path / "empty.csv").read_text().startswith("trial,slot,state")


@pytest.mark.parametrize("width", [120, 50])
def test_the_table_shows_the_best_ten_and_why_some_failed(study, width):
    console = Console(width=width, record=True, file=io.StringIO())
    print_study(study, console, "macro-F1")
    text = console.export_text()
    best = sorted((t for t in study.trials if t.value), key=lambda t: -t.value)[:10]
    ranked = re.findall(r"^ *(\d+) +(\d+) +(0\.\d{4})", text, re.MULTILINE)
    assert ranked == [(str(n), str(t.number), f"{t.value:.4f}") for n, t in enumerate(best, 1)]
    assert text_of(best[0].params["optim.lr"]) in text
    finished = sum(t.state == TrialState.COMPLETE for t in study.trials)
    assert f"40 trials: {finished} finished, {36 - finished} pruned, 4 failed" in text
    assert "failed: trial 8, 17, 26, 35: not enough memory" in text


def test_values_are_written_as_one_types_them():
    written = [text_of(v) for v in (3e-4, 1.24e-5, 0.35, 0.0, 512, True, "frozen_bn", None, 123.4)]
    assert written == ["3e-4", "1.2e-5", "0.35", "0", "512", "true", "frozen_bn", "", "123"]


def journal(folder: Path, n: int) -> Path:
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    folder.mkdir(parents=True)
    kept = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))), study_name=folder.name
    )
    for _ in range(n):
        kept.tell(kept.ask(), 0.5)
    return folder / "study.journal"


def dashboard_config(**dashboard):
    from seedsweep.cli.config.schema import Config, DashboardConfig
    from seedsweep.study.options import StorageConfig

    return Config(dashboard=DashboardConfig(**dashboard), storage=StorageConfig(name="journal"))


def test_the_dashboard_shows_the_latest_study_or_all_runs_or_what_is_asked(in_tmp):
    from seedsweep.cli.tasks.dashboard import what_to_show

    with pytest.raises(SeedsweepError, match="nothing has been trained here"):
        what_to_show(dashboard_config())
    for run in ("multirun/arms/a", "outputs/frozen_bn/b"):
        Path(run).mkdir(parents=True)
    assert what_to_show(dashboard_config()).folder == Path("outputs")
    assert what_to_show(dashboard_config()).journal is None
    older, newer = (journal(Path("outputs/studies") / name, 1) for name in ("older", "newer"))
    os.utime(older, (1e9, 1e9))
    assert what_to_show(dashboard_config()).journal == newer
    assert what_to_show(dashboard_config()).folder == newer.parent
    assert what_to_show(dashboard_config(dir="outputs/studies/older")).journal == older
    assert what_to_show(dashboard_config(dir="multirun/arms")).journal is None
    with pytest.raises(SeedsweepError, match="is no folder"):
        what_to_show(dashboard_config(dir="nowhere"))


@pytest.mark.slow
def test_both_dashboards_answer_and_end_with_ctrl_c(in_tmp):
    pytest.importorskip("optuna_dashboard")
    journal(Path("outputs/studies/head"), 2)
    taken = socket.create_server(("localhost", 0))
    port = taken.getsockname()[1]
    command = [sys.executable, "-m", "seedsweep", "task=dashboard"]
    process = subprocess.Popen(
        [*command, f"dashboard.port={port}", f"dashboard.optuna_port={port}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        assert len(lines) == 4, lines  # two addresses, the other runs, how to end
        text = "".join(lines)
        board, studies = (
            re.search(rf"{name} +(http://\S+)", text)[1] for name in ("TensorBoard", "optuna-dashboard")
        )
        assert f":{port}/" not in board + studies  # taken: the next free ones
        assert b"TensorBoard" in urlopen(board).read()
        assert b'"study_name": "head"' in urlopen(f"{studies}api/studies").read()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        assert process.stdout.read().strip() == ""
    finally:
        process.kill()
        process.wait()
        taken.close()
    assert sorted(path.name for path in in_tmp.iterdir()) == ["outputs"]
