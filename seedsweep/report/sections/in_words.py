"""The verdict, first: what came out and why, in words."""

from __future__ import annotations

from statistics import fmean

from seedsweep.report.blocks import Block, Code, Section, Text, listed, percent, span, with_sign
from seedsweep.report.contents import RUN, STUDY, SWEEP, Material
from seedsweep.report.next_command import next_command
from seedsweep.report.run_in_words import is_trapped, lead_of, of_diverged, of_modes, scores_in_words, trap
from seedsweep.report.sections.best_trials import study_in_words
from seedsweep.report.sections.diagnosis import diagnosed_in_words
from seedsweep.report.unseen_of_arms import unseen_of
from seedsweep.report.why_behind import behind_in_words
from seedsweep.runs.grid import GAP, SEVERAL, ArmRow, by_data, has_several, test_interval
from seedsweep.runs.switches import random_and_frozen

ORDER = 0
MOST_NAMED = 3  # arms in a sentence


def section(material: Material) -> Section | None:
    """Two sentences, and what to run next."""
    blocks: list[Block] = [Text(sentence) for sentence in sentences(material)]
    if line := next_command(material):
        blocks += [Text("What to run next:", small=True), Code(line)]
    return Section("verdict", "Verdict", blocks)


def sentences(material: Material) -> list[str]:
    """Returns the verdict: how good it is, and what matters most beside that; two sentences at most."""
    if material.kind == STUDY:
        lead, why = study_in_words(material)
        return [lead, _random(material) or _too_high(material) or why]
    if material.kind != RUN:
        return _of_sweep(material)
    run = material.best
    assert run is not None
    if run.is_diverged:
        return [lead_of(run), of_diverged(run)]
    first = _random(material) or _too_high(material) or diagnosed_in_words(material.diagnosed)
    return [lead_of(run), first or of_modes(run, material.command_line)]


def _too_high(material: Material) -> str:
    """Returns what is likely on unseen photographs; else what the audit found that moves the accuracy by a point."""
    run = material.best
    if material.kind != SWEEP and run is not None and run.unseen is not None:
        return run.unseen.short
    if measured := unseen_of(material.rows, material.runs):
        return measured[0].short
    loud = [line for line in material.audit.get("lines", []) if line["loud"]]
    how = {"leaks": "too high", "photographs": "too high"}
    return next(
        (f"The accuracy may be {how.get(each['kind'], 'wrong')}: {each['short']}" for each in loud), ""
    )


def _random(material: Material) -> str:
    """Returns a warning of the parts of backbones that began random and were not trained; empty: there are none."""
    found: dict[str, list[str]] = {}
    for run in material.runs:
        metrics = run.metrics
        source = (metrics.get("weights") or {}).get("source")
        if what := random_and_frozen(source, bool(metrics.get("frozen")), metrics.get("train_from")):
            found.setdefault(what, []).append(f"`{run.label}`")
    parts = [
        f"of {listed(list(dict.fromkeys(labels)))}, {what.rstrip('.')}" for what, labels in found.items()
    ]
    return f"Warning: {'; '.join(parts)}." if parts else ""


def _of_sweep(material: Material) -> list[str]:
    done = [row for row in material.rows if row.mean is not None]
    if not done:
        return ["No run of this sweep finished.", "The section on the arms gives the reasons."]
    groups = by_data(material.rows)
    if has_several(groups):
        ranked = [[row for row in group if row.mean is not None] for group in groups]
        best = [
            f"on data set {number} `{rows[0].label}` {_scores(material, rows[0])}"
            if rows
            else f"on data set {number} every run diverged"
            for number, rows in enumerate(ranked, 1)
            if rows or groups[number - 1][0].held_out is not None
        ]
        return [SEVERAL, f"The best: {'; '.join(best)}."]
    if ladder := _of_ladder(material):
        return ladder
    first = _random(material) or _too_high(material) or diagnosed_in_words(material.diagnosed)
    return [ranking_in_words(material, done), first or _why_behind(material, done) or _baseline(done)]


def ranking_in_words(material: Material, done: list[ArmRow]) -> str:
    """Returns which of the arms that were judged by the same images is best, and which are as good."""
    best = done[0]
    lead = f"{best.full_name} {_scores(material, best)}"
    clean = [row for row in done if not row.diverged]  # an arm with a diverged run is never before these
    if clean and len(clean) < len(done):
        arms = f"the best of the {len(clean)} arms" if len(clean) > 1 else "the only arm"
        lead += f", {arms} of which no run diverged"
    elif len(done) > 1:
        lead += f", the best of {len(done)} arms" if len(done) > 2 else ", the better of two arms"
    same = [row for row in done[1:] if row.standing and row.standing.same]
    for is_level, how in ((True, "equal"), (False, "as good within noise")):
        if names := [f"`{row.label}`" for row in same if _is_level(row) == is_level]:
            shown = listed(names) if len(names) <= MOST_NAMED else f"{len(names)} others"
            lead += f"; {shown} {'is' if len(names) == 1 else 'are'} {how}"
    if n := len(best.diverged):
        runs = n + len(best.val_accs) + len(best.failures)
        lead += f"; {n} of the {runs} runs of `{best.label}` diverged"
    return f"{lead}."


def _scores(material: Material, row: ArmRow) -> str:
    """Returns what an arm does: its accuracy on validation and test images, each with its interval."""
    of_val = row.standing.interval if row.standing else None
    if row.over:
        spans = f" (95 % interval {span(of_val)})" if of_val else ""
        what = "images" if row.over.is_whole else f"images of {len(row.over.folds)} folds"
        return f"classifies {percent(row.mean)} % of the {what} correctly{spans}, each unseen in training"
    test = fmean(row.test_accs) if row.test_accs else None
    return scores_in_words(row.mean, of_val, test, test_interval(material.of_row(row)))


def _is_level(row: ArmRow) -> bool:
    """Says whether the arm classifies exactly as many images correctly as the best."""
    behind = row.standing.behind if row.standing else None
    return behind is not None and abs(behind.difference.value) < 1e-9


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
    return [lead, f"The greatest: {max(steps, key=lambda rung: float(rung['delta']))['sentence']}"]


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
        behind = behind_in_words(row)
        return f"{row.full_name} {f'{behind}: it ' if behind else ''}{trap(run)}{also}."
    last = done[-1]
    behind = behind_in_words(last) if len(done) > 1 else ""
    return f"Furthest behind is {last.full_name}, which {behind}." if behind else ""


def _baseline(done: list[ArmRow]) -> str:
    best = done[0]
    if best.majority is None:
        return "No baseline was measured."
    widest = max(abs(gap) for row in done for gap in row.bn_gaps)
    quiet = f"; in no arm do train mode and eval mode differ by more than {percent(widest)} points"
    return f"Always predicting the largest class reaches {percent(best.majority)} %{quiet if widest <= GAP else ''}."
