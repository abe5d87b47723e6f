"""scikit-learn estimators of loss from mixture: a fitted law, and RegMix's two regressions.

All take W (n_runs, n_domains), shares of training tokens of 0 or more, and Y (n_runs,) or (n_runs, n_targets) in
nats/token, where nan is a loss that is missing; all predict in Y's shape. `to_dict` gives JSON-able numbers and
text, and `from_dict` rebuilds the estimator from them: nothing stored is ever run. Domains are told apart by their
columns, not by their order: fits work on columns in an order of their own, so permuted columns give the same fit,
permuted.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from regressors.fit import fit_law
from regressors.law import Array, Law
from regressors.laws import LAWS
from regressors.repetition import R_STAR, effective_shares, unique_shares

SMALL_SAMPLE = 128  # up to so many runs LightGBM's default of 20 rows a leaf can't split finely enough


def own_order(W: Array) -> Array:
    """The order of domains, (n_domains,), that depends on their columns' content and not on their place."""
    return np.lexsort(W[::-1])


class MixtureRegressor(RegressorMixin, BaseEstimator):
    """What the three have in common: checked input, 1-D and 2-D losses, JSON."""

    n_features_in_: int  # domains; scikit-learn's name

    def fit(self, W: Array, Y: Array) -> Self:
        """Learns from finished runs. Raises ValueError for shares below 0 or a target without any loss."""
        W, Y = self._checked(W, Y)
        self.n_targets_ = 1 if Y.ndim == 1 else Y.shape[1]
        self.flat_ = Y.ndim == 1
        Y = Y.reshape(len(Y), -1)
        if len(W) < 2:
            raise ValueError(f"a fit needs 2 runs or more, n_samples = {len(W)}")
        empty = np.flatnonzero(~np.isfinite(Y).any(axis=0))
        if len(empty):
            raise ValueError(f"no run has a loss for target column(s) {empty.tolist()}: leave them out")
        self.order_ = own_order(W)
        self._fit(W[:, self.order_], Y)
        return self

    def predict(self, W: Array) -> Array:
        """Loss at shares W (n_points, n_domains): (n_points,) or (n_points, n_targets), as Y was. nats/token."""
        check_is_fitted(self)
        W = self._checked_shares(W, reset=False)
        Y = self._predict(W[:, self.order_])
        return Y[:, 0] if self.flat_ else Y

    def _checked(self, W: Array, Y: Array) -> tuple[Array, Array]:
        if Y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        W = self._checked_shares(W, reset=True)
        options: dict[str, Any] = {
            "dtype": np.float64,
            "ensure_2d": False,
            "ensure_all_finite": "allow-nan",
            "input_name": "y",
        }
        Y = np.asarray(check_array(Y, **options))
        if Y.ndim > 2 or len(Y) != len(W):
            raise ValueError(f"Y must be (n_runs,) or (n_runs, n_targets) with n_runs = {len(W)}, got {Y.shape}")
        return W, Y

    def _checked_shares(self, W: Any, *, reset: bool) -> Array:
        W = np.asarray(validate_data(self, W, dtype=np.float64, reset=reset))
        if (W < 0).any():
            raise ValueError("Negative values in data: shares of training tokens are 0 or more")
        return W

    def _fit(self, W: Array, Y: Array) -> None:
        raise NotImplementedError

    def _predict(self, W: Array) -> Array:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        tags.input_tags.positive_only = True
        tags.regressor_tags.poor_score = True  # scikit-learn's sample tables aren't mixtures
        return tags

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator as JSON-able numbers and text."""
        check_is_fitted(self)
        return {
            "estimator": type(self).__name__,
            "options": self.get_params(deep=False),
            "domains": int(self.n_features_in_),
            "order": self.order_.tolist(),
            "flat": self.flat_,
            "learned": self._learned(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave. Raises ValueError for another estimator's numbers."""
        if stored["estimator"] != cls.__name__:
            raise ValueError(f"these are numbers of a {stored['estimator']}, not of a {cls.__name__}")
        self = cls(**stored["options"])
        self.n_features_in_ = stored["domains"]
        self.order_ = np.array(stored["order"])
        self.flat_ = stored["flat"]
        self._restore(stored["learned"])
        return self

    def _learned(self) -> dict[str, Any]:
        raise NotImplementedError

    def _restore(self, learned: dict[str, Any]) -> None:
        raise NotImplementedError


class LawRegressor(MixtureRegressor):
    """Fits one law to finished runs: maximum a posteriori, robust, best of several starts.

    law: a name in `LAWS`, or a Law. starts: how many starts each target gets. huber: residuals beyond so many noise
    levels count linearly. random_state: draws the starts after the first.
    unique: each domain's unique tokens over a run's tokens (n_domains,), None for an unlimited one: the law then sees
    effective tokens, worth less and less once text is repeated (`regressors.repetition`). r_star: how fast.
    After fit: values_ {parameter: (n_targets, ...)}, noise_ (n_targets,) nats/token, objective_, used_, agreeing_
    (share of starts that reached the optimum) and converged_, each (n_targets,).
    """

    def __init__(self, law="effective-data", *, unique=None, r_star=R_STAR, starts=3, huber=2.0, random_state=None):
        self.law = law
        self.unique = unique
        self.r_star = r_star  # epochs
        self.starts = starts
        self.huber = huber  # in noise levels, so that nats/token and bits/byte give one answer
        self.random_state = random_state

    def _fit(self, W: Array, Y: Array) -> None:
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        found = fit_law(self._law(), self._seen(W), Y, starts=self.starts, huber=self.huber, rng=rng)
        self.values_ = found.values
        self.noise_, self.objective_, self.used_ = found.noise, found.objective, found.used
        self.agreeing_, self.converged_ = found.agreeing, found.converged

    def _predict(self, W: Array) -> Array:
        return self._law().formula(self._seen(W), **self.values_).T

    def _seen(self, W: Array) -> Array:
        """What the law is shown of shares W, in the fit's own order of domains."""
        if self.unique is None:
            return W
        unique = unique_shares(self.unique, W.shape[1])[self.order_]
        return effective_shares(W, unique, self.r_star)

    def gradient(self, W: Array) -> Array:
        """Exact d loss / d share at W (n_points, n_domains): (n_points, n_domains), or (n_points, n_targets, n_domains)
        after a fit to 2-D Y. nats/token per unit of share, each domain by itself, not along the simplex."""
        check_is_fitted(self)
        W = self._checked_shares(W, reset=False)[:, self.order_]
        formula = self._law().formula
        slopes = np.empty((len(W), W.shape[1], len(self.noise_)))
        for k in range(W.shape[1]):
            moved = W.astype(complex)
            moved[:, k] += 1e-30j
            slopes[:, self.order_[k]] = np.imag(formula(self._seen(moved), **self.values_)).T / 1e-30
        return slopes[..., 0] if self.flat_ else slopes.transpose(0, 2, 1)

    def _law(self) -> Law:
        if isinstance(self.law, Law):
            return self.law
        if self.law not in LAWS:
            raise ValueError(f"no law is called {self.law!r}: choose from {sorted(LAWS)}")
        return LAWS[self.law]

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator as JSON-able numbers and text; its law must be one of `LAWS`, which goes by name."""
        name = self._law().name
        if LAWS.get(name) != self._law():
            raise ValueError(f"only laws of LAWS can be stored, {name!r} is another: its formula is code")
        out = super().to_dict()
        out["options"] |= {
            "law": name,
            "random_state": plain_seed(self.random_state),
            "unique": None if self.unique is None else [None if u is None else float(u) for u in self.unique],
        }
        return out

    def _learned(self) -> dict[str, Any]:
        numbers = {name: getattr(self, f"{name}_").tolist() for name in FIT_NUMBERS}
        return {"values": {name: value.tolist() for name, value in self.values_.items()}, **numbers}

    def _restore(self, learned: dict[str, Any]) -> None:
        self.values_ = {name: np.array(value) for name, value in learned["values"].items()}
        for name in FIT_NUMBERS:
            setattr(self, f"{name}_", np.array(learned[name]))
        self.n_targets_ = len(self.noise_)


FIT_NUMBERS = ("noise", "objective", "used", "agreeing", "converged")


def plain_seed(random_state: Any) -> int | None:
    """A seed that JSON can hold; a generator's state isn't kept."""
    return int(random_state) if isinstance(random_state, int | np.integer) else None


class RegMixLinear(MixtureRegressor):
    """RegMix's linear regression (Liu et al. 2024, arXiv:2407.01492): least squares of each loss on the shares.

    With fewer runs than domains it's the least squares solution of smallest norm. After fit: coef_
    (n_targets, n_domains) and intercept_ (n_targets,), nats/token.
    """

    def _fit(self, W: Array, Y: Array) -> None:
        self.coef_ = np.empty((Y.shape[1], W.shape[1]))
        self.intercept_ = np.empty(Y.shape[1])
        for k, y in enumerate(Y.T):
            known = np.isfinite(y)
            w_mean, y_mean = W[known].mean(axis=0), y[known].mean()
            self.coef_[k] = np.linalg.lstsq(W[known] - w_mean, y[known] - y_mean, rcond=1e-10)[0]
            self.intercept_[k] = y_mean - self.coef_[k] @ w_mean

    def _predict(self, W: Array) -> Array:
        return W @ self.coef_.T + self.intercept_

    def _learned(self) -> dict[str, Any]:
        return {"coef": self.coef_.tolist(), "intercept": self.intercept_.tolist()}

    def _restore(self, learned: dict[str, Any]) -> None:
        self.coef_, self.intercept_ = np.array(learned["coef"]), np.array(learned["intercept"])
        self.n_targets_ = len(self.intercept_)


class RegMixLightGBM(MixtureRegressor):
    """RegMix's gradient-boosted trees, one booster a target (Liu et al. 2024, arXiv:2407.01492).

    Published settings: 1,000 rounds at learning rate 0.01, LightGBM's defaults besides. Two departures: no early
    stopping, as the published code stops on the rows that it is tested on; and 5 runs a leaf, not 20, up to 128 runs.
    After fit: boosters_ [n_targets].
    """

    def __init__(self, *, rounds=1000, learning_rate=0.01, random_state=None):
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.random_state = random_state

    def _fit(self, W: Array, Y: Array) -> None:
        import lightgbm

        settings = {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "seed": int(check_random_state(self.random_state).randint(2**31)),
            "deterministic": True,
            "force_row_wise": True,  # else timing decides, and with it the order of sums
            "num_threads": 1,  # the tables are small: threads only wait for each other
            "verbosity": -1,
        }
        self.boosters_ = []
        for y in Y.T:
            known = np.isfinite(y)
            if known.sum() <= SMALL_SAMPLE:
                settings["min_data_in_leaf"] = settings["min_data_in_bin"] = 5
            data = lightgbm.Dataset(W[known], label=y[known])
            self.boosters_.append(lightgbm.train(settings, data, num_boost_round=self.rounds))

    def _predict(self, W: Array) -> Array:
        return np.column_stack([np.asarray(b.predict(W, num_threads=1)) for b in self.boosters_])

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator as JSON-able numbers and text."""
        out = super().to_dict()
        out["options"]["random_state"] = plain_seed(self.random_state)
        return out

    def _learned(self) -> dict[str, Any]:
        return {"boosters": [booster.model_to_string() for booster in self.boosters_]}

    def _restore(self, learned: dict[str, Any]) -> None:
        import lightgbm

        self.boosters_ = [lightgbm.Booster(model_str=text) for text in learned["boosters"]]
        self.n_targets_ = len(self.boosters_)


ESTIMATORS = {kind.__name__: kind for kind in (LawRegressor, RegMixLinear, RegMixLightGBM)}


def from_dict(stored: dict[str, Any]) -> MixtureRegressor:
    """Rebuilds a fitted estimator from what its `to_dict` gave. Raises ValueError for an unknown or a broken one."""
    name = stored.get("estimator")
    if name not in ESTIMATORS:
        raise ValueError(f"no estimator is called {name!r}: choose from {sorted(ESTIMATORS)}")
    missing = {"options", "domains", "order", "flat", "learned"} - stored.keys()
    if missing:
        raise ValueError(f"a stored {name} lacks {sorted(missing)}: fit it again")
    return ESTIMATORS[name].from_dict(stored)
