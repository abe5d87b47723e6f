"""Scaling laws of model size and training tokens as scikit-learn estimators, fitted as published."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from regressors.estimators.base import BaseRegressor
from regressors.fitting.fixed_parameters import freeze
from regressors.fitting.inference import InferenceMixin
from regressors.fitting.posterior import Criterion
from regressors.fitting.solve import build_posterior, in_units, solve, units_of
from regressors.law import Array, Law
from regressors.laws.repetition import REPETITION_LAWS
from regressors.laws.scaling import SCALING_LAWS


class ScalingRegressor(InferenceMixin, BaseRegressor):
    """A scaling law, fitted as published: least sum of Huber losses of ln loss, best of a grid of starts.

    X: (n_runs, n_inputs), the law's inputs in its order, for `chinchilla` parameters and tokens, all above 0.
    Y: (n_runs,) or (n_runs, n_targets) losses above 0, nats/token, nan where missing.
    law: a name in `SCALING_LAWS` or `REPETITION_LAWS`, or a Law. frozen: {parameter: value} that are given and not
    fitted, amplitudes in nats/token at inputs of 1, as published. n_starts: how many of the grid's best points
    are followed. huber: the knee, in units of ln loss (or of the loss, without log); log: fit ln loss. random_state:
    only for laws that take no grid.
    After fit: values_ {parameter: (n_targets,)}, amplitudes being nats/token at inputs of 1 (as published); objective_
    (n_targets,), agreeing_ (share of starts that reached the optimum), converged_.
    """

    known_laws = SCALING_LAWS | REPETITION_LAWS

    def __init__(
        self,
        law: Law | str = "chinchilla",
        *,
        frozen: Mapping[str, float] | None = None,
        huber=1e-3,
        log=True,
        n_starts=12,
        random_state=None,
    ):
        self.law = law
        self.frozen = frozen
        self.huber = huber
        self.log = log
        self.n_starts = n_starts
        self.random_state = random_state

    def fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> Self:
        """Learns from finished runs. Raises ValueError for an input or, with log, a loss that isn't above 0."""
        X = self._checked(X, reset=True)
        law = freeze(self._law(), self.frozen or {}, units_of(self._law(), self._inputs(X)))
        Y = self._checked_losses(y, len(X))
        self.flat_ = Y.ndim == 1
        criterion = Criterion(huber=1.0, log=self.log, noise=self.huber)
        self._posterior, self.units_ = build_posterior(
            law, self._inputs(X), Y.reshape(len(Y), -1), criterion=criterion, weights=sample_weight
        )
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        self._found = solve(self._posterior, self.units_, n_starts=self.n_starts, rng=rng)
        self.scaled_ = self._found.values
        self.values_ = law.published(self.scaled_, self.units_) if law.published else self.scaled_
        self.objective_ = self._found.objective * criterion.unit
        self.agreeing_, self.converged_ = self._found.agreeing, self._found.converged
        return self

    def predict(self, X: Array) -> Array:
        """Losses at X (n_points, n_inputs): (n_points,) or (n_points, n_targets), as y was. nats/token."""
        check_is_fitted(self)
        law = self._posterior.law
        inputs = in_units(law, self._inputs(self._checked(X, reset=False)), self.units_)
        Y = law.formula(*inputs, **self.scaled_).T
        return Y[:, 0] if self.flat_ else Y

    def _inputs(self, X: Array) -> dict[str, Array]:
        names = self._law().inputs
        if X.shape[1] != len(names):
            raise ValueError(f"X has {X.shape[1]} columns, the law takes {len(names)}: {', '.join(names)}")
        return dict(zip(names, X.T, strict=True))

    def _checked(self, X: Any, *, reset: bool) -> Array:
        return np.asarray(validate_data(self, X, dtype=np.float64, reset=reset))
