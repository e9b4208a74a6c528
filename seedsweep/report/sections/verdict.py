"""The verdict, first: two sentences from what was measured."""

from __future__ import annotations

from typing import Any

from seedsweep.diagnosis.finding import Verdict
from seedsweep.errors import DivergedError
from seedsweep.report.blocks import Section, Text
from seedsweep.report.contents import RUN, STUDY, Material, findings_of
from seedsweep.report.modes import is_trapped, of_modes, trap
from seedsweep.report.text import code, listed, p_value, percent, short, span, with_sign
from seedsweep.runs.grid import GAP, SEVERAL, ArmRow, by_data, data_title, has_several
from seedsweep.runs.record import METRICS, divergence_of
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.summary import random_and_frozen
from seedsweep.stats.scores import majority_share

ORDER = 0
MOST_NAMED = 3  # arms in a sentence


def section(material: Material) -> Section | None:
    """Two sentences."""
    return Section("verdict", "Verdict", [Text(sentence) for sentence in sentences(material)])


def sentences(material: Material) -> list[str]:
    """Returns what came out and why, of a sweep for each data set; and warns of nets that were random and frozen."""
    of_kind = {STUDY: _of_study, RUN: _of_run}.get(material.kind, _of_sweep)
    return of_kind(material) + _random(material)


def _random(material: Material) -> list[str]:
    """Returns a warning for each part of a backbone that began random and was not trained."""
    found: dict[str, list[str]] = {}
    for run in material.runs:
        metrics = run.metrics
        source = (metrics.get("weights") or {}).get("source")
        if told := random_and_frozen(source, bool(metrics.get("frozen")), metrics.get("train_from")):
            labels = found.setdefault(told, [])
            labels += [] if f"`{run.label}`" in labels else [f"`{run.label}`"]
    return [f"Warning: of {listed(labels)}, {told}" for told, labels in found.items()]


def _of_sweep(material: Material) -> list[str]:
    done = [row for row in material.rows if row.mean is not None]
    if not done:
        return ["No run of this sweep finished.", "The section on the arms gives the reasons."]
    groups = by_data(material.rows)
    if has_several(groups):
        told = [SEVERAL]
        for number, group in enumerate(groups, 1):
            title = data_title(number, group)
            ranked = [row for row in group if row.mean is not None]
            if ranked or group[0].held_out is not None:
                told.append(f"{title[:1].upper()}{title[1:]}.")
                told += _of_ranking(material, ranked) if ranked else ["Every run on it diverged."]
        return told
    return _of_ladder(material) or _of_ranking(material, done)


def _of_ranking(material: Material, done: list[ArmRow]) -> list[str]:
    """Returns which of the arms that were judged by the same images is best, and why, or what that is worth."""
    best = done[0]
    lead = f"{best.full_name} classifies {percent(best.mean)} % of the validation images correctly{_interval(best)}"
    if best.test_accs:
        lead += f" and {percent(sum(best.test_accs) / len(best.test_accs))} % of the test images"
    same = [f"`{row.label}`" for row in done[1:] if row.standing and row.standing.same]
    clean = [row for row in done if not row.diverged]  # an arm with a diverged run is never before these
    if clean and len(clean) < len(done):
        arms = f"the best of the {len(clean)} arms" if len(clean) > 1 else "the only arm"
        lead += f", {arms} of which no run diverged"
    elif len(done) > 1:
        lead += f", the best of {len(done)} arms" if len(done) > 2 else ", the better of two arms"
    level = [row for row in done[1:] if row.standing and row.standing.same and _is_level(row)]
    equal = [f"`{row.label}`" for row in level]
    same = [name for name in same if name not in equal]
    for names, how in ((equal, "equal"), (same, "as good within noise")):
        if names:
            shown = listed(names) if len(names) <= MOST_NAMED else f"{len(names)} others"
            lead += f"; {shown} {'is' if len(names) == 1 else 'are'} {how}"
    if n := len(best.diverged):
        runs = n + len(best.val_accs) + len(best.failures)
        lead += f"; {n} of the {runs} runs of `{best.label}` diverged"
    whole = not has_several(by_data(material.rows))  # else a diagnosis may be of a run of another data set
    return [f"{lead}.", (whole and _diagnosed(material)) or _why_behind(material, done) or _baseline(done)]


def _of_ladder(material: Material) -> list[str]:
    """Returns from where to where the ladder leads, and its greatest step; nothing where there is none."""
    rungs = [
        rung
        for rung in material.ladder.get("rungs") or []
        if rung.get("on_path") and rung.get("mean") is not None
    ]
    if len(rungs) < 2:
        return []
    first, last = rungs[0], rungs[-1]
    lead = (
        f"From {percent(first['mean'])} % ({first['label']}) to {percent(last['mean'])} % of the validation images "
        f"({last['label']}): {with_sign(last['mean'] - first['mean'])} points in {len(rungs) - 1} steps."
    )
    steps = [rung for rung in rungs if rung.get("delta") is not None and rung.get("sentence")]
    if not steps:
        return [lead]
    greatest = max(steps, key=lambda rung: float(rung["delta"]))
    return [lead, f"The greatest: {greatest['sentence']}"]


def _why_behind(material: Material, done: list[ArmRow]) -> str:
    """Tells the BatchNorm fault, where it is the reason of an arm's place; or else the arm that is furthest behind."""
    trapped = []
    for row in done:
        run = next((run for run in material.of_row(row) if run.last_modes), None)
        if run is not None and is_trapped(run):
            trapped.append((row, run))
    if trapped:
        row, run = max(trapped, key=lambda pair: abs(pair[1].gap or 0.0))
        others = [f"`{other.label}`" for other, _ in trapped if other is not row]
        also = f"; so do those of {listed(others)}" if others else ""
        # a difference that may be chance gets no reason
        behind = _behind(row) if row.standing and row.standing.same is False else ""
        return f"{row.full_name} {f'{behind}: it ' if behind else ''}{trap(run)}{also}."
    last = done[-1]
    if len(done) > 1 and last.standing and last.standing.same is False:
        return f"Furthest behind is {last.full_name}, which {_behind(last)}."
    return ""


def _of_run(material: Material) -> list[str]:
    run = material.best
    assert run is not None
    if diverged := divergence_of(run.metrics):
        return _of_diverged(run, diverged)
    lead = f"{run.full_name} classifies {percent(run.accuracy('val'))} % of the validation images correctly"
    if "val" in run.predictions:
        found = run.predictions["val"].intervals["acc"]
        lead += f" (95 % interval {span(found)})"
    if (test := run.accuracy("test")) is not None:
        lead += f" and {percent(test)} % of the test images"
    counts = (run.metrics.get("images") or {}).get("val")
    if counts:
        lead += f", where the largest class alone makes {percent(majority_share(counts))} %"
    return [f"{lead}.", _diagnosed(material) or of_modes(run, material.said)]


def _of_diverged(run: RunResult, diverged: DivergedError) -> list[str]:
    """Returns what is known of a run whose loss became NaN: of its BatchNorm that is nothing."""
    lead = f"{run.full_name} {diverged}."
    if run.accuracy("val") is None:
        return [
            lead,
            "No epoch was finished before that, so there is no checkpoint and no score.",
        ]
    kept, share = int(run.metrics["best_epoch"]) + 1, percent(run.accuracy("val"))
    return [
        lead,
        f"The weights of epoch {kept} were kept: they classify {share} % of the validation images correctly.",
    ]


def _of_study(material: Material) -> list[str]:
    result = material.result
    winner: dict[str, Any] = result.get("winner", {})
    metric = METRICS.get(str(result.get("metric")), str(result.get("metric")))
    n = sum(int(count) for count in result.get("trials", {}).values())
    settings = ", ".join(code(map(short, winner.get("settings", [])))) or "the settings it began with"
    seeds = len(winner.get("values", []))
    lead = (
        f"Of {n} trials, {settings} won: validation {metric} {percent(winner.get('mean'))} %, the mean of "
        f"{seeds} fresh {'seed' if seeds == 1 else 'seeds'}"
    )
    test = winner.get("test", {})
    if "acc" in test:
        met = "on which earlier winners were scored, too" if test.get("met_before_by") else "scored once"
        lead += f", and {percent(test['acc']['mean'])} % of the test images, {met}"
    return [f"{lead}.", _against_start(material, metric)]


def _against_start(material: Material, metric: str) -> str:
    finalists = material.result.get("finalists", [])
    start = next((finalist for finalist in finalists if finalist.get("reference")), None)
    winner = material.result.get("winner", {})
    if start is None or not finalists:
        promised = winner.get("value_in_study")
        if promised is None:
            return "No other setting was trained again."
        return (
            f"In the study itself it reached {percent(promised)} %: the best of many trials is partly luck, which "
            "fresh seeds leave out."
        )
    if start["trial"] == winner.get("trial"):
        return "That is the setting the study began with: no other was better once trained again with fresh seeds."
    gain = winner["mean"] - start["mean"]
    found = _compare_finalists(material, winner, start)
    return (
        f"The setting the study began with reaches {percent(start['mean'])} % with as many fresh seeds, "
        f"{with_sign(-gain).lstrip('−')} points less{found}."
    )


def _compare_finalists(material: Material, winner: dict[str, Any], start: dict[str, Any]) -> str:
    import numpy as np

    from seedsweep.stats.pairs import compare

    def right(trial: int) -> Any:
        runs = material.of_arm(f"trial {trial}")
        return [run.predictions["val"].correct for run in runs if "val" in run.predictions]

    ours, theirs = right(winner["trial"]), right(start["trial"])
    pairs = min(len(ours), len(theirs))
    if not pairs or len({len(row) for row in [*ours, *theirs]}) != 1:
        return ""
    groups = next(run.predictions["val"].groups for run in material.runs if "val" in run.predictions)
    found = compare(np.stack(ours[:pairs]), np.stack(theirs[:pairs]), groups)
    if found.p > 0.05:
        return f"; in accuracy the two are the same within noise ({p_value(found.p)})"
    return f"; in accuracy the difference is more than noise ({p_value(found.p)})"


def _interval(row: ArmRow) -> str:
    return f" (95 % interval {span(row.standing.interval)})" if row.standing else ""


def _is_level(row: ArmRow) -> bool:
    """Says whether the arm classifies exactly as many images correctly as the best."""
    behind = row.standing.behind if row.standing else None
    return behind is not None and abs(behind.difference.value) < 1e-9


def _behind(row: ArmRow) -> str:
    if row.standing is None or row.standing.behind is None or row.standing.p is None:
        return ""
    points = percent(row.standing.behind.difference.value)
    return f"is {points} points behind ({p_value(row.standing.p)})"


def _diagnosed(material: Material) -> str:
    """Returns what a diagnosis that found a fault said first; empty if there is none."""
    for name, _, content in material.diagnosed:
        faults = [finding for finding in findings_of(content) if finding.verdict is Verdict.FAULT]
        if faults:
            said = str(content.get("headline") or faults[0].sentence)
            return f"`{name}`: {said}" if name and material.kind != RUN else said
    return ""


def _baseline(done: list[ArmRow]) -> str:
    best = done[0]
    if best.majority is None or best.mean is None:
        return "No baseline was measured."
    gaps = [abs(gap) for row in done for gap in row.bn_gaps]
    quiet = (
        f"; in no arm do train mode and eval mode differ by more than {percent(max(gaps))} points"
        if max(gaps) <= GAP
        else ""
    )
    return f"Always predicting the largest class reaches {percent(best.majority)} %{quiet}."
