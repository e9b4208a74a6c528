"""What a grid says of each arm that is behind: for every kind of record, its sentence and no other."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_folders import switches, write_run

from seedsweep.cli.close_grid import finish_grid
from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.report import contents
from seedsweep.report.why_behind import why_behind
from seedsweep.runs.grid import arms, collect


def amend(run: Path, **changes: Any) -> None:
    path = run / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def losses(run: Path, train: list[float], val: list[float]) -> None:
    with (run / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train/loss", "val/loss", "val/acc"])
        writer.writerows([epoch, *each, 0.4] for epoch, each in enumerate(zip(train, val, strict=True)))


def scored(run: Path, train: float, val: float, **changes: Any) -> None:
    scores = [{"loss": 0.5, "acc": acc, "macro_f1": acc} for acc in (train, val)]
    amend(run, train=scores[0], val=scores[1], **changes)


def ranges(run: Path, black: float, white: float) -> None:
    made: dict[str, Any] = switches("inference")
    made["preprocess"] |= {"black": [black] * 3, "white": [white] * 3}
    amend(run, switches=made)


def scaled_twice(run: Path) -> None:
    ranges(run.parent / "1_good", -1, 1)
    ranges(run, -0.004, 0.004)


def flat(run: Path) -> None:
    losses(run, [0.57, 0.565, 0.564], [0.57, 0.56, 0.57])  # of known frequencies, 3 to 1, it is .562


def rising(run: Path) -> None:
    losses(run, [2.0, 8.0, 8.0], [9.0, 9.0, 9.0])


def one_class(run: Path) -> None:
    head, *rows = (run / "predictions.csv").read_text().splitlines()
    same = [",".join([*row.split(",")[:3], "intact", "0.9", "0.05", "0.05"]) for row in rows]
    (run / "predictions.csv").write_text("\n".join([head, *same]))


def moved(run: Path) -> None:
    amend(run, switches=switches("recalibrate"), frozen=True, batchnorm="recalibrate")


def trapped(run: Path) -> None:
    amend(run, switches=switches("batch_stats"), train_images={"bn_gap": 0.6, "bn_gap_last": 0.6})
    head, *rows = (run / "history.csv").read_text().splitlines()
    place = head.split(",").index("train_images/acc_train_mode")
    changed = [[*row.split(",")[:place], "0.9", "0.3", "0.6"] for row in rows]
    (run / "history.csv").write_text("\n".join([head, *map(",".join, changed)]))


def random_start(run: Path) -> None:
    scored(run, 0.95, 0.4, weights={"source": "none"})


def by_heart(run: Path) -> None:
    scored(run, 0.95, 0.4)


def unfinished(run: Path) -> None:
    scored(run, 0.5, 0.4, best_epoch=2)


def nothing(run: Path) -> None:
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").touch()


SAID = {
    scaled_twice: "Black and white are 0.008 apart in its inputs, 2 in those of `good`: as if scaled twice.",
    trapped: "it differs in `batchnorm.policy` (batch_stats, there inference) alone. It classifies 90.0 % of its",
    flat: "The loss is flat, as with too small a learning rate: `optim.lr` is 0.001.",
    rising: "The loss rose to 8, as with too large a learning rate: `optim.lr` is 0.001.",
    one_class: "It answers `intact` to 100.0 % of the validation images.",
    moved: "Its BatchNorm statistics were estimated anew on its training images (`recalibrate`), those of `good` are",
    random_start: "`good` 90.0 and 90.0 %: that points to too few images for a random start.",
    by_heart: "It classifies 95.0 % of its training images and 40.0 % of the validation images correctly",
    unfinished: "Its best epoch was the last (3), and its training loss still fell (0.50 to 0.33)",
    nothing: "The records don't prove the reason; to find it: `task=diagnose diagnose.run=",
}
OF_KIND = {
    scaled_twice: {"Black"}, trapped: {"because its"}, flat: {"not learn"}, rising: {"not learn"},
    one_class: {"It answers"}, moved: {"statistics were"}, by_heart: {"of its training images and"},
    random_start: {"random weights", "of its training images and"}, unfinished: {"was the last"}, nothing: set(),
}  # fmt: skip


@pytest.mark.parametrize("change", SAID)
def test_each_kind_of_record_has_its_sentence_and_no_other(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    write_run(tmp_path / "1_good", "good", right=0.9)
    write_run(tmp_path / "2_bad", "bad", right=0.4)
    change(tmp_path / "2_bad")
    results = collect(tmp_path)
    (found,) = why_behind(arms(results), results)
    assert found.text.startswith(
        f"`bad` is {56.7 if change is one_class else 50.0} points behind `good` (p < 0.001)"
    )
    assert SAID[change] in found.text
    assert {part for parts in OF_KIND.values() for part in parts if part in found.text} == OF_KIND[change]
    assert ("don't prove the reason" in found.text) == (change not in (trapped, moved, random_start))


def test_a_grid_ends_with_a_sentence_for_each_arm_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds of each; one that is as good gets none, one whose runs diverged gets the rate."""
    for label, right in (("good", 0.9), ("as_good", 0.88), ("bad", 0.4), ("burst", 0.4)):
        for seed in (1, 2):
            write_run(tmp_path / f"{label}_{seed}", label, seed, right)
    by_heart(tmp_path / "bad_1")
    nothing(tmp_path / "bad_1")
    for seed in (1, 2):
        amend(
            tmp_path / f"burst_{seed}",
            status="diverged",
            diverged_at=2,
            diverged="the training loss became NaN",
        )
    told = []
    monkeypatch.setattr(contents, "why_behind", lambda *given: told.append(1) or why_behind(*given))
    finish_grid(tmp_path, interrupted=False, report=True)
    assert told == [1], "the page is told what the terminal is"
    printed = " ".join(capsys.readouterr().out.split())
    report = " ".join((tmp_path / "report.md").read_text().replace("\\", "").replace("`", "").split())
    for said in (
        "bad is 50.0 points behind good (p < 0.001). Of its median run (seed 1): It classifies 95.0 %",
        "for its training images alone. (1 of its 2 runs show this.)",
        "burst: 2 of 2 runs diverged, so its mean is no fair one. A smaller optim.lr than 0.001 would tell",
    ):
        assert said in printed
        assert said in report
    assert "as_good is" not in printed
    assert f"task=diagnose diagnose.run={tmp_path} dashboard" in printed


@pytest.mark.parametrize(("policy", "trap"), [("batch_stats", True), ("train", False)])
def test_the_hint_of_a_run_names_the_trap_only_where_it_is_one(
    policy: str, trap: bool, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: Config, run_dir: Path, **_: object) -> dict[str, Any]:
        write_run(in_tmp / "made", "arm", modes=(0.9, 0.5), batchnorm=policy)
        shutil.copytree(in_tmp / "made", run_dir, dirs_exist_ok=True)
        return json.loads((run_dir / "metrics.json").read_text())

    monkeypatch.setattr("seedsweep.training.run.train", train)
    assert main(["+experiment=scratch", "hydra.run.dir=run", "report.write=false"]) == 0
    said = capsys.readouterr().out
    assert (
        "bn_gap is +0.40. It classifies 90.0 % of its training images correctly in train mode and 50.0 %"
        in said
    )
    assert ("normalise with other statistics at inference than in training" in said) == trap
    assert ("statistics may lag behind" in said) != trap
    assert "task=diagnose diagnose.run=" in said
