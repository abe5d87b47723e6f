"""Ensembles of predictors: a Gaussian process on the residuals of a law, and a weighted average.

Their parts are named as in `regressors.registry.PREDICTORS`, so that an unfitted ensemble is plain text and numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if

from regressors.estimators.base import DifferentiableRegressor
from regressors.estimators.gaussian_process import GaussianProcessRegressor
from regressors.evaluation.cross_validation import by_mixture, configurations, predict_splits
from regressors.law import Array
from regressors.registry import PREDICTORS, from_dict

RIDGE = 0.01  # of stacking weights towards equal ones, as a share of the variance of losses


def make(name: str, seed: int, unique: Any = None) -> Any:
    """An unfitted predictor of PREDICTORS, with `unique` if it takes it. Raises ValueError for other names."""
    if name not in PREDICTORS:
        raise ValueError(f"no predictor is called {name!r}: choose from {sorted(PREDICTORS)}")
    made = PREDICTORS[name](seed)
    if unique is not None and "unique" in made.get_params():
        made.set_params(unique=unique)
    return made


def _all_differentiable(ensemble: "BaseEnsemble") -> bool:
    parts = [make(name, 0) for name in ensemble._names()]
    return all(
        isinstance(part, DifferentiableRegressor) and (not isinstance(part, BaseEnsemble) or _all_differentiable(part))
        for part in parts
    )


class BaseEnsemble(DifferentiableRegressor):
    """Base of ensembles: seeds, options and storage of their parts. It has `gradient` if all of them have."""

    estimators_: list[Any]
    random_state: Any
    unique: Any

    gradient = available_if(_all_differentiable)(DifferentiableRegressor.gradient)  # pyright: ignore[reportAssignmentType]

    def _names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _make_all(self) -> list[Any]:
        """Unfitted, for domains in the fit's own order."""
        seed = int(check_random_state(self.random_state).randint(2**31))
        unique = None if self.unique is None else [self.unique[k] for k in self.order_]
        return [make(name, seed, unique) for name in self._names()]

    def _learned(self) -> dict[str, Any]:
        return {"targets": self.n_targets_, "members": [fitted.to_dict() for fitted in self.estimators_]}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.n_targets_ = learned["targets"]
        self.estimators_ = [from_dict(stored) for stored in learned["members"]]


class ResidualProcessRegressor(BaseEnsemble):
    """A predictor, and a Gaussian process on its residuals at the fitted runs.

    estimator: a name in PREDICTORS. features: of the Gaussian process, whose amplitude is free to fall to next to
    nothing: a law that leaves only noise stays as it is. unique: for an estimator that takes it; random_state seeds it.
    After fit: estimators_, the predictor and the process.
    """

    stored_name = "ResidualProcess"

    def __init__(self, estimator="effective-data", *, features="log", unique=None, random_state=None):
        self.estimator = estimator
        self.features = features
        self.unique = unique
        self.random_state = random_state

    def _names(self) -> tuple[str, ...]:
        return (self.estimator,)

    def _fit(self, W: Array, Y: Array) -> None:
        law = self._make_all()[0].fit(W, Y)
        # before anything is known, half of the residuals' variance is noise
        process = GaussianProcessRegressor(self.features, amplitude=1.0, noise=0.5, random_state=self.random_state)
        self.estimators_ = [law, process.fit(W, Y - law.predict(W))]

    def _predict(self, W: Array) -> Array:
        return sum(fitted.predict(W) for fitted in self.estimators_)  # pyright: ignore[reportReturnType]

    def _slopes(self, W: Array) -> Array:
        return sum(fitted.gradient(W) for fitted in self.estimators_)  # pyright: ignore[reportReturnType]


class EnsembleRegressor(BaseEnsemble):
    """A weighted average of predictors.

    estimators: names in PREDICTORS. weights: `equal`, or `held-out` for stacking: those that predict held-out runs
    best, each target its own, by an inner cross-validation over mixtures, pulled towards equal ones. cv: its folds.
    unique: for estimators that take it; random_state seeds them and the folds.
    After fit: estimators_, weights_ (n_targets, n_estimators).
    """

    stored_name = "Ensemble"

    def __init__(
        self, estimators=("effective-data", "gp-log"), *, weights="equal", cv=5, unique=None, random_state=None
    ):
        self.estimators = estimators
        self.weights = weights
        self.cv = cv
        self.unique = unique
        self.random_state = random_state

    def _names(self) -> tuple[str, ...]:
        return tuple(self.estimators)

    def _fit(self, W: Array, Y: Array) -> None:
        if self.weights not in ("equal", "held-out"):
            raise ValueError(f"weights = {self.weights!r}: choose equal or held-out")
        unfitted = self._make_all()
        self.weights_ = np.full((Y.shape[1], len(unfitted)), 1 / len(unfitted))
        if self.weights == "held-out" and len(unfitted) > 1:
            held_out = self._held_out(W, Y)
            for k, y in enumerate(Y.T):
                known = np.isfinite(y) & np.isfinite(held_out[..., k]).all(axis=0)
                if known.sum() > len(unfitted):
                    self.weights_[k] = best_weights(held_out[:, known, k].T, y[known])
        self.estimators_ = [one.fit(W, Y) for one in unfitted]

    def _held_out(self, W: Array, Y: Array) -> Array:
        """Held-out predictions, (n_estimators, n_runs, n_targets); nan where a target has no loss outside the fold."""
        mixture = configurations(W)
        out = np.full((len(self._names()), *Y.shape), np.nan)
        folds = min(self.cv, mixture.max() + 1)
        if folds < 2:
            return out
        splits = by_mixture(mixture, folds=folds, seed=int(check_random_state(self.random_state).randint(2**31)))
        for k in range(len(out)):
            for split, _, predicted in predict_splits(lambda k=k: self._make_all()[k], W, Y, splits, losses=1):
                out[k, split.predicted] = predicted
        return out

    def _predict(self, W: Array) -> Array:
        return np.einsum("mnt,tm->nt", np.stack([one.predict(W) for one in self.estimators_]), self.weights_)

    def _slopes(self, W: Array) -> Array:
        return np.einsum("mntd,tm->ntd", np.stack([one.gradient(W) for one in self.estimators_]), self.weights_)

    def _learned(self) -> dict[str, Any]:
        return super()._learned() | {"weights": self.weights_.tolist()}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        super()._restore(learned)
        self.estimators = tuple(self.estimators)  # JSON knows lists only
        self.weights_ = np.array(learned["weights"])


def best_weights(predicted: Array, measured: Array) -> Array:
    """Stacking weights of 0 or more that sum to 1, (n_estimators,): least squares, pulled towards equal ones.

    predicted (n_runs, n_estimators), measured (n_runs,), nats/token.
    """
    from scipy.optimize import nnls

    count = predicted.shape[1]
    errors = predicted - measured[:, None]  # weights sum to 1, so an average's error is the average of errors
    ridge = np.sqrt(RIDGE * len(measured)) * measured.std() + np.abs(errors).max() * 1e-6
    total = 1e3 * (np.abs(errors).max() * np.sqrt(len(measured)) + ridge)  # a row so heavy that weights sum to 1
    rows = np.vstack([errors, ridge * np.eye(count), np.full(count, total)])
    wanted = np.concatenate([np.zeros(len(measured)), np.full(count, ridge / count), [total]])
    found = nnls(rows, wanted)[0] if total > 0 else np.ones(count)
    return found / found.sum()
