"""Predictors made of predictors: a law with a Gaussian process on what it leaves over, and a weighted average.

Members are named as in `regressors.predictors.PREDICTORS`, so that an unfitted one is plain text and numbers.
"""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if

from regressors.estimators.base import SlopedRegressor, plain_seed
from regressors.estimators.gaussian_process import GaussianProcess
from regressors.evaluation.cross_validation import assign_folds
from regressors.law import Array

PULL = 0.01  # of inner weights towards equal ones, as a share of the held-out variance of losses


def make_member(name: str, seed: int, unique: Any = None) -> Any:
    """An unfitted predictor of PREDICTORS; it is told `unique` if it can use it. Raises ValueError for other names."""
    from regressors.registry import PREDICTORS

    if name not in PREDICTORS:
        raise ValueError(f"no predictor is called {name!r}: choose from {sorted(PREDICTORS)}")
    member = PREDICTORS[name](seed)
    if unique is not None and "unique" in member.get_params():
        member.set_params(unique=unique)
    return member


def _all_sloped(estimator: "Blend") -> bool:
    return all(hasattr(make_member(name, 0), "gradient") for name in estimator._names())


class Blend(SlopedRegressor):
    """What has members: their seeds, what they are told, their storage. It has `gradient` if all of them have."""

    members_: list[Any]
    random_state: Any
    unique: Any

    gradient = available_if(_all_sloped)(SlopedRegressor.gradient)  # pyright: ignore[reportAssignmentType]

    def _names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _make_members(self) -> list[Any]:
        """Unfitted, for domains in the fit's own order."""
        seed = int(check_random_state(self.random_state).randint(2**31))
        unique = None if self.unique is None else [self.unique[k] for k in self.order_]
        return [make_member(name, seed, unique) for name in self._names()]

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator and its members as JSON-able numbers and text."""
        out = super().to_dict()
        out["options"] |= {
            "random_state": plain_seed(self.random_state),
            "unique": None if self.unique is None else [None if u is None else float(u) for u in self.unique],
        }
        return out

    def _learned(self) -> dict[str, Any]:
        return {"targets": self.n_targets_, "members": [member.to_dict() for member in self.members_]}

    def _restore(self, learned: dict[str, Any]) -> None:
        from regressors.estimators.restore import from_dict

        self.n_targets_ = learned["targets"]
        self.members_ = [from_dict(stored) for stored in learned["members"]]


class ResidualProcess(Blend):
    """A predictor, and a Gaussian process on what it leaves over at the fitted runs.

    base: a name in PREDICTORS. features: as of GaussianProcess, whose amplitude is free to fall to next to nothing: a
    law that leaves only noise stays as it is. unique: told to a base that can use it; random_state seeds it.
    After fit: members_, the base and the process.
    """

    def __init__(self, base="effective-data", *, features="log", unique=None, random_state=None):
        self.base = base
        self.features = features
        self.unique = unique
        self.random_state = random_state

    def _names(self) -> tuple[str, ...]:
        return (self.base,)

    def _fit(self, W: Array, Y: Array) -> None:
        base = self._make_members()[0].fit(W, Y)
        # before anything is known, half of the residuals' variance is noise
        process = GaussianProcess(self.features, amplitude=1.0, noise=0.5, random_state=self.random_state)
        self.members_ = [base, process.fit(W, Y - base.predict(W))]

    def _predict(self, W: Array) -> Array:
        return sum(member.predict(W) for member in self.members_)  # pyright: ignore[reportReturnType]

    def _slopes(self, W: Array) -> Array:
        return sum(member.gradient(W) for member in self.members_)  # pyright: ignore[reportReturnType]


class Ensemble(Blend):
    """A weighted average of predictors.

    members: names in PREDICTORS. weights: `equal`, or `held-out` for those that predict held-out runs best, each
    target its own, found in an inner cross-validation over mixtures and pulled towards equal ones. folds: of it.
    unique: told to members that can use it; random_state seeds them and the folds.
    After fit: members_, weights_ (n_targets, n_members).
    """

    def __init__(
        self, members=("effective-data", "gp-log"), *, weights="equal", folds=5, unique=None, random_state=None
    ):
        self.members = members
        self.weights = weights
        self.folds = folds
        self.unique = unique
        self.random_state = random_state

    def _names(self) -> tuple[str, ...]:
        return tuple(self.members)

    def _fit(self, W: Array, Y: Array) -> None:
        if self.weights not in ("equal", "held-out"):
            raise ValueError(f"weights = {self.weights!r}: choose equal or held-out")
        members = self._make_members()
        self.weights_ = np.full((Y.shape[1], len(members)), 1 / len(members))
        if self.weights == "held-out" and len(members) > 1:
            held_out = self._hold_out(W, Y)
            for k, y in enumerate(Y.T):
                known = np.isfinite(y) & np.isfinite(held_out[..., k]).all(axis=0)
                if known.sum() > len(members):
                    self.weights_[k] = best_weights(held_out[:, known, k].T, y[known])
        self.members_ = [member.fit(W, Y) for member in members]

    def _hold_out(self, W: Array, Y: Array) -> Array:
        """Held-out predictions, (n_members, n_runs, n_targets); nan where a target has no loss outside the fold."""
        _, mixture = np.unique(W, axis=0, return_inverse=True)
        mixture = mixture.reshape(-1)
        out = np.full((len(self._names()), *Y.shape), np.nan)
        folds = min(self.folds, mixture.max() + 1)
        if folds < 2:
            return out
        seed = int(check_random_state(self.random_state).randint(2**31))
        fold = assign_folds(mixture, folds=folds, seed=seed)
        for k in range(folds):
            inside, outside = fold == k, fold != k
            known = np.isfinite(Y[outside]).any(axis=0)
            if outside.sum() < 2 or not known.any():
                continue
            for m, member in enumerate(self._make_members()):
                fitted = member.fit(W[outside], Y[outside][:, known])
                out[m][np.ix_(inside, known)] = fitted.predict(W[inside])
        return out

    def _predict(self, W: Array) -> Array:
        return np.einsum("mnt,tm->nt", np.stack([member.predict(W) for member in self.members_]), self.weights_)

    def _slopes(self, W: Array) -> Array:
        return np.einsum("mntd,tm->ntd", np.stack([member.gradient(W) for member in self.members_]), self.weights_)

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator and its members as JSON-able numbers and text."""
        out = super().to_dict()
        out["options"]["members"] = list(self.members)
        return out

    def _learned(self) -> dict[str, Any]:
        return super()._learned() | {"weights": self.weights_.tolist()}

    def _restore(self, learned: dict[str, Any]) -> None:
        super()._restore(learned)
        self.members = tuple(self.members)  # JSON knows lists only
        self.weights_ = np.array(learned["weights"])


def best_weights(predicted: Array, measured: Array) -> Array:
    """Weights of 0 or more that sum to 1, (n_members,): least squares, pulled towards equal ones.

    predicted (n_runs, n_members), measured (n_runs,), nats/token.
    """
    from scipy.optimize import nnls

    members = predicted.shape[1]
    errors = predicted - measured[:, None]  # weights sum to 1, so an average's error is the average of errors
    pull = np.sqrt(PULL * len(measured)) * measured.std() + np.abs(errors).max() * 1e-6
    total = 1e3 * (np.abs(errors).max() * np.sqrt(len(measured)) + pull)  # a row so heavy that weights sum to 1
    rows = np.vstack([errors, pull * np.eye(members), np.full(members, total)])
    wanted = np.concatenate([np.zeros(len(measured)), np.full(members, pull / members), [total]])
    found = nnls(rows, wanted)[0] if total > 0 else np.ones(members)
    return found / found.sum()
