"""What is said of one run: how well it classifies, and what train mode and eval mode tell about why."""

from __future__ import annotations

from seedsweep.diagnosis.remedy import CommandLine, proved, saved_whole
from seedsweep.report.blocks import percent, span, with_sign
from seedsweep.runs.grid import GAP
from seedsweep.runs.record import INTERRUPTED, divergence_of
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.switches import Switches
from seedsweep.stats.interval import Interval
from seedsweep.stats.scores import majority_share

OVERFITTED = 0.1  # training less validation accuracy, from which it is reported
CLOSE = 0.03  # of accuracy: training so little above validation is no overfitting


def lead_of(run: RunResult) -> str:
    """Returns a sentence on the accuracies of a run, or on its end."""
    if diverged := divergence_of(run.metrics):
        return f"{run.full_name} {diverged}."
    found = {split: answers.intervals["acc"] for split, answers in run.predictions.items()}
    val, test = run.accuracy("val"), run.accuracy("test")
    lead = f"{run.full_name} {scores_in_words(val, found.get('val'), test, found.get('test'))}"
    if counts := _validation_images(run):
        lead += f", where the largest class alone makes {percent(majority_share(counts))} %"
    if run.metrics.get("status") == INTERRUPTED:
        lead += f"; it was stopped after {run.metrics['epochs']} epochs, before its end"
    return f"{lead}."


def scores_in_words(
    val: float | None, of_val: Interval | None, test: float | None, of_test: Interval | None
) -> str:
    """Returns accuracies on validation and test images, each with its interval, as far as they are known."""
    text = f"classifies {percent(val)} % of the validation images correctly"
    text += f" (95 % interval {span(of_val)})" if of_val else ""
    if test is not None:
        text += f" and {percent(test)} % of the test images" + (f" ({span(of_test)})" if of_test else "")
    return text


def of_diverged(run: RunResult) -> str:
    """Returns what is left of a run whose loss became NaN: of its BatchNorm nothing is known."""
    if run.accuracy("val") is None:
        return "No epoch was finished before that, so there is no checkpoint and no score."
    kept, share = int(run.metrics["best_epoch"]) + 1, percent(run.accuracy("val"))
    return (
        f"The weights of epoch {kept} were kept: they classify {share} % of the validation images correctly."
    )


def is_trapped(run: RunResult) -> bool:
    """Says whether the two modes are apart under batch statistics, and statistics that lag behind can't be why."""
    switches = run.switches
    if abs(run.gap or 0.0) <= GAP or switches is None:
        return False
    return switches.batchnorm.uses_batch and not _may_lag(switches)


def _may_lag(switches: Switches) -> bool:
    """Says whether running statistics follow weights that move."""
    policy = switches.batchnorm
    moves = policy.train_affine or not switches.backbone.freeze
    return policy.uses_batch and policy.update_statistics and moves


def trap(run: RunResult) -> str:
    """Returns what the BatchNorm fault does to a run that shows it; the run is the subject."""
    assert run.last_modes is not None
    train, evaluated = run.last_modes
    return (
        f"classifies {percent(train)} % of its training images correctly in train mode and {percent(evaluated)} % of "
        f"the same images in eval mode{_when(run)}, because its BatchNorm layers normalise with other statistics at "
        "inference than in training"
    )


def of_modes(run: RunResult, said: CommandLine | None) -> str:
    """Returns what training accuracy and bn_gap say about a run's validation accuracy; advice is proved on ``said``."""
    train, val, gap = run.accuracy("train"), run.accuracy("val"), run.gap
    if gap is not None and abs(gap) > GAP:
        return of_gap(run, gap)
    if train is None or val is None:
        return "Accuracy on the training images was not measured, so what holds the run back is not known."
    found = f"It classifies {percent(train)} % of its training images correctly"
    if gap is not None:
        when = ", after the last epoch" if _when(run) else ""
        found += f", the same in both modes within {100 * GAP:.0f} points (bn_gap {with_sign(gap)}{when})"
    if train - val > OVERFITTED:
        found += f", which is {percent(train - val)} points above validation: it overfits, or has too few photographs"
        clear = ", and BatchNorm has no part in it."
        return f"{found}{clear}" if _is_clear(run) else f"{found}; {_unclear(run, said)}."
    if _at_majority(run, val):
        return (
            f"{found}. Its validation accuracy is not clearly above that of always predicting the largest class, and "
            "bn_gap does not show why; `task=diagnose` measures the possible causes (inputs scaled twice, learning "
            "rate, BatchNorm)."
        )
    if train - val > CLOSE:
        found += f", which is {percent(train - val)} points above validation"
        return (
            f"{found}: BatchNorm does not hold it back."
            if _is_clear(run)
            else f"{found}; {_unclear(run, said)}."
        )
    if _is_clear(run):
        return f"{found}: neither overfitting nor BatchNorm holds it back."
    return f"{found}: overfitting does not hold it back; {_unclear(run, said)}."


def of_gap(run: RunResult, gap: float) -> str:
    """Returns what may be the reason of a gap between the two modes."""
    if run.last_modes is None:
        return f"Its accuracy on the training images differs between the two modes (bn_gap {with_sign(gap)})."
    if is_trapped(run):
        return f"It {trap(run)}."
    if run.switches is None:
        why = "how its BatchNorm layers were set is not known, so the reason is not known either"
    elif _may_lag(run.switches):
        why = (
            "BatchNorm's running statistics may lag behind the trained weights (more steps would close the gap), or "
            "its batches may be too small"
        )
    else:
        why = "its BatchNorm layers normalise alike in both, so there is another reason; `task=diagnose` looks for it"
    train, evaluated = map(percent, run.last_modes)
    found = f"It classifies {train} % of its training images correctly in train mode and {evaluated} % in eval mode"
    return f"{found}{_when(run)}: {why}."


def _when(run: RunResult) -> str:
    """Says that the two modes were measured with other weights than those that were kept; empty where they were not."""
    kept, epochs = run.metrics.get("best_epoch"), run.metrics.get("epochs")
    if kept is None or epochs is None or kept + 1 == epochs:
        return ""
    return f" after the last epoch (epoch {kept + 1} was kept)"


def _is_clear(run: RunResult) -> bool:
    """Says whether the run can't have a BatchNorm fault: no such layers, or the weights' own statistics always."""
    if run.switches is None:
        return False
    policy = run.switches.batchnorm
    if policy.layers == 0:
        return True
    return not (policy.uses_batch or policy.train_affine or policy.recalibrate or _never_measured(run))


def _never_measured(run: RunResult) -> bool:
    """Says whether a net that began at random normalises with the statistics that it began with."""
    if run.switches is None or not _began_at_random(run):
        return False
    policy = run.switches.batchnorm
    return policy.layers != 0 and not (policy.uses_batch or policy.update_statistics or policy.recalibrate)


def _began_at_random(run: RunResult) -> bool:
    return bool((run.metrics.get("weights") or {}).get("source") == "none")


def _unclear(run: RunResult, said: CommandLine | None) -> str:
    """Returns why BatchNorm is not ruled out: statistics that moved are the same in both modes, but may be worse."""
    under = f"BatchNorm under `{run.switches.batchnorm.policy}`" if run.switches else "BatchNorm"
    if _never_measured(run):
        remedy = proved(["batchnorm=train"], saved_whole(run.folder), said)
        rival = f": compare with `{' '.join(remedy)}`" if remedy else ""
        return (
            "its BatchNorm layers normalise with the mean 0 and variance 1 that a random net begins with, which no "
            f"image was measured for{rival}"
        )
    if _began_at_random(run):
        rival = "another `data.batch_size`"
    else:
        remedy = proved(["batchnorm=inference"], saved_whole(run.folder), said)
        rival = f"`{' '.join(remedy)}`" if remedy else ""
    compare = f": compare with {rival}" if rival else ""
    if run.gap is None:
        return f"bn_gap was not measured, so {under} is not ruled out{compare}"
    return f"that both modes agree does not rule {under} out{compare}"


def _at_majority(run: RunResult, val: float) -> bool:
    """Says whether a run can't be told from one that always predicts the largest class."""
    counts = _validation_images(run)
    low = run.predictions["val"].intervals["acc"].low if "val" in run.predictions else val
    return bool(counts) and low <= majority_share(counts)


def _validation_images(run: RunResult) -> dict[str, int]:
    """Returns the numbers of validation images by class; empty where the record does not tell."""
    return (run.metrics.get("images") or {}).get("val") or {}
