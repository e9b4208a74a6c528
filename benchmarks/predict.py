"""A folder answered into a CSV (``task=predict``) against the extraction of the same images' features.

Both decode the files, pass them through the same engine and write what came out; the engine is ready before the
clock starts. Predicting must not cost more than the store's own pass: the goal is 0.9 of its speed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from extraction import ours
from shared import Row, cache_dir, config, interleaved, quotients, rounds, small

from seedsweep.data.prepare import prepare_images
from seedsweep.export.classify import Answers, Predictor, predict_folder
from seedsweep.export.load import Trained
from seedsweep.export.tables import Add, open_table
from seedsweep.features.engines import build_engine
from seedsweep.models.build import add_head
from seedsweep.models.classifier import FeatureNet
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.effective import card_of

NET, SIDE, N = "efficientnet_lite0", 224, 2000


def figures() -> Iterator[Row]:
    torch.manual_seed(0)
    flush_denormals()
    n = 70 if small() else N
    cfg = config(
        f"backbone={NET}",
        "backbone.weights=none",
        f"data.image_size=[{SIDE},{SIDE}]",
        f"data.demo.n_images={n}",
    )
    prepared = prepare_images(cfg.data, cache_dir())
    paths, root = prepared.table.paths, prepared.table.root
    backbone = backbone_as_set(cfg)
    built = add_head(backbone, len(prepared.table.classes), cfg.head, cfg.seed)
    card = card_of(cfg, built, prepared.table.classes, {})
    trained = Trained(built.classifier.eval(), prepared.table.classes, (SIDE, SIDE), card, Path("none"), "")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    predictor = Predictor(trained, cfg.features, device)
    engine = build_engine(
        FeatureNet(backbone.preprocess, backbone.net).eval(), (3, SIDE, SIDE), cfg.features, device
    )

    def predict() -> float:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "predictions.csv")
            started = time.perf_counter()
            with open_table(out, trained.classes) as add:

                def write(names: list[str], answers: Answers, add: Add = add) -> None:
                    add(names, answers.probabilities)

                found = predict_folder(paths, root, trained, predictor, write, cfg.features.batch_size)
            seconds = time.perf_counter() - started
            assert found.n == len(paths)
        return seconds

    passes, answers = interleaved(
        lambda: ours(engine, prepared.table.digests, paths, cfg), predict, n=rounds(3)
    )
    what = f"{NET} {SIDE}x{SIDE}, {len(paths)} images"
    yield Row(
        f"predict / extraction ({predictor.engine.name}), speed, {what}", ">= 0.9", quotients(passes, answers)
    )
    yield Row(f"predict, images/s, {what}", "", [len(paths) / seconds for seconds in answers])
