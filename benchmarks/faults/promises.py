"""Counts promise against gain on test where heads on stored features stand for runs: seconds of a quiet core a case.

    python benchmarks/faults/promises.py --draws 0 1 3      # draws of the photographs
    python benchmarks/faults/promises.py --tables           # what was measured so far

A setting is planted, and its remedy tried as the diagnosis tries it (``costs.judge``). Then both settings are trained
as a run trains them, and judged on the test images; so is a remedy at random. A line a case goes to
WORK/promises.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from planting import build
from running import Places, merged, settings_of
from scenario import read_scenarios
from scoring import promises

from seedsweep.cli.config.hydra_setup import register_schema, to_config
from seedsweep.diagnosis import costs
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.judged_parts import Part
from seedsweep.diagnosis.opening import of_plan
from seedsweep.diagnosis.rehearsals import rehearse
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.stored_features import FrozenFeatures
from seedsweep.diagnosis.subject import Subject
from seedsweep.names import conf_dir
from seedsweep.training.options import ArmSettings

PLANTED = {  # settings, and what is tried against them
    "lr_low": (["optim.lr=1e-6"], ["optim.lr=1e-3"]),
    "lr_1e-5": (["optim.lr=1e-5"], ["optim.lr=1e-3"]),
    "lr_high": (["optim.lr=0.1"], ["optim.lr=1e-3"]),
    "few_epochs": (["trainer.max_epochs=1", "optim.lr=1e-4"], ["trainer.max_epochs=25"]),
    "weight_decay": (["optim=adamw", "optim.weight_decay=100"], ["optim.weight_decay=0"]),
    "dropout": (["head.width=64", "head.dropout=0.95"], ["head.dropout=0"]),
    "scaled_twice": (["preprocess=rescale_twice"], ["preprocess=auto"]),
    "unit_range": (["preprocess=rescale_only"], ["preprocess=auto"]),
    "scaled+lr": (["preprocess=rescale_twice", "optim.lr=1e-6"], ["preprocess=auto", "optim.lr=1e-3"]),
    "null_dropout": ([], ["head.dropout=0.3"]),
    "null_width": ([], ["head.width=64"]),
    "null_balanced": ([], ["head.class_weights=balanced"]),
    "null_sgd": ([], ["optim=sgd", "optim.lr=3e-2"]),
    "null_batch": ([], ["data.batch_size=128"]),
}


def correct_on_test(subject: Subject, config: ArmSettings) -> NDArray[np.bool_]:
    """Trains the head as a run does; says which test images it classifies correctly."""
    material = subject.material
    features, test = material.features(config), material.test_features(config)
    labels = torch.cat([material.labels, torch.from_numpy(material.test_images.table.labels)])
    n, every = material.n_train, np.arange(len(labels))
    views = [torch.cat([view, test]) for view in features.views]
    whole = FrozenFeatures(views, torch.cat([features.plain, test]), n)
    images: Any = SimpleNamespace(n_train=n, labels=labels, classes=material.classes, images=material.images)
    part = Part(every[:n], every[n : len(material.labels)], every[len(material.labels) :])
    made = rehearse(config, images, whole, config.trainer.max_epochs, part)
    return np.asarray(made.predicted == labels.numpy()[part.judged])


def measure(name: str, data: str, draw: int, places: Places) -> dict[str, Any]:
    """Returns what promises.jsonl holds of one case."""
    settings, remedy = PLANTED[name]
    scenario = next(each for each in read_scenarios() if each.name == f"{data}-lite0-healthy")
    folder = places.work / f"promises-{data}{draw}" / "images"
    if not folder.is_dir():
        build(scenario, draw, places.data, folder)
    register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        lines = merged([*settings_of(scenario, draw, folder, places), *settings])
        subject = of_plan(to_config(compose("config", lines)))
    finding = Finding("planted", name, Verdict.FAULT, "", "", remedy=remedy)
    made = costs.judge(subject, [finding], places.work)
    before = correct_on_test(subject, subject.frozen_config)

    def gain(lines: list[str]) -> list[float]:
        after = correct_on_test(subject, apply(subject.frozen_config, lines))
        return [float(after.mean() - before.mean()), float((after != before).sum()) ** 0.5 / len(after)]

    cost, pool = made.findings[0].cost, [tried for _, tried in PLANTED.values()]
    assert cost is not None
    row = {"name": name, "data": data, "seed": draw, "promise": cost.value, "interval": [cost.low, cost.high]}
    row |= {"advised": made.advice is not None, "gain": gain(remedy), "reachable": made.numbers["reachable"]}
    rng = np.random.default_rng([draw, len(name)])
    return row | {"random": gain(pool[rng.integers(len(pool))]) if row["advised"] else None}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", nargs="+", type=int, default=[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("outputs/faults"))
    parser.add_argument("--tables", action="store_true", help="measure nothing, print the table")
    asked = parser.parse_args()
    places = Places(asked.data.resolve(), asked.data.resolve(), asked.work.resolve())
    places.work.mkdir(parents=True, exist_ok=True)
    results = places.work / "promises.jsonl"
    if not asked.tables:
        with results.open("a") as file:
            for draw in asked.draws:
                for data in ("coffee", "wheat"):
                    for name in PLANTED:
                        file.write(f"{json.dumps(measure(name, data, draw, places))}\n")
                        file.flush()
    rows: list[Any] = [(json.loads(line), None) for line in results.read_text().splitlines()]
    print(promises(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
