"""Scores what the diagnosis named against what was planted, and draws the tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scenario import HELD_SEED, Scenario, read_scenarios

Row = dict[str, Any]
KINDS = ("claimed", "new", "validation", "combination", "healthy")
CALLED = {
    "claimed": "single faults that the guide claimed before",
    "new": "single faults claimed since",
    "validation": "wrong validation sets",
    "combination": "two faults or more",
    "healthy": "healthy",
}
NOISE = 2  # standard errors from which on a loss is beyond noise


def read_results(path: Path) -> dict[tuple[str, int], Row]:
    """Returns the last row of each scenario and seed."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {(row["name"], row["seed"]): row for row in rows}


def hits(finding: Row, answers: Iterable[str]) -> bool:
    return any(answer in (finding["check"], f"{finding['check']}/{finding['title']}") for answer in answers)


def answers_of(scenario: Scenario) -> list[list[str]]:
    return [fault.answers for fault in scenario.faults.values()]


def score(row: Row, scenario: Scenario) -> dict[str, bool]:
    """Returns what holds of one run: named at all (all causes), named first (one of them), as a fault."""
    findings, wanted = row["findings"], answers_of(scenario)
    anyone = [answer for answers in wanted for answer in answers]
    first = findings[0] if findings else None
    faults = [finding for finding in findings if finding["verdict"] == "fault"]
    return {
        "all": all(any(hits(finding, answers) for finding in findings) for answers in wanted),
        "any": any(hits(finding, anyone) for finding in findings),
        "first": first is not None and hits(first, anyone),
        "fault": any(hits(finding, anyone) for finding in faults),
        "said": first is not None,
        "thumb": any(row["thumb"] == answer.split("/")[0] for answer in anyone),
    }


def tables(results: dict[tuple[str, int], Row]) -> str:
    """Returns Markdown: a table for the tuned part and one for the part held out, what was promised, and the misses."""
    scenarios = {scenario.name: scenario for scenario in read_scenarios()}
    rows = [(row, scenarios[name]) for (name, _), row in results.items() if name in scenarios]
    done = [(row, scenario) for row, scenario in rows if row["error"] is None]
    parts = []
    for title, held in (("Tuned on", False), ("Held out", True)):
        part = [
            (row, scenario)
            for row, scenario in done
            if (scenario.held_out or row["seed"] == HELD_SEED) == held
        ]
        if part:
            told = "\n\n".join(each(part) for each in (named, healthy, in_spite, promises))
            parts.append(f"### {title}: {len(part)} runs\n\n{told}")
    parts.append(f"### Misses\n\n{misses(done)}")
    parts.append(f"Measured at {', '.join(sorted({row['commit'] for row, _ in done}))}.")
    if failed := [row["name"] for row, _ in rows if row["error"] is not None]:
        parts.append(f"Failed: {', '.join(failed)}.")
    return "\n\n".join(parts)


def named(part: list[tuple[Row, Scenario]]) -> str:
    lines = [
        "| kind | runs | named at all | named first | as a fault | precision of the first | rules of thumb |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS[:-1]:
        scores = [score(row, scenario) for row, scenario in part if scenario.kind == kind]
        if scores:
            said = [each for each in scores if each["said"]]
            cells = [share(scores, key) for key in ("all", "first", "fault")]
            lines.append(
                f"| {CALLED[kind]} | {len(scores)} | {' | '.join(cells)} | {share(said, 'first')} | "
                f"{share(scores, 'thumb')} |"
            )
    return "\n".join(lines)


def share(scores: list[dict[str, bool]], key: str) -> str:
    return f"{np.mean([each[key] for each in scores]):.2f}" if scores else "-"


def healthy(part: list[tuple[Row, Scenario]]) -> str:
    rows = [row for row, scenario in part if scenario.kind == "healthy"]
    faults = [row["name"] for row in rows if any(f["verdict"] == "fault" for f in row["findings"])]
    advice = [each for row in rows for each in row["advice"]]
    tried = [each[3] for each in advice if each[3] is not None]
    harmful = [gain for gain in tried if gain[0] < -NOISE * gain[1]]
    thumbs = sum(bool(row["thumb"]) for row in rows)
    named_too = f" ({', '.join(faults)})" if faults else ""
    return (
        f"Healthy runs: {len(rows)}, {len(faults)} with a false fault{named_too}. Remedies printed: {len(advice)}; "
        f"lowering the test accuracy beyond noise: {len(harmful)}. False alarms of the rules of thumb: {thumbs}."
    )


def promises(part: list[tuple[Row, Scenario]]) -> str:
    rows = [row for row, _ in part if row.get("gain") is not None]
    if not rows:
        return "No remedy was tried."
    lines = [
        "| remedies | runs | promise less gain on test, points | mean gain | inside the interval | "
        "with test's own noise |",
        "|---|---|---|---|---|---|",
    ]
    for title, advised in (("advised", True), ("tried, but not advised", False)):
        if found := [row for row in rows if row["advised"] == advised]:
            excess = np.asarray([100 * (row["promise"] - row["gain"][0]) for row in found])
            inside, near = (sum(_holds(row, noise) for row in found) for noise in (0, NOISE))
            lines.append(
                f"| {title} | {len(found)} | {excess.mean():+.1f} ({excess.min():+.0f} to {excess.max():+.0f}) | "
                f"{mean(row['gain'][0] for row in found):+.1f} | {inside} of {len(found)} | {near} of {len(found)} |"
            )
    random = [row["random"][0] for row in rows if row.get("random") is not None]
    if random:
        lines.append(f"| at random, in place of the advised | {len(random)} | | {mean(random):+.1f} | | |")
    return "\n".join(lines)


def _holds(row: Row, noise: float) -> bool:
    """Says whether the printed interval, made wider by the noise of the test images, holds the gain on them."""
    gain, error = row["gain"]
    low, high = row["interval"]
    below, above = (np.hypot(end - row["promise"], noise * error) for end in (low, high))
    return bool(row["promise"] - below <= gain <= row["promise"] + above)


def in_spite(part: list[tuple[Row, Scenario]]) -> str:
    """Returns in how many runs a remedy is printed although it is measured on validation images that are wrong."""
    rows = [row for row, scenario in part if scenario.kind == "validation"]
    advised = sum(any(finding["remedy"] for finding in row["findings"]) for row in rows)
    return f"Wrong validation sets with a remedy printed all the same: {advised} of {len(rows)}."


def mean(values: Iterable[float]) -> float:
    found = list(values)
    return 100 * float(np.mean(found)) if found else float("nan")


def misses(done: list[tuple[Row, Scenario]]) -> str:
    lines = ["| run | seed | commit | should be named | was named |", "|---|---|---|---|---|"]
    for row, scenario in sorted(done, key=lambda each: (each[1].name, each[0]["seed"])):
        if scenario.kind != "healthy" and not (score(row, scenario)["all"] and score(row, scenario)["first"]):
            should = " and ".join(" or ".join(answers) for answers in answers_of(scenario))
            said = ", ".join(f"{f['title']} ({f['verdict']})" for f in row["findings"][:4]) or "nothing"
            lines.append(f"| {row['name']} | {row['seed']} | {row['commit']} | {should} | {said} |")
    return "\n".join(lines)
