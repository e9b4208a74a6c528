"""What a GPU gains: the pass over the images against the bare net, heads against plain Lightning.

Without a GPU it measures nothing, and RESULTS.md keeps what it has.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator

import torch
from extraction import BATCH, NETS, bare, ours, prepared_net
from heads import EPOCHS, features, lightning
from heads import ours as our_head
from shared import Row, config, interleaved, quotients, rounds, small

from seedsweep.features.torch_engine import TorchEngine
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.models.options import HeadConfig

DRAWN = 2_000  # photographs, visited as often as it takes: to draw more would take longer than to measure
SECONDS = 4.0  # of the bare net, a round


def extraction(name: str) -> Iterator[Row]:
    """bfloat16, from files to features on disk."""
    height, width, _, _ = NETS[name]
    drawn = f"data.demo.n_images={70 if small() else DRAWN}"
    cfg, digests, paths, net = prepared_net(name, DRAWN, drawn, "features.precision=bfloat16")
    device = torch.device("cuda")
    engine = TorchEngine(net, "bfloat16", device)
    synthetic = torch.randint(0, 256, (len(paths), 3, height, width), dtype=torch.uint8, device=device)
    bare(engine, synthetic[: 8 * BATCH])
    times = 1 if small() else max(1, round(SECONDS / bare(engine, synthetic)))
    images = [hashlib.sha256(f"{d}{k}".encode()).hexdigest() for k in range(times) for d in digests]
    passes, nothing = interleaved(
        lambda: ours(engine, images, paths * times, cfg),
        lambda: bare(engine, synthetic, times),
        n=rounds(2),
    )
    what = f"{name} {height}x{width}, {len(images):,} images"
    yield Row(
        f"GPU, bfloat16: extraction / the bare net on synthetic tensors on the GPU, {what}",
        ">= 0.9",
        quotients(nothing, passes),
    )
    yield Row(f"the same: extraction, images/s, {what}", "", [len(images) / s for s in passes])


def heads() -> Iterator[Row]:
    n, units, batch, epochs = 1_400 if small() else 14_000, 512, 256, 2 if small() else EPOCHS
    x, y = features(n, 2048)
    there, labels = x.cuda(), y.cuda()
    head, optim = HeadConfig(width=units, dropout=0.3), config("optim=adam").optim
    our_head(there, labels, head, optim, batch, 1, "auto")
    own, theirs = interleaved(
        lambda: our_head(there, labels, head, optim, batch, epochs, "auto"),
        lambda: lightning(x, y, head, batch, epochs, "gpu"),
        n=rounds(2),
    )
    what = f"{n:,} x 2,048 features, Dense {units}, batch {batch}, {epochs} epochs"
    yield Row(f"GPU: one head trial: plain Lightning / ours, {what}", ">= 3", quotients(theirs, own))


def figures() -> Iterator[Row]:
    if not torch.cuda.is_available():
        return
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    flush_denormals()
    for name in NETS:
        yield from extraction(name)
    yield from heads()
