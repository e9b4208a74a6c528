"""Measures every figure, prints one table and keeps it in RESULTS.md with machine and date.

Every file of this folder that has ``figures()`` takes part; it returns or yields rows (see ``shared.Row``).

    python benchmarks                     # all of them, and RESULTS.md: give it a quiet machine
    python benchmarks extraction heads    # some, printed only
    python benchmarks --small             # next to nothing, to see that they work; printed only
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import logging
import os
import platform
import time
from pathlib import Path

from shared import Row

FOLDER = Path(__file__).resolve().parent
HEADER = "| figure | goal | measured | range |\n|---|---|---|---|"
PACKAGES = ("torch", "torchvision", "openvino", "pytorch-lightning", "optuna", "numpy", "pillow", "timm")


def modules() -> list[str]:
    """Names of the files that measure something."""
    names = (path.stem for path in sorted(FOLDER.glob("*.py")))
    return [name for name in names if name not in ("__main__", "shared")]


def machine() -> str:
    """CPU, cores, memory, versions."""
    from seedsweep import cores

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = named[0] if named else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    load = os.getloadavg()[0]
    return (
        f"{cpu}, {cores.count()} cores, {memory:.1f} GiB memory, {gpu()}, load {load:.1f} at the start; "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {', '.join(versions)}"
    )


def gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def measured(name: str) -> list[str]:
    """Runs one file; returns its lines of the table, printed as they come."""
    lines = []
    try:
        module = importlib.import_module(name)
        if not hasattr(module, "figures"):
            return []
        for row in module.figures():
            assert isinstance(row, Row)
            lines.append(line(row.cells()))
            print(lines[-1], flush=True)
    except Exception as error:  # one that fails must not cost the others their hours
        logging.getLogger(__name__).exception("%s failed", name)
        lines.append(line([name, "", "failed", f"{type(error).__name__}: {str(error).splitlines()[0]}"]))
        print(lines[-1], flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python benchmarks", description="Measures what the README promises."
    )
    parser.add_argument("names", nargs="*", metavar="FILE", help=f"only these: {', '.join(modules())}")
    parser.add_argument("--small", action="store_true", help="next to nothing, to see that all works")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in modules()]:
        parser.error(f"{unknown[0]} is no benchmark: choose from {', '.join(modules())}")
    if chosen.small:
        os.environ["SEEDSWEEP_BENCH_SMALL"] = "1"
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    started, where = time.time(), machine()
    print(f"{where}\n\n{HEADER}", flush=True)
    lines = [text for name in chosen.names or modules() for text in measured(name)]
    minutes = (time.time() - started) / 60
    print(f"\n{minutes:.1f} minutes")
    if not chosen.names and not chosen.small:
        when = time.strftime("%Y-%m-%d", time.localtime(started))
        page = [
            "# Benchmarks",
            "",
            f"`make bench` on {when}, {minutes:.0f} minutes. {where}.",
            "",
            "Each figure is a ratio taken in one run, both sides in turn, pair by pair: the median, and the range.",
            "",
            HEADER,
            *lines,
        ]
        (FOLDER / "RESULTS.md").write_text("\n".join(page) + "\n")
    return 1 if any("| failed |" in text for text in lines) else 0


if __name__ == "__main__":
    raise SystemExit(main())
