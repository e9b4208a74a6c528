"""Learning rate: too high, too low, or about right for this head on these images?"""

from __future__ import annotations

import math
from pathlib import Path

from seedsweep.diagnosis.charts import finish, saved
from seedsweep.diagnosis.checks.head import at_rates, defaults, is_as_good
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.other_inputs import Sample
from seedsweep.diagnosis.probes import paired_error, standard_error
from seedsweep.diagnosis.rehearsals import QUICK, Rehearsal
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import GREY, TRAP, VAL, figure
from seedsweep.models.classifier import FeatureNet

CHECK = Check(
    "learning_rate",
    "Learning rate",
    50,
    "The run's own head trained anew at learning rates from 1e-6 to 1 on the features of the corrected net, with the "
    "run's optimiser, batch size and epochs; and how the run's own losses moved.",
    on_validation=True,
)
SOME, CLEAR = 0.05, 0.08  # of accuracy, and
SOME_SIGMA, CLEAR_SIGMA = 2.0, 3.0  # standard errors: the best of seven rates is a little lucky
CERTAIN = 0.01  # the p value of features that a training has spoilt, and
LOOKED_AT = 400  # images
STILL = 0.10  # of the loss: a run that lowers it by less has hardly moved


def check(subject: Subject, folder: Path) -> Finding:
    """Runs the range test and reads the history."""
    chosen, clean = subject.config.optim.lr, subject.clean_config
    rates, tried, place = at_rates(subject)
    accs, best, found = [each.acc for each in tried], rates[place], tried[place]
    own = tried[rates.index(chosen)]
    if not own.whole and chosen < best:  # with all its epochs a low rate may get there
        own = subject.rehearse(clean)
    gain = found.acc - own.acc
    error = paired_error(found.predicted, own.predicted, subject.material.val_labels.numpy())
    moved = history_kind(subject.epochs, len(subject.material.classes))
    evidence: Evidence = {
        "chosen": chosen,
        "rates": rates,
        "val_acc": accs,
        "best": best,
        "gain": gain,
        "standard_error": error,
        "history": moved,
        "epochs_rehearsed": len(own.history),
        "all_epochs": int(own.whole),
    }
    remedy: list[str] = []
    if not subject.is_frozen:
        verdict, text = _of_training(subject, moved)
    elif gain >= max(SOME, SOME_SIGMA * error) and (other := _other_cause(subject, found)):
        verdict = Verdict.FINE
        text = f"{chosen:g} is in order: {other}; as it is, {_compared(own, chosen, found, best)}."
    elif gain >= max(SOME, SOME_SIGMA * error):
        reached = own.acc if subject.val_acc is None else subject.val_acc
        too_short = chosen < best and not own.whole and reached >= found.acc - SOME
        clear = gain >= max(CLEAR, CLEAR_SIGMA * error) and not too_short
        what = "low: the head hardly moves" if chosen < best else "high: the head jumps about"
        verdict = Verdict.FAULT if clear else Verdict.SUSPECT
        text, remedy = (
            f"{chosen:g} is too {what}; {_compared(own, chosen, found, best)}.",
            [f"optim.lr={best:g}"],
        )
    elif moved == "diverged":
        verdict, remedy = Verdict.SUSPECT, [f"optim.lr={chosen / 10:g}"]
        text = f"The run's loss grew or was no number; yet {_compared(own, chosen, found, best)}."
    elif gain >= SOME:
        verdict = Verdict.UNKNOWN
        n = len(subject.material.val_labels)
        text = f"{n} validation images can't tell these rates apart: {_compared(own, chosen, found, best)}."
    else:
        verdict = Verdict.FINE
        text = f"{chosen:g} stands on the plateau: {_compared(own, chosen, found, best)}."
        if best == chosen:
            text = (
                f"{chosen:g} is the best of those tried on the features of the corrected net ({own.acc:.0%})."
            )
    return CHECK.found(verdict, text, evidence, remedy, picture=_draw(rates, accs, chosen, folder))


def _compared(own: Rehearsal, chosen: float, found: Rehearsal, best: float) -> str:
    return (
        f"on the features of the corrected net the same head gets {own.acc:.0%} with {chosen:g} and {found.acc:.0%} "
        f"with {best:g}"
    )


def _other_cause(subject: Subject, found: Rehearsal) -> str:
    """Says with which defaults of other settings the run's own rate is as good as the best; empty: with none."""
    clean = subject.clean_config
    for line in defaults(clean, subject.material.n_train):
        tried = subject.rehearse(apply(clean, [line]), QUICK)
        if is_as_good(tried, found, subject):
            return f"with {line} the head gets {tried.acc:.0%}"
    return ""


def history_kind(rows: list[dict[str, float]], n_classes: int) -> str:
    """Names how the training loss moved: unknown, diverged, no_progress or falling."""
    losses = [row.get("train/loss", math.nan) for row in rows]
    if not losses:
        return "unknown"
    uniform = math.log(n_classes)  # the loss of giving all classes the same probability
    if not all(math.isfinite(loss) for loss in losses) or losses[-1] > max(1.5 * losses[0], 1.5 * uniform):
        return "diverged"
    if min(losses) > (1 - STILL) * uniform and losses[-1] > (1 - STILL) * losses[0]:
        return "no_progress"
    return "falling"


def _of_training(subject: Subject, moved: str) -> tuple[Verdict, str]:
    """Judges a run that trained more than its head: a range test of the head says nothing about it."""
    chosen = subject.config.optim.lr
    if moved == "diverged":
        return Verdict.FAULT, f"The loss grew or was no number: {chosen:g} is too high for this net."
    if moved == "unknown":
        text = f"No losses of a training are known, and a range test of the head alone can't tell whether {chosen:g} "
        return Verdict.UNKNOWN, f"{text}suits a net whose layers are trained."
    text = _against_guessing(subject)
    probe, acc = subject.probe.acc, subject.val_acc
    if subject.net is None or acc is None or subject.clean_config.backbone.weights == "none":
        low = Verdict.SUSPECT if moved == "no_progress" else Verdict.FINE
        return low, f"{text}; with {chosen:g} it {'hardly moved' if low is Verdict.SUSPECT else 'fell'}."
    below = probe - acc
    sure = CLEAR_SIGMA * (standard_error(probe, subject.n_val) + standard_error(acc, subject.n_val)) / 2**0.5
    text = f"{text}; the net gets {acc:.0%}, and a linear probe on the net before the training {probe:.0%}"
    if below < max(CLEAR, sure):
        return Verdict.FINE, f"{text}: {chosen:g} is in order."
    sample = Sample.of(subject, LOOKED_AT)
    trained = FeatureNet(subject.net.preprocess, subject.net.backbone)
    tried = sample.compare(
        sample.passed((pixels for _, pixels in sample.pixels()), trained), sample.as_they_are()
    )
    kept = f"On the features of the net before the training, not after, a probe gets {tried}."
    if tried.gain >= SOME and tried.change.p < CERTAIN:
        return Verdict.FAULT, f"{text}: {chosen:g} is too high, and has spoilt the weights. {kept}"
    if moved == "no_progress":
        return Verdict.FAULT, f"{text}: {chosen:g} is too low, or the epochs are too few. {kept}"
    spoilt = f"That the training has spoilt the weights is not beyond chance. {kept}"
    return (
        Verdict.UNKNOWN,
        f"{text}. {spoilt} Whether more epochs or another rate help, only a training can tell.",
    )


def _against_guessing(subject: Subject) -> str:
    """Says how the validation loss compares with that of guessing."""
    losses = [row["val/loss"] for row in subject.epochs if math.isfinite(row.get("val/loss", math.nan))]
    n = len(subject.material.classes)
    guessing = f"giving all {n} classes the same probability costs {math.log(n):.2f}"
    return (
        f"The lowest validation loss is {min(losses):.2f}; {guessing}"
        if losses
        else f"No validation loss is known; {guessing}"
    )


def _draw(rates: list[float], accs: list[float], chosen: float, folder: Path) -> Path:
    made = figure(7, 3.6)
    axes = made.subplots()
    axes.semilogx(rates, accs, "o-", color=VAL)
    axes.axvline(chosen, color=GREY, linestyle=":", linewidth=1)
    own = accs[rates.index(chosen)]
    axes.plot([chosen], [own], "o", ms=11, mfc="none", mec=TRAP, mew=2, label=f"this run: {chosen:g}")
    finish(axes, "Validation accuracy of the head on the corrected net's features", "learning rate", 1.02)
    return saved(made, folder, "learning_rate.png")
