"""Optimism of a selected mixture: how far its loss falls short of its prediction (the winner's curse).

Out of many mixtures the one of lowest prediction is where the errors happened to point down, and it lies at the edge of
what was trained. So its measured loss is higher than predicted on average, by an amount that held-out errors of
ordinary runs don't show. A repeated holdout shows it: fit to half of the mixtures, predict the other half, look at the
argmin (`regressors.evaluation.cross_validation.repeated_holdout`). Errors are counted in units of that half's own RMSE,
since a fit to half of the runs errs by more than one to all of them, and then scaled by the held-out RMSE.

A target's own argmins are few: the same handful of good runs is selected in most repeats. Therefore the errors to
expect are a mixture of three samples: the target's argmins, those of every validation set, and the held-out errors of
all runs, which draw the estimate towards none. `benchmarks/calibration.py` shows what intervals made of them hold. For
a law that bends too little for the losses, such as a plane, the gap is large, and at least half of it is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regressors.law import Array

SAMPLE_WEIGHTS = (0.3, 0.45, 0.25)  # the target's argmins, the validation sets' argmins, and all held-out errors
MIN_RUNS = 5  # of a half with a loss: the argmin of fewer means nothing


@dataclass(frozen=True)
class Optimism:
    """What to expect at a predictor's own optimum: measured less predicted loss, nats/token."""

    errors: Array  # (n,) a sample of such errors
    weights: Array  # (n,) what each counts for, summing to 1
    standard_error: float  # of `loss`

    @property
    def loss(self) -> float:
        """The expected error: above 0, the real loss will be higher than predicted."""
        return float(self.weights @ self.errors)

    def bounds(self, level: float) -> tuple[float, float]:
        """What to add to the prediction for an interval that should hold the loss with a chance of `level`."""
        order = np.argsort(self.errors)
        cumulative = np.cumsum(self.weights[order]) - 0.5 * self.weights[order]
        low, high = np.interp([(1 - level) / 2, (1 + level) / 2], cumulative, self.errors[order])
        return float(low), float(high)


def expected_optimism(
    rows: Sequence[Array], predicted: Sequence[Array], measured: Array, residual: Array
) -> Optimism | None:
    """The optimism to expect for the first column; None where there are too few mixtures for a repeated holdout.

    rows, predicted: one a repeat, as in `RepeatedHoldout`: (n_predicted,) and (n_predicted, n_columns), the target
    first, then the validation sets. measured: (n_runs, n_columns) nats/token; nan where a loss is missing. residual:
    (n_runs,) measured less held-out prediction of the target.
    """
    all_errors = residual[np.isfinite(residual)]
    own, runs = _argmin_errors(rows, predicted, measured, 0)
    if not len(own) or not len(all_errors):
        return None
    sets = [_argmin_errors(rows, predicted, measured, j) for j in range(1, measured.shape[1])] or [(own, runs)]
    pooled, pooled_runs = (np.concatenate(parts) for parts in zip(*sets, strict=True))
    if not len(pooled):
        pooled, pooled_runs = own, runs
    error = np.sqrt(np.mean(all_errors**2))
    samples = (own * error, pooled * error, all_errors)
    weights = np.concatenate(
        [np.full(len(x), share / len(x)) for x, share in zip(samples, SAMPLE_WEIGHTS, strict=True)]
    )
    # A run selected in many repeats is one observation. The first two samples share runs: their errors add up.
    spread = np.std(np.concatenate(samples[:2]))
    of_argmins = (
        SAMPLE_WEIGHTS[0] / len(np.unique(runs)) ** 0.5 + SAMPLE_WEIGHTS[1] / len(np.unique(pooled_runs)) ** 0.5
    )
    of_all = SAMPLE_WEIGHTS[2] * np.std(all_errors) / len(all_errors) ** 0.5
    return Optimism(
        errors=np.concatenate(samples),
        weights=weights,
        standard_error=float(np.hypot(of_argmins * spread, of_all)),
    )


def _argmin_errors(
    rows: Sequence[Array], predicted: Sequence[Array], measured: Array, column: int
) -> tuple[Array, Array]:
    """Errors of every rehearsal's favourite in units of its RMSE, and the runs that they were."""
    errors, runs = [], []
    for held_out, guess in zip(rows, predicted, strict=True):
        error = measured[held_out, column] - guess[:, column]
        known = np.flatnonzero(np.isfinite(error))
        usual = np.sqrt(np.mean(error[known] ** 2)) if len(known) >= MIN_RUNS else 0.0
        if usual > 0:
            best = known[guess[known, column].argmin()]
            errors.append(error[best] / usual)
            runs.append(held_out[best])
    return np.array(errors, dtype=float), np.array(runs, dtype=int)
