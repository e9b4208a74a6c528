"""Lays the pages of the site out in one folder: docs/, all settings, experiments, benchmarks, contributing, changelog.

Usage: python docs/_pages/site_pages.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import settings

ROOT = Path(__file__).resolve().parents[2]
SHOWN = (".md", ".png", ".css")


def lay_out(folder: Path) -> None:
    """Writes all pages and pictures to ``folder``, which is emptied first; links between them hold."""
    shutil.rmtree(folder, ignore_errors=True)
    for source, target in (
        (ROOT / "docs", folder),
        *((ROOT / n, folder / n) for n in ("experiments", "benchmarks")),
    ):
        for path in sorted(source.rglob("*")):
            if path.suffix in SHOWN and "_pages" not in path.parts:
                (target / path.relative_to(source).parent).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / path.relative_to(source))
    (folder / "reference" / "settings.md").write_text(settings.page())
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        (folder / name.lower()).write_text((ROOT / name).read_text().replace("](docs/", "]("))


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
