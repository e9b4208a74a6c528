"""Measures every figure, prints tables and keeps them in RESULTS.md with machine and date.

Every file of this folder that has ``figures()`` takes part; it returns or yields rows (see ``shared.Row``), which
become a section of RESULTS.md.

    python benchmarks                     # all of them: give it a quiet machine
    python benchmarks extraction heads    # some; the other sections stay as they are
    python benchmarks --small             # next to nothing, to see that they work; printed only
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import logging
import os
import platform
import subprocess
import time
from pathlib import Path

from shared import Row

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "RESULTS.md"
INTRODUCTION = """# Benchmarks

`make bench` measures all, `python benchmarks NAME` a section. Each figure is a ratio taken in one run, both sides in
turn, pair by pair: the median, and the range. On an older processor, which takes other ways: [avx2.md](avx2.md).
Which planted faults the diagnosis names is a benchmark of its own: [faults](faults/README.md).
"""
HEADER = "| figure | goal | measured | range |\n|---|---|---|---|"
PACKAGES = (
    "torch",
    "torchvision",
    "openvino",
    "pytorch-lightning",
    "optuna",
    "numpy",
    "pillow",
    "simplejpeg",
    "timm",
)


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
        f"{cpu} ({instructions()}), {cores.count()} cores, {memory:.1f} GiB memory, {gpu()}, "
        f"load {load:.1f} at the start; "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {', '.join(versions)}"
    )


def instructions() -> str:
    """What the engine of a pass and the precision of heads hang on."""
    import torch

    able = torch.cpu.get_capabilities()
    wide = next(
        (name for key, name in (("avx512_f", "AVX-512"), ("avx2", "AVX2")) if able.get(key)), "no AVX2"
    )
    return f"{wide}, {'' if able.get('avx512_bf16') or able.get('amx_bf16') else 'no '}bfloat16"


def gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"


def commit() -> str:
    """Which code was measured."""
    git = ["git", "-C", str(FOLDER)]
    try:
        head = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain", "--", "../seedsweep"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "no commit"
    return f"commit {head}" + (" and changes" if changed else "")


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
    wanted = chosen.names or modules()
    if unknown := [name for name in chosen.names if name not in modules()]:
        parser.error(f"{unknown[0]} is no benchmark: choose from {', '.join(modules())}")
    if chosen.small:
        os.environ["SEEDSWEEP_BENCH_SMALL"] = "1"
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    where, failed = machine(), False
    print(f"{where}\n\n{HEADER}", flush=True)
    for name in wanted:
        started = time.time()
        lines = measured(name)
        failed = failed or any("| failed |" in text for text in lines)
        minutes = (time.time() - started) / 60
        if lines and not chosen.small:
            when = time.strftime("%Y-%m-%d", time.localtime(started))
            keep(
                name, "\n".join([f"{when}, {minutes:.0f} minutes, {commit()}. {where}.", "", HEADER, *lines])
            )
    return 1 if failed else 0


def keep(name: str, text: str) -> None:
    """Puts a section into RESULTS.md, in the place of the one that it had."""
    page = RESULTS.read_text() if RESULTS.is_file() else INTRODUCTION
    head, *parts = page.split("\n## ")
    sections = {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in parts}
    sections[name] = text
    body = "".join(f"\n\n## {key}\n\n{sections[key]}" for key in sorted(sections))
    RESULTS.write_text(f"{head.rstrip()}{body}\n")


if __name__ == "__main__":
    raise SystemExit(main())
