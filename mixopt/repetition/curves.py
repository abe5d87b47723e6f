"""Return curves of a fitted ladder: loss against epochs, the best number of epochs, isoloss contours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.repetition.runs import Frame
from mixopt.serialization import Record

if TYPE_CHECKING:
    from regressors.estimators.repetition import RepetitionRegressor

N_POINTS = 61  # of a return curve
MARGIN = 2.0  # a curve goes on to so many times the most epochs that were trained
N_EPOCHS, N_SIZES = 33, 41  # of a contour's grid


class BestEpochs(Record):
    """Where the loss of one size on so many unique tokens is least: fitted, and among the trained runs.

    best is None where the loss falls up to the curve's end, which lies at MARGIN times the most epochs trained.
    """

    best: float | None
    best_low: float | None  # the interval over refits
    best_high: float | None
    least: float | None  # fitted loss there, nats/token
    longest: float  # the most epochs trained
    measured_best: float
    measured_least: float
    measured_last: float  # loss of the longest run

    @property
    def rise(self) -> float:
        """How far the measured loss rises from its minimum to the longest run, nats/token."""
        return self.measured_last - self.measured_least


class Curve(BestEpochs):
    """Fitted loss against epochs of one size on so many unique tokens, with intervals."""

    params: float
    unique: float
    epochs: list[float]
    loss: list[float | None]
    low: list[float | None]
    high: list[float | None]


class Contour(Record):
    """Fitted loss on so many unique tokens: a row a size, a column a number of epochs.

    best: the best number of epochs of every size; None where the loss falls to the grid's end.
    """

    unique: float
    params: list[float]
    epochs: list[float]
    loss: list[list[float]]
    best: list[float | None]


def return_curves(estimator: RepetitionRegressor, runs: Frame, *, level: float, refits: int) -> list[Curve]:
    """A curve for every size and number of unique tokens."""
    curves = []
    last = float(runs["epochs"].max()) * MARGIN
    tails = [(1 - level) / 2, (1 + level) / 2]
    for (params, unique), trained in runs.groupby(["params", "unique"]):
        epochs = np.geomspace(1.0, last, N_POINTS)
        X = np.column_stack(np.broadcast_arrays(params, epochs * unique, unique))
        fitted, draws = estimator.predict(X), estimator.draws(X, refits)
        low, high = np.quantile(draws, tails, axis=0)
        best = [best_epochs(epochs, draw) or np.inf for draw in draws]
        ends = np.quantile(best, tails, method="nearest")
        top = trained.loc[trained["target"].idxmin()]
        curves.append(
            Curve(
                params=float(params),
                unique=float(unique),
                epochs=epochs.tolist(),
                loss=fitted.tolist(),
                low=low.tolist(),
                high=high.tolist(),
                best=best_epochs(epochs, fitted),
                best_low=float(ends[0]),
                best_high=float(ends[1]),
                least=float(fitted.min()),
                longest=float(trained["epochs"].max()),
                measured_best=float(top["epochs"]),
                measured_least=float(top["target"]),
                measured_last=float(trained.loc[trained["epochs"].idxmax(), "target"]),
            )
        )
    return curves


def best_epochs(epochs: Any, losses: Any) -> float | None:
    """Where the loss is lowest, through the parabola of the three points around it; None at the curve's far end."""
    k = int(np.argmin(losses))
    if k == len(epochs) - 1:
        return None
    if k == 0:
        return float(epochs[0])
    before, here, after = losses[k - 1 : k + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(epochs[k] * (epochs[k + 1] / epochs[k]) ** shift)


def contours(estimator: RepetitionRegressor, runs: Frame) -> list[Contour]:
    """A grid of losses for every number of unique tokens."""
    grids = []
    for unique, trained in runs.groupby("unique"):
        sizes = runs["params"]
        params = np.geomspace(float(sizes.min()) / 1.5, float(sizes.max()) * 1.5, N_SIZES)
        epochs = np.geomspace(1.0, float(trained["epochs"].max()) * 1.2, N_EPOCHS)
        N, E = (grid.ravel() for grid in np.meshgrid(params, epochs, indexing="ij"))
        X = np.column_stack(np.broadcast_arrays(N, E * unique, unique))
        fitted = estimator.predict(X).reshape(N_SIZES, N_EPOCHS)
        best = [best_epochs(epochs, row) for row in fitted]
        loss = np.round(fitted, 4).tolist()
        grids.append(Contour(float(unique), params.tolist(), epochs.tolist(), loss, best))
    return grids
