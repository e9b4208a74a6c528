"""What cleanlab and cleanvision find in the same folders, with the defaults that they publish.

They take an environment of their own, for their licences keep them out of the project's:

    python -m venv /tmp/others && /tmp/others/bin/pip install cleanlab cleanvision pyyaml
    /tmp/others/bin/python benchmarks/faults/others.py --work outputs/faults --data ../shared/data

cleanlab gets what we have: the features of EfficientNet-Lite0 that ``python benchmarks/faults`` left in WORK/cache, and
a logistic regression on them, cross-validated. A tool names a fault where it marks more images than in any healthy run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from planting import build
from scenario import Scenario, chosen

try:
    from cleanlab.filter import find_label_issues
    from cleanvision import Imagelab
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import StandardScaler
except ImportError as error:
    raise SystemExit(f"Skipped: {error.name} is not installed; the head of this file says how.") from None

LABELS = ("noise", "half_filed", "contradictions")
LOOKS = {  # part of a fault's name: what cleanvision calls it
    "copies": ("exact_duplicates", "near_duplicates"),
    "contradictions": ("exact_duplicates", "near_duplicates"),
    "val_dark": ("dark",),
    "brightness": ("dark", "light"),
    "val_blur": ("blurry",),
    "sharpness": ("blurry",),
    "sizes": ("odd_size",),
}


def stored_features(cache: Path) -> dict[str, Any]:
    """Returns the features of the folder's largest space with 1280 of them, by the SHA-256 of each image."""
    spaces: list[dict[str, Any]] = [{}]
    for folder in cache.glob("features/*/plain"):
        found: dict[str, Any] = {}
        for index in folder.glob("*.json"):
            array = np.load(index.with_suffix(".npy"), mmap_mode="r")
            if array.ndim == 2 and array.shape[1] == 1280:
                found |= dict(zip(json.loads(index.read_text())["images"], array, strict=True))
        spaces.append(found)
    return max(spaces, key=len)


def doubted(truth: dict[str, str], folder: Path, features: dict[str, Any]) -> dict[str, float] | None:
    """Returns the share of labels that cleanlab doubts, and their recall and precision; None: features are missing."""
    paths = [path for path in truth if sha256((folder / path).read_bytes()).hexdigest() in features]
    if len(paths) < 0.9 * len(truth):
        return None
    x = np.stack([features[sha256((folder / path).read_bytes()).hexdigest()] for path in paths])
    names = np.asarray([Path(path).parent.name for path in paths])
    labels = np.unique(names, return_inverse=True)[1]
    wrong = names != np.asarray([truth[path] for path in paths])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(max_iter=300)
        scaled = StandardScaler().fit_transform(x)
        chances = cross_val_predict(model, scaled, labels, cv=5, method="predict_proba")
    found = find_label_issues(labels, chances)
    hit = float((found & wrong).sum())
    return {
        "share": found.mean(),
        "recall": hit / max(wrong.sum(), 1),
        "precision": hit / max(found.sum(), 1),
    }


def seen(folder: Path) -> dict[str, int]:
    """Returns how many images cleanvision marks, by the kind of issue."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        lab = Imagelab(data_path=str(folder))
        lab.find_issues(n_jobs=1)
    return {row.issue_type: int(row.num_images) for row in lab.issue_summary.itertuples()}


def measure(
    scenario: Scenario, seed: int, data: Path, work: Path, features: dict[str, Any]
) -> dict[str, Any]:
    folder = work / f"others-{scenario.name}-{seed}" / "images"
    truth = build(scenario, seed, data, folder)
    row = {"scenario": scenario, "labels": doubted(truth, folder, features), "looks": seen(folder)}
    shutil.rmtree(folder.parent)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of the names of scenarios")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    features = stored_features(asked.work / "cache")
    rows = []
    for scenario, seed in chosen(asked.names, "all", [asked.seed]):
        single = len(scenario.faults) == 1 and scenario.data != "parts" and scenario.arm == "lite0"
        apt = any(part in scenario.name for part in (*LABELS, *LOOKS))
        healthy = scenario.kind == "healthy" and not any(fault.settings for fault in scenario.faults.values())
        if single and (apt or healthy):
            rows.append(measure(scenario, seed, asked.data, asked.work, features))
            print(scenario.name, rows[-1]["labels"], rows[-1]["looks"], file=sys.stderr, flush=True)
    print(table(rows))
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown: of each planted fault what both tools mark, and the most that they mark in a healthy run."""
    well = [row for row in rows if row["scenario"].kind == "healthy"]
    most_labels = max((row["labels"]["share"] for row in well if row["labels"]), default=0.0)
    judged = sum(row["labels"] is not None for row in well)
    lines = [
        f"Healthy: {len(well)} runs; in {judged} cleanlab doubts at most {most_labels:.1%} of the labels.",
        "",
    ]
    lines += ["| run | cleanlab | named | cleanvision | named |", "|---|---|---|---|---|"]
    for row in rows:
        name = row["scenario"].name
        if row["scenario"].kind == "healthy":
            continue
        labels, doubt = row["labels"], ("does not apply", "")
        if any(part in name for part in LABELS):
            doubt = ("its features are not stored", "")
        if any(part in name for part in LABELS) and labels:
            text = f"doubts {labels['share']:.1%}: {labels['recall']:.0%} of the wrong, {labels['precision']:.0%} right"
            doubt = (text, "yes" if labels["share"] > most_labels else "no")
        looks = ("does not apply", "")
        for kinds in (kinds for part, kinds in LOOKS.items() if part in name):
            marked = sum(row["looks"].get(kind, 0) for kind in kinds)
            most = max((sum(each["looks"].get(kind, 0) for kind in kinds) for each in well), default=0)
            looks = (
                f"{', '.join(kinds)}: {marked} (healthy: at most {most})",
                "yes" if marked > most else "no",
            )
        lines.append(f"| {name} | {' | '.join(doubt)} | {' | '.join(looks)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
