"""How long a study will take: a few trials of its space are measured, and the mean of them stands for all."""

from __future__ import annotations

import time
from dataclasses import replace

from optuna import create_study
from optuna.samplers import RandomSampler

from seedsweep.cli.forecast import CLOSING, MEASURING, is_short, measured
from seedsweep.runs.duration import Clock, Pace
from seedsweep.study.plan import Plan, StudyTime
from seedsweep.study.space import dimensions, suggest
from seedsweep.training.options import ArmSettings

DRAWN = 3  # of the space, to measure
PICTURES = 4  # times as much is drawn at the end of a study as at that of a grid
TRIAL, AGAIN = "a trial", "trained again"


def measure_study(plan: Plan, n: int, clock: Clock, forecast: str) -> float | None:
    """Measures a few trials of a study, drawn from its space: the mean of them stands for all.

    Args:
        plan: the study; with a limit of the clock, its time is put there.
        n: trials to go.
        clock: of the call.
        forecast: auto measures no short study; off prints nothing.

    Returns:
        The seconds of all that is to go; None where no trial was measured.
    """
    usual = plan.compose([])
    if (
        forecast == "auto"
        and not clock.ends
        and is_short([usual] * (n + plan.study.most_again), plan.session)
    ):
        return None
    started = time.monotonic()
    print("measuring the trials ...", flush=True)
    study = create_study(sampler=RandomSampler(seed=plan.study.seed))
    arms: dict[str, ArmSettings] = {"as it stands": usual}
    for number in range(DRAWN):
        arms[f"drawn {number}"] = plan.compose(suggest(study.ask(), dimensions(plan.study)))
    found = measured(arms, plan.session, MEASURING * clock.seconds)
    found.closing *= PICTURES
    paces = list(found.paces.values())
    runs = [TRIAL] * n + [AGAIN] * plan.study.most_again
    if paces:
        k, speeds = len(paces), [pace.images_per_second for pace in paces if pace.images_per_second]
        trial = Pace(
            max(pace.epochs for pace in paces),
            sum(pace.epoch for pace in paces) / k,
            sum(pace.setup for pace in paces) / k,
            sum(pace.ending for pace in paces) / k,
            {what: seconds for pace in paces for what, seconds in pace.once.items()},
            sum(speeds) / len(speeds) if speeds else None,
        )
        found = replace(found, paces={TRIAL: trial, AGAIN: trial}, pictures=0.0)  # a trial draws none
    total = found.total(runs) if paces else None
    if forecast != "off":
        found.show(runs, time.monotonic() - started)
    if clock.ends:
        plan.time = StudyTime(clock, found.run(TRIAL), found.closing + CLOSING * clock.seconds)
    return total
