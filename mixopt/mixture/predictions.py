"""Predicted losses of mixtures with CV+ intervals, expected optimism, and effect curves of domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mixopt.mixture.results import Effect, ExpectedOptimism, Gain, Prediction
from mixopt.runs.objective import Target
from mixopt.runs.table import RunTable
from mixopt.search.simplex import Feasible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from regressors.evaluation.optimism import Optimism

    Floats = NDArray[np.float64]

CHOSEN = "recommended"  # the mixture that was searched for, and is predicted too low for that
PAIRED = 1000  # runs of which all pairs are looked at; more would tell nothing more
MIN_STEP = 1e-9  # of a share: nearer points of a curve are one
EFFECT_POINTS = 41  # of a domain's curve: steps of 2.5% of the tokens where it may move freely


class Estimator(Protocol):
    """A fitted predictor of all targets at once; it may have gradient(W) too, (n, n_targets, n_domains)."""

    def predict(self, W: Any, /) -> Any:
        """Losses (n, n_targets), nats/token, at mixtures W (n, n_domains)."""


class HeldOut(Protocol):
    """Predictions of runs by estimators that never saw their mixtures: `regressors.HeldOut`.

    It may have a `repeated_holdout` too, as `regressors` makes it: without one, optimism stays unknown.
    """

    @property
    def predicted(self) -> Any: ...  # (n_runs, n_targets)
    @property
    def fold(self) -> Any: ...  # (n_runs,)
    @property
    def estimators(self) -> Any: ...  # one a fold
    def at(self, W: Any, /) -> Any: ...  # (n_folds, n, n_targets)


class Judged:
    """Predictions at a few named mixtures, their intervals, and the optimism at the one that was searched for.

    searched: whether the estimator chose the recommended mixture, so that it is optimistic there.
    """

    def __init__(
        self,
        table: RunTable,
        estimator: Estimator,
        held_out: HeldOut,
        objective: Target,
        mixtures: Mapping[str, Floats],
        *,
        level: float,
        searched: bool = True,
    ) -> None:
        self.names = list(mixtures)
        self.texts = table.targets
        points = np.array(list(mixtures.values()))
        self._level = level
        self._losses = np.asarray(estimator.predict(points), dtype=float)  # (n_points, n_targets)
        self._target = objective.of(self._losses)
        self._by_fold = objective.of(held_out.at(points))  # (n_folds, n_points)
        self._held_out = objective.of(held_out.predicted)  # (n_runs,)
        self._residual = objective.of(table.losses) - self._held_out
        self._fold, self._groups = np.asarray(held_out.fold), table.groups
        self._optimism = _expected_optimism(table, held_out, objective, self._residual) if searched else None

    @property
    def method(self) -> str:
        ordinary = (
            f"CV+ over {len(self._by_fold)} folds of distinct mixtures (Barber et al. 2021, arXiv:1905.02928), errors "
            "scaled by their usual size at the predicted loss"
        )
        if self._optimism is None:
            return ordinary
        return f"{ordinary}; at the recommended mixture, errors of the mixtures selected in repeated holdouts"

    @property
    def optimism(self) -> ExpectedOptimism:
        """How much higher than predicted the loss of the recommended mixture is to be expected; None: not known."""
        found = self._optimism
        return ExpectedOptimism(
            loss=found and found.loss,
            standard_error=found and found.standard_error,
            method="repeated holdout: fitted to half of the mixtures, scored on the other half, the error at the "
            "mixture predicted best; shrunk towards the errors of all held-out runs",
        )

    def at(self, name: str) -> Prediction:
        """Predicted objective of a mixture, with the interval that a run of it should fall in."""
        from regressors.evaluation.intervals import scaled_cv_plus

        i = self.names.index(name)
        bounds = scaled_cv_plus(self._residual, self._held_out, self._fold, self._by_fold[:, [i]], self._level)
        low, high = (float(bound[0]) for bound in bounds)
        if name == CHOSEN and self._optimism is not None and np.isfinite([low, high]).all():
            low, high = (float(self._target[i]) + bound for bound in self._optimism.bounds(self._level))
        return Prediction(loss=float(self._target[i]), low=low, high=high)

    def gain_over(self, name: str) -> Gain:
        """How much lower the recommended mixture's loss is predicted than this one's, with an interval.

        The interval is CV+ again, with pairs of runs in the place of runs: an error that both runs of a pair share
        cancels, as it does in a gain. It is moved by the expected optimism, which lessens the gain. Pairs share runs,
        so its level is approximate, and there is no interval where there is none for a loss.
        """
        from regressors import cv_plus

        i, best = self.names.index(name), self.names.index(CHOSEN)
        gain = float(self._target[i] - self._target[best])
        if not self.at(CHOSEN).bounded:
            return Gain(name, gain)
        residual, fold, at_new = self._pairs(self._by_fold[:, i] - self._by_fold[:, best])
        low, high = cv_plus(residual, fold, at_new[:, None], self._level)
        less = 0.0 if self._optimism is None else self._optimism.loss
        return Gain(name, gain, float(low[0]) - less, float(high[0]) - less)

    def _pairs(self, gains: Floats) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Errors of predicted differences between runs of different mixtures, (n_pairs,); which pair of folds
        predicted each; and what each pair of folds says of the gain, from gains (n_folds,)."""
        runs = np.unique(np.linspace(0, len(self._fold) - 1, min(len(self._fold), PAIRED)).astype(int))
        one, other = (runs[i] for i in np.triu_indices(len(runs), k=1))
        apart = self._groups[one] != self._groups[other]
        one, other = one[apart], other[apart]
        folds = len(gains)
        both = ((gains[:, None] + gains[None, :]) / 2).reshape(-1)
        return self._residual[one] - self._residual[other], self._fold[one] * folds + self._fold[other], both

    def by_text(self) -> dict[str, dict[str, float | None]]:
        """Predicted loss on each text at the recommended, the natural and the uniform mixture."""
        rows = {name: self._losses[self.names.index(name)] for name in self.names}
        return {
            text: {
                name: float(rows[name][j]) if name in rows else None for name in ("recommended", "natural", "uniform")
            }
            for j, text in enumerate(self.texts)
        }


def _expected_optimism(table: RunTable, held_out: HeldOut, objective: Target, residual: Floats) -> Optimism | None:
    """From repeated holdouts, the objective's own beside those of every validation set; None without any."""
    from regressors.evaluation.optimism import expected_optimism

    holdouts = getattr(held_out, "repeated_holdout", None)
    if holdouts is None:
        return None
    guesses = [np.column_stack([objective.of(half), half]) for half in holdouts.predicted]
    measured = np.column_stack([objective.of(table.losses), table.losses])
    return expected_optimism(holdouts.rows, guesses, measured, residual)


def effects(
    estimator: Estimator, objective: Target, feasible: Feasible, weights: Floats, *, fallback: Floats | None = None
) -> dict[str, Effect]:
    """Predicted target loss as one domain's share moves from its lowest to its highest, the others in proportion.

    The others' own limits aren't kept: a curve shows one domain's effect, not a choice. fallback: proportions of the
    others where the mixture (n_domains,) is one domain alone; None: equal ones.
    """
    curves = {}
    for i, name in enumerate(feasible.domains):
        grid = np.linspace(feasible.low[i], feasible.high[i], EFFECT_POINTS)
        # At a limit the recommended share may differ from the grid's end by a rounding: then it is the same point.
        shares = np.sort(np.append(grid[np.abs(grid - weights[i]) > MIN_STEP], weights[i]))
        others = weights.copy() if 1 - weights[i] > 1e-9 or fallback is None else fallback.copy()
        others[i] = 0.0
        if others.sum() <= 1e-9:
            others = np.where(np.arange(len(weights)) == i, 0.0, 1.0)
        mixtures = np.outer(1 - shares, others / max(others.sum(), 1e-300))
        mixtures[:, i] = shares
        curves[name] = Effect(shares.tolist(), objective.of(estimator.predict(mixtures)).tolist())
    return curves
