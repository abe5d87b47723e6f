"""What all mixture regressors have in common.

All take W (n_runs, n_domains), shares of training tokens of 0 or more, and Y (n_runs,) or (n_runs, n_targets) in
nats/token, where nan is a loss that is missing; all predict in Y's shape. `to_dict` gives JSON-able numbers and
text, and `from_dict` rebuilds the estimator from them: nothing stored is ever run. Domains are told apart by their
columns, not by their order: fits work on columns in an order of their own, so permuted columns give the same fit,
permuted.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from regressors.law import Array


def own_order(W: Array) -> Array:
    """The order of domains, (n_domains,), that depends on their columns' content and not on their place."""
    return np.lexsort(W[::-1])


class MixtureRegressor(RegressorMixin, BaseEstimator):
    """What all have in common: checked input, 1-D and 2-D losses, JSON."""

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
        self.order_ = self._own_order(W)
        self._fit(W[:, self.order_], Y)
        return self

    def _own_order(self, W: Array) -> Array:
        return own_order(W)

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


def plain_seed(random_state: Any) -> int | None:
    """A seed that JSON can hold; a generator's state isn't kept."""
    return int(random_state) if isinstance(random_state, int | np.integer) else None


# Predictors that know the slope of their predictions.


class SlopedRegressor(MixtureRegressor):
    """A mixture regressor with exact slopes: a search then needs no trial moves."""

    def gradient(self, W: Array) -> Array:
        """Exact d loss / d share at W (n_points, n_domains): (n_points, n_domains), or (n_points, n_targets, n_domains)
        after a fit to 2-D Y. nats/token per unit of share, each domain by itself, not along the simplex."""
        check_is_fitted(self)
        W = self._checked_shares(W, reset=False)[:, self.order_]
        slopes = self._slopes(W)
        out = slopes[..., self.order_.argsort()]  # back from the fit's own order of domains
        return out[:, 0] if self.flat_ else out

    def _slopes(self, W: Array) -> Array:
        """(n_points, n_targets, n_domains), domains in the fit's own order as W's are."""
        raise NotImplementedError
