"""What was run: commands, digests, versions."""

from __future__ import annotations

from pathlib import Path

from seedsweep.backbones.weights import digest_of
from seedsweep.command import by
from seedsweep.config.groups import key_of
from seedsweep.errors import SeedsweepError
from seedsweep.report.material import STUDY, SWEEP, Material
from seedsweep.report.runs import Run
from seedsweep.sweep.recorded import GRID, SINGLE, read_recorded

DIGITS = 16  # of a digest, shown
OF_GRIDS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep.")


def command(material: Material) -> str:
    """Returns the command line that makes these results again; empty if it was not recorded."""
    if material.kind == STUDY:
        name = Path(str(material.result.get("best_config", ""))).stem
        folder = material.folder / "conf"
        return by("python", "--config-dir", str(folder), ("experiment", name)) if name else ""
    grid = material.kind == SWEEP
    try:
        recorded = read_recorded(material.folder / (GRID if grid else SINGLE))
    except SeedsweepError:
        return ""
    overrides = [o for o in recorded.overrides if grid or not key_of(o).startswith(OF_GRIDS)]
    # a job of a sweep is a grid of one: its settings are there
    of_sweep = any(key_of(o) == "sweep" for o in overrides)
    words = [*(["-m"] if grid or of_sweep else []), *recorded.options, *overrides]
    return by("python", *words)


def digest(path: Path) -> str:
    """Returns the beginning of a file's SHA-256; empty if there is none."""
    return digest_of(path)[:DIGITS] if path.is_file() else ""


def facts_of(run: Run) -> list[tuple[str, str]]:
    """Returns what a run was made of."""
    m = run.metrics
    weights = m.get("weights") or {}
    counts = {split: sum(images.values()) for split, images in (m.get("images") or {}).items()}
    size = m.get("image_size")
    rows = [
        (
            "net",
            f"{m.get('backbone', '')}{' (in the place of InceptionV3)' if m.get('backbone_fallback') else ''}",
        ),
        ("weights", str(weights.get("note") or weights.get("source") or "")),
        ("digest of the weights", str(weights.get("digest") or "")[:DIGITS]),
        ("images", ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)),
        ("digest of the split", digest(run.folder / "manifest.csv")),
        ("image size", " x ".join(map(str, size)) if size else ""),
        ("BatchNorm policy", str(m.get("batchnorm", ""))),
        ("preprocessing", str(m.get("preprocess", ""))),
        ("augmentation", str(m.get("augment", ""))),
        ("batch size", str(m.get("batch_size", ""))),
        ("epochs", f"{m['epochs']}, of which the {m['best_epoch'] + 1}. was kept" if "epochs" in m else ""),
        ("seed", str(m.get("seed", ""))),
        ("features", "stored" if (m.get("features") or {}).get("stored") else "computed in every epoch"),
        ("versions", ", ".join(f"{name} {number}" for name, number in (m.get("versions") or {}).items())),
    ]
    return [(name, value) for name, value in rows if value]
