"""What was run: commands, digests, versions."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any

import yaml

from seedsweep.report.material import STUDY, SWEEP, Material
from seedsweep.report.runs import Run

DIGITS = 16  # of a digest, shown


def command(material: Material) -> str:
    """Returns the command line that makes these results again; empty if it was not recorded."""
    if material.kind == STUDY:
        name = Path(str(material.result.get("best_config", ""))).stem
        folder = material.folder / "conf"
        return (
            f"python -m seedsweep --config-dir {shlex.quote(str(folder))} +experiment={name}" if name else ""
        )
    sweep = material.folder / "multirun.yaml"
    path = sweep if material.kind == SWEEP else material.folder / ".hydra" / "hydra.yaml"
    overrides = _overrides(path)
    if overrides is None:
        return ""
    return " ".join(
        ["python -m seedsweep", *(["-m"] if material.kind == SWEEP else []), *map(shlex.quote, overrides)]
    )


def _overrides(path: Path) -> list[str] | None:
    try:
        content: Any = yaml.safe_load(path.read_text())
        hydra = content["hydra"]
        params = (hydra["sweeper"].get("params") or {}) if path.name == "multirun.yaml" else {}
        task = [str(line) for line in hydra["overrides"]["task"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return None
    if any(line.lstrip("+").startswith("sweep=") for line in task):
        params = {}  # the sweep's own file has them
    given = {line.partition("=")[0].lstrip("+") for line in task}
    return [*[f"{key}={value}" for key, value in params.items() if key.lstrip("+") not in given], *task]


def digest(path: Path) -> str:
    """Returns the beginning of a file's SHA-256; empty if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS] if path.is_file() else ""


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
