"""Whole studies, as commands: against one pass of the backbone, and shared by many workers."""

from __future__ import annotations

import csv
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from extraction import bare, prepared_net, weights_of
from shared import Row, empty_store, rounds, small

from seedsweep.data.images import read_image
from seedsweep.features.engines import build_engine
from seedsweep.models.input_scaling import flush_denormals

SIZE = (227, 454)


@dataclass(frozen=True)
class Took:
    """Seconds of a study's command, and until its last trial ended; its trials."""

    whole: float
    trials: float
    rows: list[dict[str, str]]

    def epochs(self) -> int:
        return sum(int(row["epochs"] or 0) for row in self.rows)


def study(*overrides: str) -> Took:
    """Runs a study into an empty store."""
    with empty_store() as folder:
        command = [
            sys.executable,
            "-m",
            "seedsweep",
            "+experiment=frozen_bn",
            "study.name=bench",
        ]
        where = ["paths.cache=cache", "paths.outputs=outputs"]
        began, started = time.time(), time.perf_counter()
        subprocess.run([*command, *where, *overrides], cwd=folder, check=True, capture_output=True)
        seconds = time.perf_counter() - started
        results = folder / "outputs/studies/bench"
        finals = min(path.stat().st_mtime for path in results.glob("finalists/*/manifest.csv"))  # begun then
        with (results / "trials.csv").open(newline="") as file:
            return Took(seconds, finals - began, list(csv.DictReader(file)))


def against_one_pass() -> Iterator[Row]:
    n, trials, epochs = (70, 3, 2) if small() else (2_000, 50, 25)
    weights = weights_of("inception_v3")
    images = f"data.demo.n_images={n}"
    net = ["backbone=inception_v3", f"backbone.weights={weights}", f"data.image_size=[{SIZE[0]},{SIZE[1]}]"]
    plain = [images, *net, f"study.n_trials={trials}", f"trainer.max_epochs={epochs}", "study.workers=2"]
    cfg, _, paths, net = prepared_net("inception_v3", n, images)
    engine = build_engine(net, (3, *SIZE), cfg.features, torch.device("cpu"))
    ready = torch.stack([read_image(path, SIZE) for path in paths])
    bare(engine, ready[:32])
    what = f"{trials} trials x {epochs} epochs, InceptionV3 {SIZE[0]}x{SIZE[1]}, {len(paths):,} photographs"
    if weights == "none":
        what += ", random weights: every seed of the finals is another net and a pass of its own"
    over = f"one pass of {engine.name} over ready tensors"
    for name, times in (("head_quick", 3), ("head", 1)):
        pairs = [(study(f"+study={name}", *plain), bare(engine, ready)) for _ in range(rounds(times))]
        note = ", ".join(f"{took.epochs():,}" for took, _ in pairs)
        note = f"+study={name}: {note} epochs trained, two workers"
        trained = [took.trials / one_pass for took, one_pass in pairs]
        yield Row(f"features and trials ({what}; {note}) / {over}", "<= 1.5", trained)
        whole = [took.whole / one_pass for took, one_pass in pairs]
        yield Row(f"the same with the finals, plots and report / {over}", "", whole)


def shared_by_workers() -> Iterator[Row]:
    trials = 8 if small() else 200
    tiny = [
        "+study=head", "backbone=efficientnet_lite0", "data.image_size=[64,64]", "data.demo.n_images=210",
        "trainer.max_epochs=3", f"study.n_trials={trials}", "pruner=none",
        "study.finalists=1", "study.finalist_seeds=1",
    ]  # fmt: skip
    alone = study(*tiny)
    together = study(*tiny, "study.workers=8")
    times = Counter(int(row["slot"]) for row in together.rows if row["state"] == "finished")
    wrong = sum(abs(times[trial] - 1) for trial in range(trials)) + sum(trial >= trials for trial in times)
    yield Row(f"8 workers, {trials} trials: lost or doubled", "0", [float(wrong)])
    yield Row(
        f"8 workers, {trials} trials of 3 epochs: one worker's seconds / theirs, start-up included",
        "",
        [alone.whole / together.whole],
    )


def figures() -> Iterator[Row]:
    logging.disable(logging.WARNING)
    flush_denormals()
    yield from against_one_pass()
    yield from shared_by_workers()
