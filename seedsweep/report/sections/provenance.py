"""What was run, and how to run it again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from seedsweep.report.blocks import Block, Code, Facts, Folded, Section, Text, seconds
from seedsweep.report.contents import RUN, STUDY, SWEEP, Material
from seedsweep.report.next_command import same_command
from seedsweep.runs.command import typed
from seedsweep.runs.label_gain import LabelGain
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.switches import batchnorm_summary

ORDER = 90
DIGITS = 16  # of a digest, shown


def section(material: Material) -> Section | None:
    """Command, settings, digests, versions, time."""
    blocks: list[Block] = []
    if line := same_command(material):
        blocks += [Text("To run it again:"), Code(line)]
        if kept := _keeping_the_images(material, line):
            blocks.append(Text(kept, small=True))
    times = [float(run.metrics["wall_seconds"]) for run in material.runs if "wall_seconds" in run.metrics]
    rows = [("folder", str(material.folder))]
    if material.kind == SWEEP:
        seeds = sorted({run.seed for run in material.runs})
        rows += [("runs", str(len(material.runs))), ("seeds", ", ".join(map(str, seeds)))]
    took = material.result.get("wall_seconds", sum(times) if times else None)
    if took is not None:
        rows.append(("time", seconds(float(took))))
    blocks.append(Facts(rows))
    run = material.best
    if run is not None:
        if material.kind != RUN:
            blocks.append(Text(f"`{run.label}`, {run.which}, shown in detail above:"))
        blocks.append(Facts(_facts(run)))
        if material.settings_text:
            blocks.append(Folded("All settings", [Code(material.settings_text.strip())]))
    return Section("what-was-run", "What was run", blocks)


def _keeping_the_images(material: Material, line: str) -> str:
    """Returns how the command keeps to the images of these results; empty where it does, or where they are several."""
    manifest = material.best.folder / "manifest.csv" if material.best is not None else None
    several = len({(run.held_out, run.fold) for run in material.runs}) > 1
    if (
        "data.manifest=" in line
        or material.kind == STUDY
        or several
        or manifest is None
        or not manifest.is_file()
    ):
        return ""
    return (
        "Images that were added since become part of it, and the split is another one then. With "
        f"`{typed(('data.manifest', manifest))}` it keeps to the images and the split of these results."
    )


def _facts(run: RunResult) -> list[tuple[str, str]]:
    """Returns what a run was made of."""
    m = run.metrics
    weights = m.get("weights") or {}
    counts = {split: sum(images.values()) for split, images in (m.get("images") or {}).items()}
    digests = m.get("digests") or {}
    size = m.get("image_size")
    stands_in = " (in the place of InceptionV3)" if m.get("backbone_fallback") else ""
    norm = batchnorm_summary(run.switches.batchnorm) if run.switches else str(m.get("batchnorm", ""))
    rows = [
        ("net", f"{m.get('backbone', '')}{stands_in}"),
        ("weights", str(weights.get("note") or weights.get("source") or "")),
        ("digest of the weights", str(weights.get("digest") or "")[:DIGITS]),
        ("images", ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)),
        ("digest of the split", str(digests.get("split") or "")[:DIGITS]),
        ("digest of the images", str(digests.get("images") or "")[:DIGITS]),
        ("digest of best.ckpt", str(digests.get("checkpoint") or "")[:DIGITS]),
        ("corrected labels", _corrections(m.get("corrections"))),
        ("image size", " x ".join(map(str, size)) if size else ""),
        ("departs from its experiment by", " ".join(run.departures)),
        ("BatchNorm", norm),
        ("preprocessing", str(m.get("preprocess", ""))),
        ("augmentation", str(m.get("augment", ""))),
        ("batch size", str(m.get("batch_size", ""))),
        ("epochs", _epochs(m)),
        ("seed", str(m.get("seed", ""))),
        ("features", _features(m.get("features") or {})),
        ("versions", ", ".join(f"{name} {number}" for name, number in (m.get("versions") or {}).items())),
    ]
    return [(name, value) for name, value in rows if value]


def _corrections(content: dict[str, Any] | None) -> str:
    """Returns what corrected labels did to a run; empty where it had none, or they can't be read."""
    with suppress(TypeError, KeyError, AttributeError):
        return LabelGain.from_dict(content).sentence if content else ""
    return ""


def _features(features: dict[str, Any]) -> str:
    if not features:
        return ""
    if not features.get("stored"):
        return "computed in every epoch"
    made = [str(features[key]) for key in ("engine", "precision") if features.get(key)]
    return f"stored{', computed by ' + ' in '.join(made) if made else ''}"


def _epochs(metrics: dict[str, Any]) -> str:
    if "epochs" not in metrics:
        return ""
    if metrics["best_epoch"] is None:  # it diverged in its first one
        return "none was finished"
    return f"{metrics['epochs']}, of which the {metrics['best_epoch'] + 1}. was kept"
