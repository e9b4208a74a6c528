"""The engines of a CPU against one another, net by net: where ``features.engine=auto`` should take which.

Random weights: they change no time. ``share`` is what Winograd's algorithm can shorten (``engines/winograd.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

import timm
import torch
from extraction import bare
from shared import Row, interleaved, quotients, rounds, small

from seedsweep.config.schema import FeaturesConfig
from seedsweep.engines import mnn_engine, openvino_engine
from seedsweep.engines.select import build_engine, engine_name
from seedsweep.engines.winograd import winograd_share
from seedsweep.preprocess.scaling import flush_denormals

NETS = (
    ("resnet18", 224, 224), ("resnet50", 224, 224), ("densenet121", 224, 224), ("repvgg_a0", 224, 224),
    ("inception_v3", 227, 454), ("inception_v3", 299, 299), ("inception_v4", 224, 224),
    ("res2net50_26w_4s", 224, 224), ("mobilenetv3_large_100", 224, 224), ("convnext_tiny", 224, 224),
)  # fmt: skip
CPU = torch.device("cpu")


def figures() -> Iterator[Row]:
    flush_denormals()
    if not (mnn_engine.available() and openvino_engine.available()):
        return
    for name, height, width in NETS[: 1 if small() else None]:
        net = timm.create_model(name, pretrained=False, num_classes=0).eval()
        size = (3, height, width)
        images = torch.randint(0, 256, (8 if small() else 64, *size), dtype=torch.uint8)
        openvino, mnn = (build_engine(net, size, FeaturesConfig(engine=e), CPU) for e in ("openvino", "mnn"))
        for engine in (openvino, mnn):
            bare(engine, images[:8])
        direct, winograd = interleaved(
            lambda one=openvino, x=images: bare(one, x), lambda one=mnn, x=images: bare(one, x), n=rounds(3)
        )
        chosen, share = engine_name(net, size, FeaturesConfig(), CPU), winograd_share(net, size)
        yield Row(
            f"mnn / openvino, speed, {name} {height}x{width}, share {share:.2f}, auto takes {chosen}",
            "",
            quotients(direct, winograd),
        )
