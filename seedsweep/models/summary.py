"""model_summary.txt: the layers, what is trained, and the state of every norm layer."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from seedsweep.batchnorm.policy import follows_stored, norm_layers


def write_model_summary(model: nn.Module, path: Path, input_size: tuple[int, int, int]) -> None:
    """Writes the summary of ``model``, which reads images [3, H, W] of ``input_size``."""
    lines = [
        f"input {tuple(input_size)}, values 0..255",
        "",
        f"{'module':<44} {'kind':<24} {'parameters':>12} {'trained':>12}",
    ]
    for name, module in model.named_modules():
        if not name or name.count(".") > 2:
            continue
        total = sum(p.numel() for p in module.parameters())
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        lines.append(f"{name:<44} {type(module).__name__:<24} {total:>12,} {trained:>12,}")
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    lines += ["", f"parameters {total:,}, trained {trained:,}", ""]
    layers = norm_layers(model)
    lines.append(f"{len(layers)} BatchNorm layers{':' if layers else ''}")
    for name, layer in layers:
        stored = follows_stored(layer)
        statistics = "stored" if stored else "batch"
        moves = "fixed" if stored or not layer.track_running_stats else "updated"
        affine = "trained" if any(p.requires_grad for p in layer.parameters()) else "fixed"
        lines.append(f"  {name:<60} normalises with {statistics:<7} statistics {moves:<8} affine {affine}")
    path.write_text("\n".join(lines) + "\n")
