"""What a fitted ladder says at the sizes that were trained: return curves, the best epochs, isoloss contours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.repetition.runs import Frame

if TYPE_CHECKING:
    from regressors.estimators.repetition import RepetitionRegressor

POINTS = 61  # of a return curve
BEYOND = 2.0  # a curve goes on to so many times the most epochs that were trained
ACROSS, UP = 33, 41  # of a contour's grid: epochs and parameters


def curves(estimator: RepetitionRegressor, cells: Frame, *, level: float, refits: int) -> list[dict[str, Any]]:
    """Loss against epochs for every size and amount of unique text, with the best epochs, each with intervals.

    best is None where the loss falls up to the curve's end, which lies at BEYOND times the most epochs trained.
    """
    told = []
    last = float(cells["epochs"].max()) * BEYOND
    tails = [(1 - level) / 2, (1 + level) / 2]
    for (params, unique), mine in cells.groupby(["params", "unique"]):
        epochs = np.geomspace(1.0, last, POINTS)
        X = np.column_stack([np.full(POINTS, float(params)), epochs * float(unique), np.full(POINTS, float(unique))])
        fitted, drawn = estimator.predict(X), estimator.draws(X, refits)
        low, high = np.quantile(drawn, tails, axis=0)
        places = [best_epochs(epochs, draw) or np.inf for draw in drawn]
        ends = np.quantile(places, tails, method="nearest")
        top = mine.loc[mine["target"].idxmin()]
        told.append(
            {
                "params": float(params),
                "unique": float(unique),
                "epochs": epochs.tolist(),
                "loss": fitted.tolist(),
                "low": low.tolist(),
                "high": high.tolist(),
                "longest": float(mine["epochs"].max()),
                "best": best_epochs(epochs, fitted),
                "best_low": float(ends[0]),
                "best_high": float(ends[1]),
                "least": float(fitted.min()),
                "measured_best": float(top["epochs"]),
                "measured_least": float(top["target"]),
                "measured_last": float(mine.loc[mine["epochs"].idxmax(), "target"]),
            }
        )
    return told


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


def contours(estimator: RepetitionRegressor, cells: Frame) -> list[dict[str, Any]]:
    """Loss over epochs and parameters for every amount of unique text: rows are sizes, columns epochs.

    best: the best number of epochs of every size; None where the loss falls to the grid's end.
    """
    told = []
    for unique, mine in cells.groupby("unique"):
        sizes = cells["params"]
        params = np.geomspace(float(sizes.min()) / 1.5, float(sizes.max()) * 1.5, UP)
        epochs = np.geomspace(1.0, float(mine["epochs"].max()) * 1.2, ACROSS)
        N, E = (grid.ravel() for grid in np.meshgrid(params, epochs, indexing="ij"))
        X = np.column_stack([N, E * float(unique), np.full(len(N), float(unique))])
        fitted = estimator.predict(X).reshape(UP, ACROSS)
        told.append(
            {
                "unique": float(unique),
                "params": params.tolist(),
                "epochs": epochs.tolist(),
                "loss": np.round(fitted, 4).tolist(),
                "best": [best_epochs(epochs, row) for row in fitted],
            }
        )
    return told
