"""Ctrl-C while a folder is answered."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seedsweep.cli.main import main
from seedsweep.data.images import DEFAULT
from seedsweep.data.walk import Walked
from seedsweep.export import classify as deploy
from seedsweep.export import given_files as given
from seedsweep.export import load


def test_half_a_table_leaves_the_whole_one(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    stop = False

    def answer(images, root, trained, net, add, batch, how) -> deploy.Predicted:
        shares = np.array([[0.9, 0.1]] * (1 if stop else 2))
        add(["a.jpg", "b.jpg"][: len(shares)], deploy.Answers(shares))
        return deploy.Predicted(Counter(["good"]), [], 1.0, stop)

    trained = SimpleNamespace(described="", classes=["good", "bad"], ranges=None, promise=None)
    monkeypatch.setattr(given, "find_checkpoint", lambda _: Path("best.ckpt"))
    monkeypatch.setattr(load, "load_trained", lambda _: trained)
    monkeypatch.setattr(load, "at_temperature", lambda *_: trained)
    monkeypatch.setattr(given, "find_images", lambda _: (Path(), Walked([Path("a.jpg"), Path("b.jpg")])))
    monkeypatch.setattr(
        deploy, "Predictor", lambda *_: SimpleNamespace(engine=SimpleNamespace(name="engine"))
    )
    monkeypatch.setattr(deploy, "predict_folder", answer)
    monkeypatch.setattr(deploy, "reading_of", lambda *_: DEFAULT)
    line = ["task=predict", "checkpoint=x", "data.root=.", "predict.out=answers.csv"]
    assert main(line) == 0
    whole = Path("answers.csv").read_text()
    assert whole.count("\n") == 3
    assert not Path("answers_partial.csv").exists()
    stop = True
    assert main(line) == 130
    assert Path("answers.csv").read_text() == whole
    assert Path("answers_partial.csv").read_text().count("\n") == 2
