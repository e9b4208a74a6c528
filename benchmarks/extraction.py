"""One pass of a frozen backbone over JPEG files: ours / a DataLoader with plain PyTorch, and ours / the bare engine.

Interleaved rounds in one process; each ratio is that of a pair, the median and the range are printed. Goals on
2 cores: extraction / bare engine >= 0.95; / plain PyTorch >= 2.4 (InceptionV3), 1.9 (VGG16), 5 (Lite0).

    python benchmarks/extraction.py [backbone ...]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from shared import cache_dir, config, ratios, shown
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from seedsweep.config.schema import Config
from seedsweep.data.images import read_image
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.engines.base import Engine
from seedsweep.engines.select import build_engine
from seedsweep.features.extract import extract
from seedsweep.features.store import PLAIN, Space
from seedsweep.models.build import build_trunk
from seedsweep.models.classifier import FeatureNet
from seedsweep.preprocess.scaling import flush_denormals

SIZES = {"inception_v3": (227, 454, 160), "vgg16": (227, 454, 70), "efficientnet_lite0": (224, 224, 700)}
ROUNDS = 3


class Files(Dataset[Tensor]):
    """Decodes one file an item, as a DataLoader's tutorial does."""

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> Tensor:
        return torch.from_numpy(read_image(self.paths[item], self.size).transpose(2, 0, 1).copy())


def plain(net: nn.Module, prepared: PreparedImages, size: tuple[int, int]) -> float:
    started = time.perf_counter()
    loader = DataLoader(Files(prepared.table.paths, size), 32, num_workers=os.cpu_count() or 1)
    with torch.inference_mode():
        for batch in loader:
            net(batch)
    return time.perf_counter() - started


def ours(engine: Engine, prepared: PreparedImages, cfg: Config) -> float:
    """From files to features on disk: nothing is decoded beforehand."""
    pixels = prepared.pixels.select(list(range(len(prepared.table.paths))))
    pixels._have[:] = False
    rows = {image: row for row, image in enumerate(prepared.table.digests)}
    with tempfile.TemporaryDirectory() as folder:
        view = Space(Path(folder), {}, {}).view(PLAIN)
        started = time.perf_counter()
        extract(
            view,
            prepared.table.digests,
            lambda some: pixels.batch(np.asarray([rows[image] for image in some])),
            engine,
            cfg.features.batch_size,
            "float32",
        )
        return time.perf_counter() - started


def bare(engine: Engine, ready: Tensor) -> float:
    started = time.perf_counter()
    for part in torch.split(ready, 32):
        engine(part)
    return time.perf_counter() - started


def main() -> None:
    torch.manual_seed(0)
    flush_denormals()
    print("| backbone | images | engine | ours, images/s | ours / bare engine | ours / plain PyTorch |")
    print("|---|---|---|---|---|---|")
    for name in sys.argv[1:] or SIZES:
        height, width, n = SIZES[name]
        cfg = config(
            f"backbone={name}",
            "backbone.weights=none",
            f"data.image_size=[{height},{width}]",
            f"data.demo.n_images={n}",
        )
        prepared = prepare_images(cfg.data, cache_dir())
        n = len(prepared.table.paths)
        trunk = build_trunk(cfg)
        net = FeatureNet(trunk.preprocess, trunk.backbone).eval()
        engine = build_engine(net, (3, height, width), cfg.features, torch.device("cpu"))
        ready = prepared.pixels.batch(np.arange(n))
        bare(engine, ready[:64])
        times: list[float] = []

        def timed(engine: Engine = engine, prepared: PreparedImages = prepared, cfg: Config = cfg) -> float:
            times.append(ours(engine, prepared, cfg))
            return times[-1]

        to_bare = ratios(timed, lambda e=engine, r=ready: bare(e, r), ROUNDS)
        to_plain = ratios(timed, lambda m=net, p=prepared, s=(height, width): plain(m, p, s), ROUNDS)
        speed = n / sorted(times)[len(times) // 2]
        print(
            f"| {name} {height}x{width} | {n} | {engine.name} | {speed:.1f} | {shown(to_bare)} | {shown(to_plain)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
