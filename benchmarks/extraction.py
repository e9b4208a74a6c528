"""One pass of a frozen backbone over image files, features on disk at its end.

Against the bare engine, which is given decoded tensors and keeps nothing, and against what a tutorial writes:
plain PyTorch (eager, float32) behind a DataLoader. All on the CPU; a GPU's figures are in gpu.py.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from shared import Row, cache_dir, config, interleaved, quotients, rounds, small
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from seedsweep import cores
from seedsweep.cli.config.schema import Config
from seedsweep.data.images import read_image
from seedsweep.data.pixels import Pixels
from seedsweep.data.prepare import prepare_images
from seedsweep.data.threads import in_order
from seedsweep.features.engines import Engine, build_engine
from seedsweep.features.extract import extract
from seedsweep.features.feature_store import PLAIN, Space
from seedsweep.models.classifier import FeatureNet
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.training.assemble import backbone_as_set

# height, width, photographs (about as many seconds for each), goal against plain PyTorch
NETS = {
    "inception_v3": (227, 454, 320, 2.4),
    "vgg16": (227, 454, 140, 1.9),
    "efficientnet_lite0": (224, 224, 1400, 5.0),
}
BATCH = 32
# real ones where they are at hand: how exact an engine is, and so which way it takes, depends on them
WEIGHTS = {
    "inception_v3": "inception_v3_imagenet_to_mixed_6c.safetensors",
    "vgg16": "vgg16_imagenet_features.safetensors",
}


class Files(Dataset[Tensor]):
    """Decodes one file an item, as a DataLoader's tutorial does."""

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> Tensor:
        return read_image(self.paths[item], self.size)


def plain(net: nn.Module, paths: list[Path], size: tuple[int, int]) -> float:
    started = time.perf_counter()
    with torch.inference_mode():
        for batch in DataLoader(Files(paths, size), BATCH, num_workers=cores.count()):
            net(batch)
    return time.perf_counter() - started


def ours(engine: Engine, images: list[str], paths: list[Path], cfg: Config) -> float:
    """From files to features on disk: nothing is decoded beforehand."""
    pixels = Pixels(paths, (cfg.data.image_size[0], cfg.data.image_size[1]), keep=False)
    rows = {image: row for row, image in enumerate(images)}

    def load(some: Sequence[str]) -> Tensor:
        return pixels.batch(np.asarray([rows[image] for image in some]), as_decoded=True)

    with tempfile.TemporaryDirectory() as folder:
        view = Space(Path(folder), {}, {}).view(PLAIN)
        started = time.perf_counter()
        extract(view, images, load, lambda: engine, BATCH, "float32")
        return time.perf_counter() - started


def bare(engine: Engine, ready: Tensor, times: int = 1) -> float:
    """As many calls at once as the engine wants: nothing of what it can do is kept from it."""
    started = time.perf_counter()
    parts, threads = torch.split(ready, BATCH) * times, engine.at_once
    for _ in in_order(parts, lambda part: engine(part).cpu(), threads, 2 * threads):
        pass
    return time.perf_counter() - started


def weights_of(name: str) -> str:
    """Returns ``backbone.weights`` of a net: a file beside the checkout, else what needs no network."""
    path = Path(__file__).parents[2] / "shared/weights" / WEIGHTS.get(name, "")
    return str(path) if path.is_file() else "none"


def prepared_net(name: str, n: int, *more: str) -> tuple[Config, list[str], list[Path], FeatureNet]:
    """Returns settings, the first ``n`` photographs by digest and by path, and the net."""
    height, width, _, _ = NETS[name]
    weights = f"backbone.weights={weights_of(name)}"
    cfg = config(f"backbone={name}", weights, f"data.image_size=[{height},{width}]", *more)
    prepared = prepare_images(cfg.data, cache_dir())
    backbone = backbone_as_set(cfg)
    table = prepared.table
    return cfg, table.digests[:n], table.paths[:n], FeatureNet(backbone.preprocess, backbone.net).eval()


def on_cpu(name: str) -> Iterator[Row]:
    height, width, n, goal = NETS[name]
    n = 64 if small() else n
    cfg, images, paths, net = prepared_net(name, n)
    size = (height, width)
    engine = build_engine(net, (3, *size), cfg.features, torch.device("cpu"))
    ready = torch.stack([read_image(path, size) for path in paths])
    bare(engine, ready[:BATCH])  # its first batch plans and allocates
    passes, nothing, eager = interleaved(
        lambda: ours(engine, images, paths, cfg),
        lambda: bare(engine, ready),
        lambda: plain(net, paths, size),
        n=rounds(3),
    )
    what = f"{name} {height}x{width}, {len(paths)} images"
    yield Row(
        f"extraction / the bare engine ({engine.name}) on ready tensors, {what}",
        ">= 0.95",
        quotients(nothing, passes),
    )
    yield Row(
        f"extraction / plain PyTorch with a DataLoader, {what}", f">= {goal:g}", quotients(eager, passes)
    )
    yield Row(f"extraction, images/s, {what}", "", [len(paths) / seconds for seconds in passes])


def figures() -> Iterator[Row]:
    torch.manual_seed(0)
    flush_denormals()
    for name in NETS:
        yield from on_cpu(name)
