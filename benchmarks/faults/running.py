"""Trains a scenario's run, diagnoses it, and measures on test images what the printed remedies bring."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from planting import build
from scenario import Scenario, read_scenarios

from seedsweep.cli.main import main as seedsweep

ARMS = {
    "lite0": ["+experiment=frozen_bn", "backbone=efficientnet_lite0", "data.batch_size=32"],
    "vgg16": ["+experiment=frozen_vgg16", "data.batch_size=32"],
    "finetune": ["+experiment=finetune_bn", "backbone=efficientnet_lite0", "trainer.max_epochs=4"],
}
VGG16 = "vgg16_imagenet_features.safetensors"
COMMON = [
    "data=folder", "data.image_size=[96,96]", "data.val_fraction=0.2", "data.test_fraction=0.3",
    "trainer.max_epochs=15", "head.width=256", "trainer.progress_bar=false", "trainer.accelerator=cpu",
    "report.write=false",
]  # fmt: skip
NAMED = ("fault", "suspect")
INTERRUPTED = 128  # exit statuses from here on tell the signal that ended the command


@dataclass(frozen=True)
class Places:
    """Folders: of the photographs (coffee/, wheat/), of the weights, and of all that is written."""

    data: Path
    weights: Path
    work: Path

    @property
    def results(self) -> Path:
        return self.work / "results.jsonl"


def settings_of(scenario: Scenario, seed: int, images: Path, places: Places) -> list[str]:
    own = [line for fault in scenario.faults.values() for line in fault.settings]
    arm = list(ARMS[scenario.arm])
    if scenario.arm == "vgg16" and "backbone.weights=none" not in own:
        arm.append(f"backbone.weights={places.weights / VGG16}")
    grouped = [f"data.group_regex='{scenario.group_regex}'"] if scenario.group_regex else []
    common = [*COMMON, f"data.root={images}", f"data.split_seed={seed}", f"seed={seed + 1}"]
    return merged([*common, *grouped, *arm, f"paths.cache={places.work / 'cache'}", *own])


def merged(lines: list[str]) -> list[str]:
    """Returns the lines, of each key the last."""
    found = {line.split("=")[0]: line for line in lines}
    return list(found.values())


def call(lines: list[str], log: Path) -> int:
    """Runs a command line in this process, its output added to ``log``; returns its exit status."""
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        print("\n$ seedsweep", *lines, flush=True)
        code = seedsweep(lines)
    if code >= INTERRUPTED:
        raise KeyboardInterrupt
    return code


def correct(run: Path, truth: dict[str, str], images: Path) -> dict[str, bool]:
    """Returns for each test image whether the run predicts its true class."""
    with (run / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    names = {row["path"]: Path(row["path"]).relative_to(images).as_posix() for row in rows}
    return {names[row["path"]]: row["predicted"] == truth[names[row["path"]]] for row in rows}


def measure(scenario: Scenario, seed: int, places: Places, keep: bool) -> dict[str, Any]:
    """Returns what results.jsonl holds of one scenario and seed."""
    started = time.process_time()
    folder = places.work / f"{scenario.name}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    images, log = folder / "images", folder / "log.txt"
    truth = build(scenario, seed, places.data, images)
    lines = settings_of(scenario, seed, images, places)
    row: dict[str, Any] = {"name": scenario.name, "seed": seed, "error": None, "findings": [], "headline": ""}
    run = folder / "run"
    code = call([*lines, f"hydra.run.dir={run}"], log) or call(
        [
            "task=diagnose",
            f"diagnose.run={run}",
            "report.write=false",
            f"paths.cache={places.work / 'cache'}",
        ],
        log,
    )
    if code:
        return row | {"error": log.read_text()[-400:]}
    diagnosis = json.loads((run / "diagnosis" / "diagnosis.json").read_text())
    fields = ("check", "title", "verdict", "cost", "remedy")
    row["headline"] = diagnosis["headline"]
    row["findings"] = [
        {key: finding[key] for key in fields}
        for finding in diagnosis["findings"]
        if finding["verdict"] in NAMED
    ]
    row["numbers"], row["thumb"] = diagnosis["numbers"], thumb(run, lines, len(set(truth.values())))
    before = correct(run, truth, images)
    row["test"] = float(np.mean(list(before.values())))

    def gain(remedy: list[str], name: str) -> list[float] | None:
        """Returns what a remedy adds to the accuracy on test, and its standard error; None: the run failed."""
        if call([*merged([*lines, *remedy]), f"hydra.run.dir={folder / name}"], log):
            return None
        after = correct(folder / name, truth, images)
        both = [path for path in before if path in after]
        differs = sum(before[path] != after[path] for path in both)
        return [float(np.mean([after[p] - before[p] for p in both])), math.sqrt(differs) / len(both)]

    remedy, promise = promised(diagnosis)
    if applicable(remedy):
        interval = [promise["low"], promise["high"]]
        row |= {"remedy": remedy, "promise": promise["value"], "interval": interval}
        row |= {"advised": diagnosis["advice"] is not None, "gain": gain(remedy, "mended")}
    if scenario.kind != "healthy" and row.get("advised"):
        rng = np.random.default_rng([seed, len(scenario.name)])
        pool = [fault.remedy for other in read_scenarios() for fault in other.faults.values() if fault.remedy]
        row["random"] = gain(pool[rng.integers(len(pool))], "random")
    if scenario.kind == "healthy":
        value = [f["cost"] and f["cost"]["value"] for f in row["findings"]]
        each = zip(row["findings"], value, strict=True)
        advice = [(f["check"], f["remedy"], cost) for f, cost in each if applicable(f["remedy"])]
        row["advice"] = [[*each, gain(each[1], f"advice{k}")] for k, each in enumerate(advice)]
    row["seconds"] = round(time.process_time() - started, 1)
    if not keep:
        shutil.rmtree(images)
        for made in folder.glob("*/checkpoints"):
            shutil.rmtree(made)
    return row


def applicable(remedy: list[str]) -> bool:
    """Says whether the same test images judge a run with this remedy: it leaves the split as it is."""
    return bool(remedy) and not any(
        line.startswith(("data.group", "data.manifest", "data.split")) for line in remedy
    )


def promised(diagnosis: dict[str, Any]) -> tuple[list[str], dict[str, float]]:
    """Returns the overrides that are advised and what they promise; else the first that were tried but not advised.

    Where several faults were tried, a cost is a share of their gain together, which one remedy alone does not bring.
    """
    if advice := diagnosis["advice"]:
        return advice["lines"], advice["gain"]
    tried = [f for f in diagnosis["findings"] if f["cost"] and f["evidence"].get("lines")]
    faults = [f for f in tried if f["verdict"] == "fault"]
    if len(faults) > 1 or not tried:
        return [], {}
    first = (faults or tried)[0]
    return first["evidence"]["lines"], first["cost"]


def thumb(run: Path, lines: list[str], classes: int) -> str:
    """Returns what three rules of thumb name first, as a check of ours: the rate, a flat loss, the gap."""
    with (run / "history.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    rates = [float(line.split("=")[1]) for line in lines if line.startswith("optim.lr=")]
    if rates and not 1e-5 <= rates[-1] <= 1e-2:
        return "learning_rate"
    if float(last["train/loss"]) > 0.9 * math.log(classes):
        return "learning_rate"
    return "overfitting" if float(last["train/acc"]) - float(last["val/acc"]) > 0.15 else ""
