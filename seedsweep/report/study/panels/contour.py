"""Learning rate against width: how the value depends on both."""

from __future__ import annotations

import warnings
from typing import no_type_check

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from seedsweep.report.study.axes import COLOURS, PALE, norm, ring, scale
from seedsweep.report.study.trials import NothingToDrawError, Parameter, Trials, score, title
from seedsweep.report.style import INK, figure, tidy

WANTED = ("optim.lr", "head.width")
LEAST = 8  # finished trials for a surface; below, the trials alone are drawn
MOST = 400  # trials that the surface is fitted to: the fit grows with their cube
STEPS = 80
FAR = 0.22  # from every trial, in shares of an axis: there nothing is shown

# the trials' colours, but lighter: dots of the surface's own value still stand out
LIGHTER = LinearSegmentedColormap.from_list("surface", ["#f6f1e7", "#cfdfd9", "#86b5ba", "#4a8f98"])

Array = NDArray[np.float64]


def draw(trials: Trials) -> Figure:
    """Draws the trials, and a surface through them.

    The surface is a Gaussian process over the two settings alone (scikit-learn; squared exponential with a length
    for each, and noise, which takes up what the other settings do), fitted to finished trials. Where none is near it
    is left white.
    """
    x, y = _pair(trials.parameters)
    finished = [t for t in trials.finished if x.name in t.params and y.name in t.params]
    if len(finished) < 2:
        raise NothingToDrawError(f"fewer than two finished trials have {x.name} and {y.name}.")
    made = figure(8.4, 6)
    axes = made.subplots()
    colours = norm(trials)
    surface = _surface(x, y, finished)
    if surface is not None:
        across, up, mean, distance = surface
        near = mean[distance < FAR]
        low, high = float(np.quantile(near, 0.1)), max(float(near.max()), float(colours.vmax or 0))
        colours = Normalize(min(low, high - 1e-3), high, clip=True)
        # many levels for colour, few lines to read
        levels = np.linspace(float(colours.vmin or 0), high, 30)
        axes.contourf(across, up, mean, levels=levels, cmap=LIGHTER, norm=colours, extend="both", zorder=0)
        shown = np.where(distance < FAR, mean, np.nan)  # or numbers of lines would stand in the white
        lines = axes.contour(across, up, shown, levels=levels[4::5], colors="white", linewidths=0.9, zorder=1)
        axes.clabel(lines, fontsize=8, colors=INK, fmt="%.2f" if high - low > 0.06 else "%.3f")
        axes.contourf(across, up, distance, levels=[FAR, 9], colors="white", zorder=2)
    pruned = [t for t in trials.pruned if x.name in t.params and y.name in t.params]
    axes.scatter(
        [t.params[x.name] for t in pruned], [t.params[y.name] for t in pruned],
        s=26, facecolors="white", edgecolors=PALE if surface is None else "#8f8f8f", linewidths=1, zorder=3,
    )  # fmt: skip
    dots = axes.scatter(
        [t.params[x.name] for t in finished], [t.params[y.name] for t in finished],
        c=[score(t) for t in finished], cmap=COLOURS, norm=colours, s=58, edgecolors="white", linewidths=1.1, zorder=4,
    )  # fmt: skip
    best = max(finished, key=score)
    ring(axes, best.params[x.name], best.params[y.name])
    axes.annotate(
        f"{title(best)}: {score(best):.3f}", (best.params[x.name], best.params[y.name]), xytext=(8, 8),
        textcoords="offset points", fontsize=9, color=INK, zorder=7,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5},
    )  # fmt: skip
    bar = made.colorbar(dots, ax=axes, pad=0.01, aspect=30, extend="min")
    bar.set_label(trials.metric, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]
    tidy(axes, f"{trials.metric} over {x.name} and {y.name}")
    axes.grid(visible=False)
    if pruned:
        axes.text(
            1,
            1.02,
            f"white dots: {len(pruned)} pruned",
            transform=axes.transAxes,
            ha="right",
            fontsize=9,
            color=INK,
        )
    scale(axes, "x", x)
    scale(axes, "y", y)
    return made


def _pair(parameters: list[Parameter]) -> tuple[Parameter, Parameter]:
    """Returns learning rate and width, or the first two numbers if they were not varied."""
    numbers = [p for p in parameters if not p.choices]
    chosen = [p for name in WANTED for p in numbers if p.name == name]
    chosen += [p for p in numbers if p not in chosen]
    if len(chosen) < 2:
        raise NothingToDrawError("fewer than two numbers vary.")
    return chosen[0], chosen[1]


def _surface(
    x: Parameter, y: Parameter, finished: list[FrozenTrial]
) -> tuple[Array, Array, Array, Array] | None:
    """Returns x [S], y [S], values [S, S] and distances to the nearest trial [S, S]; None for too few trials."""
    values = np.array([score(t) for t in finished])
    if len(finished) < LEAST or np.ptp(values) == 0:
        return None
    kept = np.unique(np.linspace(0, len(finished) - 1, min(len(finished), MOST)).round().astype(int))
    points = np.array([[p.unit(finished[n].params[p.name]) for p in (x, y)] for n in kept])
    side = np.linspace(0, 1, STEPS)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    mean = _smooth(points, values[kept], grid)
    distance = np.sqrt(((grid[:, None] - points[None]) ** 2).sum(-1)).min(1)
    return _values(x, side), _values(y, side), mean.reshape(STEPS, STEPS), distance.reshape(STEPS, STEPS)


@no_type_check  # scikit-learn has no types
def _smooth(points: Array, values: Array, grid: Array) -> Array:
    """Returns the mean [G] of a Gaussian process through values [N] at points [N, 2], on a grid [G, 2]."""
    kernel = ConstantKernel(1.0, (0.05, 20)) * RBF([0.5, 0.5], (0.15, 3)) + WhiteKernel(0.1, (1e-3, 2))
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a length at its bound is an answer too: that setting hardly matters
        return process.fit(points, values).predict(grid)


def _values(parameter: Parameter, unit: Array) -> Array:
    if parameter.log:
        return np.asarray(parameter.low * (parameter.high / parameter.low) ** unit)
    return np.asarray(parameter.low + (parameter.high - parameter.low) * unit)
