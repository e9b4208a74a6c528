"""Folders of results as a run, a sweep and a study leave them, with numbers that the tests know."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.data.options import AugmentConfig
from seedsweep.models.options import HeadConfig
from seedsweep.names import conf_dir
from seedsweep.runs.switches import (
    BackboneSwitches,
    BatchNormSwitches,
    OptimSwitches,
    PreprocessSwitches,
    Switches,
    TrainerSwitches,
)

N = 60
CLASSES = ["intact", "broken", "mouldy"]


def switches(policy: str, layers: int = 49, **otherwise: object) -> dict[str, object]:
    """Returns the switches of a frozen run under a policy of conf/batchnorm (but ``otherwise``), as its record does."""
    config = BatchNormConfig(**yaml.safe_load((conf_dir() / "batchnorm" / f"{policy}.yaml").read_text()))
    norm = BatchNormSwitches(
        policy, layers, *dataclasses.astuple(dataclasses.replace(config, **otherwise))[1:]
    )
    augment = AugmentConfig("none")
    backbone = BackboneSwitches("a net", "own", True, None)
    made = Switches(
        norm, PreprocessSwitches("auto", True, False), augment, backbone, HeadConfig(8),
        OptimSwitches("adam", 1e-3, 0, None), TrainerSwitches(3, 3, 4, "32-true", "cpu", True),
    )  # fmt: skip
    return dataclasses.asdict(made)


def write_run(
    folder: Path,
    label: str,
    seed: int = 1,
    right: float = 0.9,
    modes: tuple[float, float] = (0.95, 0.95),
    batchnorm: str = "inference",
    classes: list[str] = CLASSES,
    photo: str = "seed{}.jpg",
    photographs: bool = False,
) -> None:
    """Writes what a finished run leaves; ``right`` is its share of right answers, the same images for all seeds."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    easy = np.random.default_rng(0).permutation(N)
    scores = {"loss": 0.5, "acc": right, "macro_f1": right, "per_class_recall": {}}
    metrics = {
        "status": "finished", "label": label, "experiment": label, "seed": seed, "backbone": "a net",
        "batchnorm": batchnorm, "preprocess": "auto", "augment": "none", "image_size": [64, 64], "batch_size": 4,
        "epochs": 3, "best_epoch": 1, "train": scores, "val": scores, "test": scores, "wall_seconds": 3.0,
        "weights": {"source": "package", "note": "", "digest": "0123456789abcdef0123"},
        "version": 2, "switches": switches(batchnorm),
        "images": {"train": {"a": 90, "b": 30}, "val": {"a": 45, "b": 15}, "test": {"a": 45, "b": 15}},
        "train_images": {"bn_gap": 0.0, "bn_gap_last": modes[0] - modes[1]}, "versions": {"torch": "9.9"},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    history = [
        {
            "epoch": epoch, "train/loss": 1 / (epoch + 1), "val/loss": 1.0, "train/acc": 0.5 + epoch / 10,
            "val/acc": 0.4, "train_images/acc_train_mode": modes[0], "train_images/acc_eval_mode": modes[1],
            "bn_gap": modes[0] - modes[1],
        }
        for epoch in range(3)
    ]  # fmt: skip
    _csv(folder / "history.csv", history)
    rows = []
    for split in ("val", "test"):
        for number in range(N):
            true = number % len(classes)
            said = true if easy[number] < right * N else (true + 1) % len(classes)
            p = random.dirichlet(np.ones(len(classes)))
            p = np.sort(p)[::-1][np.argsort([(c - said) % len(classes) for c in range(len(classes))])]
            path = folder.parent / "photographs" / split / photo.format(number)
            if photographs and not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 255, (40, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
            chances = {f"p_{name}": round(float(each), 6) for name, each in zip(classes, p, strict=True)}
            rows.append(
                {"path": str(path), "split": split, "label": classes[true], "predicted": classes[said]}
                | chances
            )
    _csv(folder / "predictions.csv", rows)
    overrides = {
        "task": [f"experiment.name='{label}'", f"batchnorm={batchnorm}", f"seed={seed}"],
        "hydra": [],
    }
    hydra = {"hydra": {"overrides": overrides, "runtime": {"config_sources": []}}}
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps(hydra) + "\n")
    (folder / ".hydra" / "config.yaml").write_text("seed: 1\nreport: {gradcam: 4}\n")


def write_sweep(folder: Path) -> None:
    """Writes three arms: a good one, one that is the same within noise, and one in the trap; and a failed job."""
    for number, (label, right, modes, policy) in enumerate(
        (
            ("good", 0.9, (0.97, 0.97), "inference"),
            ("as_good", 0.88, (0.96, 0.96), "inference"),
            ("trapped", 0.4, (0.92, 0.31), "batch_stats"),
        )
    ):
        for seed in (1, 2):
            write_run(folder / f"{2 * number + seed}_{label}_s{seed}", label, seed, right, modes, policy)
    failed = folder / "9_gone_s1"
    failed.mkdir()
    failure = {"reason": "no weights.", "label": "gone", "experiment": "gone", "seed": 1}
    (failed / "failure.json").write_text(json.dumps(failure))
    task = {
        "overrides": {"task": ["+experiment=good,as_good,trapped", "seed=1,2"], "hydra": []},
        "runtime": {"config_sources": []},
    }
    (folder / "multirun.yaml").write_text(json.dumps({"hydra": task}) + "\n")


def write_study(folder: Path) -> None:
    """Writes a study whose winner beats the setting it began with."""
    finalists = []
    for trial, right, reference in ((7, 0.9, False), (0, 0.7, True)):
        runs = [f"finalists/trial{trial:04d}_{seed}" for seed in range(2)]
        for seed, run in enumerate(runs):
            write_run(folder / run, f"trial {trial}", seed, right)
        finalists.append(
            {
                "trial": trial, "settings": [f"optim.lr=0.00{trial}"], "value_in_study": right + 0.05,
                "values": [right, right + 0.01], "seeds": [1001, 1002], "mean": right, "sd": 0.01,
                "reference": reference, "runs": runs,
            }
        )  # fmt: skip
    test = {"acc": {"mean": 0.89, "sd": 0.01}, "macro_f1": {"mean": 0.88, "sd": 0.01}, "seeds": []}
    result = {
        "study": "head", "metric": "macro_f1", "rule": "mean of the last 3 epochs", "trials": {"complete": 9},
        "finalists": finalists, "edges": [{"sentence": "The best lies on the edge of the space."}],
        "winner": finalists[0] | {"test": test, "chosen": {"sentence": "It was chosen among 9 trials."}},
        "best_config": "", "wall_seconds": 181.0,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    trials = [
        {
            "trial": n, "slot": n, "state": "finished", "value": 0.5 + n / 100, "epochs": 3, "seconds": 1.0,
            "reason": "", "lr": 10.0**-n,
        }
        for n in range(9)
    ]  # fmt: skip
    _csv(folder / "trials.csv", trials)


def _csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
