"""Base classes of all estimators: checked input, 1-D and 2-D losses, options, JSON.

Mixture regressors take W (n_runs, n_domains), shares of training tokens of 0 or more, and Y (n_runs,) or
(n_runs, n_targets) in nats/token, where nan is a loss that is missing; all predict in Y's shape. `to_dict` gives
JSON-able numbers and text, and `from_dict` rebuilds the estimator from them: nothing stored is ever run. Fits
work on domains in an order of their own, by the content of their columns, so permuted columns give the same fit,
permuted.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar, Self
from warnings import warn

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from regressors.law import Array, Law

# Options by the names of one version ago, which stored fits keep -> scikit-learn's.
OLD_OPTIONS: dict[str, str] = {
    "base": "estimator",
    "folds": "cv",
    "members": "estimators",
    "most_runs": "max_runs",
    "rounds": "n_estimators",
    "starts": "n_starts",
}
STORED_OPTIONS: dict[str, str] = {new: old for old, new in OLD_OPTIONS.items()}


class BaseRegressor(RegressorMixin, BaseEstimator):
    """What every estimator has: options, a name that stored fits know it by, laws that go by name."""

    stored_name: ClassVar[str]  # "estimator" in a stored fit; the class's own name where it sets none
    stored_keys: ClassVar[frozenset[str]]  # what a stored fit must hold
    known_laws: ClassVar[Mapping[str, Law]] = {}  # what the option `law` may name

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "stored_name" not in cls.__dict__:
            cls.stored_name = cls.__name__
        if "__init__" in cls.__dict__:
            cls.__init__ = with_old_options(cls.__init__)

    def _checked_losses(self, Y: Any, runs: int) -> Array:
        """Y as (n_runs,) or (n_runs, n_targets) numbers. Raises ValueError for other shapes."""
        if Y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        options: dict[str, Any] = {"dtype": np.float64, "ensure_2d": False, "ensure_all_finite": "allow-nan"}
        Y = np.asarray(check_array(Y, input_name="y", **options))
        if Y.ndim > 2 or len(Y) != runs:
            raise ValueError(f"Y must be (n_runs,) or (n_runs, n_targets) with n_runs = {runs}, got {Y.shape}")
        return Y

    def _law(self) -> Law:
        """The law that the option names, or is. Raises ValueError for an unknown name."""
        law: Law | str = self.law  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(law, Law):
            return law
        if law not in self.known_laws:
            raise ValueError(f"no law is called {law!r}: choose from {sorted(self.known_laws)}")
        return self.known_laws[law]

    def _stored_options(self) -> dict[str, Any]:
        """The options as JSON holds them. Raises ValueError for a law of one's own, whose formula is code."""
        options: dict[str, Any] = self.get_params(deep=False)
        law = options.get("law")
        if isinstance(law, Law):
            if self.known_laws.get(law.name) != law:
                raise ValueError(f"only laws that mixopt knows can be stored, {law.name!r} is another: it is code")
            options["law"] = law.name
        return {STORED_OPTIONS.get(name, name): plain_option(value) for name, value in options.items()}

    @classmethod
    def _from_options(cls, stored: Mapping[str, Any]) -> Self:
        """An unfitted estimator with stored options. Raises ValueError for another one's numbers, or missing ones."""
        check_stored(stored, cls.stored_name, cls.stored_keys)
        options: Mapping[str, Any] = stored["options"]
        return cls(**{OLD_OPTIONS.get(name, name): value for name, value in options.items()})

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.positive_only = True
        tags.regressor_tags.poor_score = True  # scikit-learn's sample tables are neither mixtures nor runs
        return tags


def with_old_options(init: Callable[..., None]) -> Callable[..., None]:
    """An estimator's __init__ that also takes options by their old names, with a warning."""

    @wraps(init)
    def accepting(self: Any, *args: Any, **options: Any) -> None:
        for old in OLD_OPTIONS.keys() & options.keys():
            warn(f"the option {old} is called {OLD_OPTIONS[old]} now", DeprecationWarning, stacklevel=2)
            options[OLD_OPTIONS[old]] = options.pop(old)
        init(self, *args, **options)

    return accepting


def plain_option(value: Any) -> Any:
    """An option as JSON holds it; a random generator's state isn't kept."""
    if isinstance(value, tuple | list | np.ndarray):
        return [plain_option(one) for one in value]
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return None
    return value.item() if isinstance(value, np.generic) else value


def check_stored(stored: Mapping[str, Any], name: str, keys: frozenset[str]) -> None:
    """Raises ValueError where stored numbers are of another estimator than the one called name, or lack keys."""
    if stored.get("estimator") != name:
        raise ValueError(f"these are numbers of a {stored.get('estimator')}, not of a {name}")
    if missing := keys - stored.keys():
        raise ValueError(f"a stored {name} lacks {sorted(missing)}: fit it again")


def own_order(W: Array) -> Array:
    """The order of domains, (n_domains,), that depends on their columns' content and not on their place."""
    return np.lexsort(W[::-1])


class MixtureRegressor(BaseRegressor):
    """Base of regressors of mixtures: checked shares, domains in an order of their own, one fit for all targets."""

    stored_keys = frozenset({"options", "domains", "order", "flat", "learned"})
    n_features_in_: int  # domains; scikit-learn's name

    def fit(self, W: Array, Y: Array) -> Self:
        """Learns from finished runs. Raises ValueError for shares below 0 or a target without any loss."""
        W = self._checked_shares(W, reset=True)
        Y = self._checked_losses(Y, len(W))
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

    def _checked_shares(self, W: Any, *, reset: bool) -> Array:
        W = np.asarray(validate_data(self, W, dtype=np.float64, reset=reset))
        if (W < 0).any():
            raise ValueError("Negative values in data: shares of training tokens are 0 or more")
        return W

    def _fit(self, W: Array, Y: Array) -> None:
        raise NotImplementedError

    def _predict(self, W: Array) -> Array:
        """(n_points, n_targets), domains in the fit's own order."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator as JSON-able numbers and text."""
        check_is_fitted(self)
        return {
            "estimator": self.stored_name,
            "options": self._stored_options(),
            "domains": int(self.n_features_in_),
            "order": self.order_.tolist(),
            "flat": self.flat_,
            "learned": self._learned(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave. Raises ValueError for other or incomplete numbers."""
        self = cls._from_options(stored)
        self.n_features_in_ = stored["domains"]
        self.order_ = np.array(stored["order"])
        self.flat_ = stored["flat"]
        self._restore(stored["learned"])
        return self

    def _learned(self) -> dict[str, Any]:
        raise NotImplementedError

    def _restore(self, learned: Mapping[str, Any]) -> None:
        raise NotImplementedError


class DifferentiableRegressor(MixtureRegressor):
    """Base of mixture regressors with exact gradients: a search then needs no finite differences."""

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


class AtFixedInputs:
    """A fitted estimator with all its columns but the shares held: a predictor of loss from shares, to search with."""

    unique: Array | None  # (n_domains,) unique tokens over the run's tokens, inf where unlimited; None: not seen

    def __init__(self, fitted: MixtureRegressor, held: Array, domains: int):
        self._fitted = fitted
        self._held = held  # (n_columns - n_domains,) what follows the shares; unique tokens first where they're seen
        self._domains = domains

    def rows(self, W: Array) -> Array:
        """What the fitted estimator takes, (n_points, n_columns), at shares W (n_points, n_domains)."""
        W = np.asarray(W, dtype=float)
        return np.column_stack([W, np.broadcast_to(self._held, (len(W), len(self._held)))])

    def predict(self, W: Array) -> Array:
        """Loss at shares W (n_points, n_domains): (n_points,) or (n_points, n_targets). nats/token."""
        return self._fitted.predict(self.rows(W))

    def gradient(self, W: Array) -> Array:
        """Exact d loss / d share at W (n_points, n_domains): (n_points, n_domains), or (n_points, n_targets, n_domains)
        after a fit to 2-D Y. nats/token per unit of share, each domain by itself, not along the simplex."""
        return self._slopes(W, 0)

    def _slopes(self, W: Array, first: int) -> Array:
        """The slopes by n_domains columns from the first on."""
        fitted = self._fitted
        X = fitted._checked_shares(self.rows(W), reset=False)
        columns = range(first, first + self._domains)
        slopes = complex_gradient(lambda moved: fitted._predict(moved[:, fitted.order_]), X, columns)
        return slopes[:, 0] if fitted.flat_ else slopes

    def _stored_unique(self) -> list[float | None] | None:
        if self.unique is None:
            return None
        return [float(u) if np.isfinite(u) else None for u in self.unique]


def complex_gradient(losses: Callable[[Array], Array], X: Array, columns: range) -> Array:
    """d losses(X) / d columns of X by complex steps, exact to rounding: (n_points, n_targets, n_columns)."""
    step, out = 1e-30, []
    for k in columns:
        moved = X.astype(complex)
        moved[:, k] += step * 1j
        out.append(np.imag(losses(moved)) / step)
    return np.stack(out, axis=-1)
