"""Predicted losses of a few mixtures, how sure they are, and what each domain's share does to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mixopt.runtable import RunTable
from mixopt.simplex import Feasible
from mixopt.target import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

EFFECT_POINTS = 41  # of a domain's curve: steps of 2.5% of the tokens where it may move freely


class Estimator(Protocol):
    """A fitted predictor of all targets at once; it may have gradient(W) too, (n, n_targets, n_domains)."""

    def predict(self, W: Any, /) -> Any:
        """Losses (n, n_targets), nats/token, at mixtures W (n, n_domains)."""


class HeldOut(Protocol):
    """Predictions of runs by estimators that never saw their mixtures: `regressors.HeldOut`."""

    @property
    def predicted(self) -> Any: ...  # (n_runs, n_targets)
    @property
    def fold(self) -> Any: ...  # (n_runs,)
    def at(self, W: Any, /) -> Any: ...  # (n_folds, n, n_targets)


class Judged:
    """Predictions and CV+ intervals at a few named mixtures."""

    def __init__(
        self,
        table: RunTable,
        estimator: Estimator,
        held_out: HeldOut,
        aim: Target,
        mixtures: Mapping[str, Floats],
        *,
        level: float,
    ) -> None:
        self.names = list(mixtures)
        self.texts = table.targets
        points = np.array(list(mixtures.values()))
        self._level = level
        self._losses = np.asarray(estimator.predict(points), dtype=float)  # (n_points, n_targets)
        self._target = aim.of(self._losses)
        self._by_fold = aim.of(held_out.at(points))  # (n_folds, n_points)
        self._residual = aim.of(table.losses) - aim.of(held_out.predicted)  # (n_runs,)
        self._fold, self._groups = np.asarray(held_out.fold), table.groups

    @property
    def method(self) -> str:
        return f"CV+ over {len(self._by_fold)} folds of distinct mixtures (Barber et al. 2021, arXiv:1905.02928)"

    def at(self, name: str) -> dict[str, float]:
        """Predicted target loss of a mixture, with the interval that a run of it should fall in."""
        from regressors import cv_plus

        i = self.names.index(name)
        low, high = cv_plus(self._residual, self._fold, self._by_fold[:, [i]], self._level)
        return {"loss": float(self._target[i]), "low": float(low[0]), "high": float(high[0])}

    def gain_over(self, name: str) -> dict[str, float]:
        """How much lower the recommended mixture's loss is predicted than this one's, with an interval.

        The interval is CV+ again, with pairs of runs in the place of runs: an error that both runs of a pair share
        cancels, as it does in a gain. Pairs share runs, so its level is approximate, and there is no interval where
        there is none for a loss.
        """
        from regressors import cv_plus

        i, best = self.names.index(name), self.names.index("recommended")
        gain = float(self._target[i] - self._target[best])
        alone = self.at("recommended")
        if not np.isfinite([alone["low"], alone["high"]]).all():
            return {"loss": gain, "low": -np.inf, "high": np.inf}
        residual, fold, at_new = self._pairs(self._by_fold[:, i] - self._by_fold[:, best])
        low, high = cv_plus(residual, fold, at_new[:, None], self._level)
        return {"loss": gain, "low": float(low[0]), "high": float(high[0])}

    def _pairs(self, gains: Floats) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Errors of predicted differences between runs of different mixtures, (n_pairs,); which pair of folds
        predicted each; and what each pair of folds says of the gain, from gains (n_folds,)."""
        one, other = np.triu_indices(len(self._fold), k=1)
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


def effects(
    estimator: Estimator, aim: Target, feasible: Feasible, weights: Floats, *, fallback: Floats | None = None
) -> dict[str, dict[str, list[float]]]:
    """Predicted target loss as one domain's share moves from its lowest to its highest, the others in proportion.

    The others' own limits aren't kept: a curve shows one domain's effect, not a choice. fallback: proportions of the
    others where the mixture (n_domains,) is one domain alone; None: equal ones.
    """
    curves = {}
    for i, name in enumerate(feasible.domains):
        shares = np.unique(np.append(np.linspace(feasible.low[i], feasible.high[i], EFFECT_POINTS), weights[i]))
        others = weights.copy() if 1 - weights[i] > 1e-9 or fallback is None else fallback.copy()
        others[i] = 0.0
        if others.sum() <= 1e-9:
            others = np.where(np.arange(len(weights)) == i, 0.0, 1.0)
        mixtures = np.outer(1 - shares, others / max(others.sum(), 1e-300))
        mixtures[:, i] = shares
        curves[name] = {"weight": shares.tolist(), "loss": aim.of(estimator.predict(mixtures)).tolist()}
    return curves
