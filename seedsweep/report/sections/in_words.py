"""The verdict, first: what came out and why, in words."""

from __future__ import annotations

from seedsweep.diagnosis.finding import Verdict
from seedsweep.report.blocks import Section, Text, listed, p_value, percent, span, with_sign
from seedsweep.report.contents import RUN, STUDY, Material
from seedsweep.report.run_in_words import is_trapped, lead_of, of_diverged, of_modes, trap
from seedsweep.report.sections.best_trials import study_in_words
from seedsweep.runs.grid import GAP, SEVERAL, ArmRow, by_data, data_title, has_several
from seedsweep.runs.switches import random_and_frozen

ORDER = 0
MOST_NAMED = 3  # arms in a sentence


def section(material: Material) -> Section | None:
    """Two sentences, of a sweep for each data set; and a warning of nets that were random and frozen."""
    return Section("verdict", "Verdict", [Text(sentence) for sentence in sentences(material)])


def sentences(material: Material) -> list[str]:
    """Returns the verdict, as :func:`section` shows it."""
    if material.kind == STUDY:
        return study_in_words(material) + _audited(material) + _random(material)
    if material.kind != RUN:
        return _of_sweep(material) + _audited(material) + _random(material)
    run = material.best
    assert run is not None
    why = (
        of_diverged(run) if run.is_diverged else _diagnosed(material) or of_modes(run, material.command_line)
    )
    return [lead_of(run), why, *_audited(material), *_random(material)]


def _audited(material: Material) -> list[str]:
    """Returns what the audit found that can move the accuracy by a point or more."""
    if has_several(by_data(material.rows)):
        return []
    loud = [line for line in material.audit.get("lines", []) if line["loud"]]
    how = {"leaks": "too high", "photographs": "too high"}
    return [f"The accuracy may be {how.get(line['kind'], 'wrong')}: {line['short']}" for line in loud][:2]


def _random(material: Material) -> list[str]:
    """Returns a warning for each part of a backbone that began random and was not trained."""
    found: dict[str, list[str]] = {}
    for run in material.runs:
        metrics = run.metrics
        source = (metrics.get("weights") or {}).get("source")
        if what := random_and_frozen(source, bool(metrics.get("frozen")), metrics.get("train_from")):
            found.setdefault(what, []).append(f"`{run.label}`")
    return [f"Warning: of {listed(list(dict.fromkeys(labels)))}, {what}" for what, labels in found.items()]


def _of_sweep(material: Material) -> list[str]:
    done = [row for row in material.rows if row.mean is not None]
    if not done:
        return ["No run of this sweep finished.", "The section on the arms gives the reasons."]
    groups = by_data(material.rows)
    if not has_several(groups):
        return _of_ladder(material) or _of_ranking(material, done)
    said = [SEVERAL]
    for number, group in enumerate(groups, 1):
        title = data_title(number, group)
        ranked = [row for row in group if row.mean is not None]
        if ranked or group[0].held_out is not None:
            said.append(f"{title[:1].upper()}{title[1:]}.")
            said += _of_ranking(material, ranked) if ranked else ["Every run on it diverged."]
    return said


def _of_ranking(material: Material, done: list[ArmRow]) -> list[str]:
    """Returns which of the arms that were judged by the same images is best, and why, or what that is worth."""
    best = done[0]
    lead = f"{best.full_name} classifies {percent(best.mean)} % of the validation images correctly"
    if best.standing:
        lead += f" (95 % interval {span(best.standing.interval)})"
    if best.test_accs:
        lead += f" and {percent(sum(best.test_accs) / len(best.test_accs))} % of the test images"
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
    whole = not has_several(by_data(material.rows))  # else a diagnosis may be of a run of another data set
    return [f"{lead}.", (whole and _diagnosed(material)) or _why_behind(material, done) or _baseline(done)]


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
        behind = _behind(row)
        return f"{row.full_name} {f'{behind}: it ' if behind else ''}{trap(run)}{also}."
    last = done[-1]
    behind = _behind(last) if len(done) > 1 else ""
    return f"Furthest behind is {last.full_name}, which {behind}." if behind else ""


def _behind(row: ArmRow) -> str:
    """Returns by how much an arm is behind; empty where that may be chance, which gets no reason."""
    found = row.standing
    if found is None or found.same is not False or found.behind is None or found.p is None:
        return ""
    return f"is {percent(found.behind.difference.value)} points behind ({p_value(found.p)})"


def _diagnosed(material: Material) -> str:
    """Returns what a diagnosis that found a fault said first; empty if there is none."""
    for found in material.diagnosed:
        faults = [finding for finding in found.findings if finding.verdict is Verdict.FAULT]
        if faults:
            said = found.headline or faults[0].sentence
            return f"`{found.label}`: {said}" if found.label and material.kind != RUN else said
    return ""


def _baseline(done: list[ArmRow]) -> str:
    best = done[0]
    if best.majority is None:
        return "No baseline was measured."
    widest = max(abs(gap) for row in done for gap in row.bn_gaps)
    quiet = f"; in no arm do train mode and eval mode differ by more than {percent(widest)} points"
    return f"Always predicting the largest class reaches {percent(best.majority)} %{quiet if widest <= GAP else ''}."
