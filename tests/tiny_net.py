"""A small ResNet with weights of its own, for tests in which any net serves."""

import os
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file


def tiny_net() -> list[str]:
    """Returns the overrides that choose the net; its weights lie in a file, written once a session."""
    path = Path(os.environ["SEEDSWEEP_CACHE"]) / "test_resnet.safetensors"
    if not path.exists():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = timm.create_model("test_resnet", zero_init_last=False)
            save_file(made.state_dict(), path)
    return ["backbone=timm", "backbone.name=test_resnet", f"backbone.weights={path}"]
