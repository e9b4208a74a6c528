"""Plants faults into real photographs and settings, and counts which of them the diagnosis names.

    python benchmarks/faults --tuned              # scenarios that checks may be tuned on, seed 0
    python benchmarks/faults --held-out --seeds 0 1 2
    python benchmarks/faults val_dark noise       # scenarios whose names hold one of these
    python benchmarks/faults --tables             # what was measured so far

One line a scenario goes to WORK/results.jsonl; what is there is not measured again, but with --again.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from running import Places, measure
from scenario import chosen
from scoring import read_results, score, tables


def main() -> int:
    parser = argparse.ArgumentParser(prog="python benchmarks/faults", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of the names of scenarios")
    part = parser.add_mutually_exclusive_group()
    for name in ("tuned", "held-out"):
        part.add_argument(f"--{name}", dest="part", action="store_const", const=name)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of planting and training: 0 1 2")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with coffee/ and wheat/"
    )
    parser.add_argument(
        "--weights", type=Path, default=Path("../shared/weights"), help="folder of VGG16's weights"
    )
    parser.add_argument("--work", type=Path, default=Path("outputs/faults"), help="all that is written")
    parser.add_argument("--again", action="store_true", help="also what was measured already")
    parser.add_argument("--keep", action="store_true", help="leave images and checkpoints")
    parser.add_argument("--tables", action="store_true", help="measure nothing, print the tables")
    asked = parser.parse_args()
    places = Places(asked.data.resolve(), asked.weights.resolve(), asked.work.resolve())
    places.work.mkdir(parents=True, exist_ok=True)
    if not asked.tables:
        if not (places.data / "coffee").is_dir():
            print(f"{places.data} holds no coffee/: give --data.", file=sys.stderr)
            return 2
        logging.getLogger().setLevel(logging.INFO)
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
        ).stdout.strip()
        for scenario, seed in chosen(asked.names, asked.part or "all", asked.seeds):
            if (scenario.name, seed) in read_results(places.results) and not asked.again:
                continue
            row = measure(scenario, seed, places, asked.keep) | {"commit": commit}
            with places.results.open("a") as file:
                file.write(f"{json.dumps(row)}\n")
            first = row["findings"][0]["title"] if row["findings"] else "nothing"
            right = "failed" if row["error"] else "right" if score(row, scenario)["first"] else "-"
            print(f"{scenario.name} {seed}: {first}, {right}, {row.get('seconds', 0):.0f} CPU s", flush=True)
    print(tables(read_results(places.results)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
