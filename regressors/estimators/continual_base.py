"""Base class of estimators of continued pretraining; what a planner may rely on stands in `continual`."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from regressors.estimators.base import BaseRegressor
from regressors.law import Array
from regressors.laws.continual import INPUTS

TOLERANCE = 0.01  # relative: sizes or token counts this close are one


class BaseContinualRegressor(BaseRegressor):
    """Base of estimators of continued pretraining: checked runs, starting losses, inputs that all runs share, draws."""

    stored_keys = frozenset({"options", "X", "y", "start", "cautions", "learned"})
    X_: Array  # (n_rows, 3) the fitted rows, those with tokens
    y_: Array  # (n_rows,) their losses, nats/token
    start_: dict[float, float]  # size -> loss before continuing, nats/token
    cautions_: tuple[str, ...]

    def fit(self, X: Array, y: Array) -> Self:
        """Learns from runs; rows whose loss is nan are left out.

        Raises ValueError for counts or shares that can't be, and for fewer than 2 rows with tokens above 0.
        """
        X, y = self._checked(X), np.asarray(y, dtype=float)
        if y.shape != (len(X),):
            raise ValueError(f"y must be ({len(X)},), one loss for each row of X, got {y.shape}")
        known = np.isfinite(y)
        begins = known & (X[:, 1] == 0)
        sizes = np.unique(X[begins, 0]) if X.shape[1] == len(INPUTS) else ()  # else starts differ by more than size
        self.start_ = {float(size): float(y[begins & (X[:, 0] == size)].mean()) for size in sizes}
        rows = known & (X[:, 1] > 0)
        if rows.sum() < 2:
            raise ValueError(f"a fit needs 2 rows or more with tokens above 0 and a loss, got {rows.sum()}")
        self.X_, self.y_ = X[rows], y[rows]
        self._learn()
        self.cautions_ = tuple(self._cautions())
        return self

    def predict(self, X: Array) -> Array:
        """Losses (n_points,), nats/token, at X (n_points, 3); at 0 tokens the loss before continuing.

        Raises ValueError for a size or token count other than the only one that was trained, and at 0 tokens where no
        start is known.
        """
        check_is_fitted(self, "X_")
        X = self._movable(self._checked(X))
        out = self.start_at(X[:, 0])
        after = X[:, 1] > 0
        if not np.isfinite(out[~after]).all():
            raise ValueError("the loss at 0 tokens isn't known: give the fit a row with 0 tokens and the starting loss")
        if after.any():
            out[after] = self._predicted(X[after])
        return out

    def draws(self, X: Array, n: int = 200, *, random_state: int | np.random.RandomState | None = None) -> Array:
        """Bootstrap draws of losses, (n, n_points), around `predict`. Raises as `predict`.

        Each draw's runs are the fitted ones with their residuals drawn again, by a factor a run and one a row: the
        checkpoints of a run err alike, in part (wild bootstrap, Wu 1986). With 5 shares there are too few runs to draw
        whole runs.
        """
        centre = self.predict(X)
        X = self._checked(X)
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
        after = X[:, 1] > 0
        out = np.tile(centre, (n, 1))
        if after.any():
            out[:, after] += self._drawn(X[after], n, rng)
        return out

    def start_at(self, params: Array) -> Array:
        """The loss before continuing, (n,), at sizes (n,): linear in logs between and beyond sizes, where two or more
        are known; nan where none is."""
        params = np.asarray(params, dtype=float)
        if not self.start_:
            return np.full(params.shape, np.nan)
        sizes, losses = np.log(list(self.start_)), np.array(list(self.start_.values()))
        if len(sizes) == 1:
            return np.full(params.shape, losses[0])
        place = np.clip(np.searchsorted(sizes, np.log(params)), 1, len(sizes) - 1)
        part = (np.log(params) - sizes[place - 1]) / (sizes[place] - sizes[place - 1])
        return losses[place - 1] ** (1 - part) * losses[place] ** part

    def outside(self, X: Array) -> Array:
        """Which points lie outside the trained ranges of size, tokens or share, (n_points,) bool."""
        X = self._checked(X)[:, :3]
        below = self.X_[:, :3].min(axis=0) * (1 - TOLERANCE) - X
        above = X - self.X_[:, :3].max(axis=0) * (1 + TOLERANCE)
        return ((below > 0) | (above > 0)).any(axis=1)

    def _columns(self) -> tuple[str, ...]:
        return INPUTS

    def _learn(self) -> None:
        raise NotImplementedError

    def _cautions(self) -> list[str]:
        return [
            f"all runs have {value:.4g} {COUNTS[k]}: what others do isn't known, and predictions for them are refused"
            for k, value in held(self.X_).items()
        ]

    def _predicted(self, X: Array) -> Array:
        """(n_points,) at X with tokens above 0."""
        raise NotImplementedError

    def _refitted(self, Y: Array, X: Array) -> Array:
        """What fits to each column of Y (n_rows, m) in place of y_ predict at X (n_points, 3): (n_points, m)."""
        raise NotImplementedError

    def _bootstrap_losses(self, n: int, rng: np.random.Generator) -> Array:
        """Losses of the fitted rows, (n_rows, 1 + n): a smooth curve, and n times with residuals drawn again."""
        smooth, used = self._smooth()
        residual = (self.y_ - smooth) * np.sqrt(len(smooth) / max(len(smooth) - used, 1.0))
        _, run = np.unique(np.delete(self.X_, 1, axis=1), axis=0, return_inverse=True)
        run = run.reshape(-1)
        factor = rng.standard_normal((run.max() + 1, n))[run] + rng.standard_normal((len(run), n))
        return np.column_stack([smooth, smooth[:, None] + residual[:, None] * factor / np.sqrt(2)])

    def _smooth(self) -> tuple[Array, float]:
        """A smooth curve through the fitted rows, (n_rows,), and how many parameters it took."""
        raise NotImplementedError

    def _drawn(self, X: Array, n: int, rng: np.random.Generator) -> Array:
        """What draws add to predictions, (n, n_points)."""
        again = self._refitted(self._bootstrap_losses(n, rng), X)
        return (again[:, 1:] - again[:, [0]]).T

    def _checked(self, X: Array) -> Array:
        X = np.asarray(X, dtype=float)
        names = self._columns()
        if X.ndim != 2 or X.shape[1] != len(names):
            raise ValueError(f"X must be (n, {len(names)}): {', '.join(names)}; got {X.shape}")
        if not (np.isfinite(X[:, 0]) & (X[:, 0] > 0)).all():
            raise ValueError("X's first column: every run needs its number of parameters, above 0")
        if not (np.isfinite(X[:, 1]) & (X[:, 1] >= 0)).all():
            raise ValueError("X's second column: training tokens since the start, 0 or more")
        after = X[:, 1] > 0
        if not ((X[after, 2] >= 0) & (X[after, 2] <= 1)).all():
            raise ValueError("X's third column: a share from 0 to 1")
        return X

    def _movable(self, X: Array) -> Array:
        """X with what can't be moved set to the fitted value. Raises ValueError where it was moved."""
        X = X.copy()
        for k, value in held(self.X_).items():
            rows = X[:, 1] > 0 if k == 1 else np.full(len(X), True)
            if (np.abs(X[rows, k] / value - 1) > TOLERANCE).any():
                raise ValueError(
                    f"all runs have {value:.4g} {COUNTS[k]}: what another number does can't be known from them; "
                    f"ask for {value:.4g} or train a second one"
                )
            X[rows, k] = value
        return X

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator and the runs it was fitted to, as JSON-able numbers and text."""
        check_is_fitted(self, "X_")
        return {
            "estimator": self.stored_name,
            "options": self._stored_options(),
            "X": self.X_.tolist(),
            "y": self.y_.tolist(),
            "start": [[size, loss] for size, loss in self.start_.items()],
            "cautions": list(self.cautions_),
            "learned": self._learned(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave. Raises ValueError for other or incomplete numbers."""
        self = cls._from_options(stored)
        self.X_, self.y_ = np.array(stored["X"], dtype=float), np.array(stored["y"], dtype=float)
        self.start_ = {float(size): float(loss) for size, loss in stored["start"]}
        self.cautions_ = tuple(stored["cautions"])
        self._restore(stored["learned"])
        return self

    def _learned(self) -> dict[str, Any]:
        raise NotImplementedError

    def _restore(self, learned: Mapping[str, Any]) -> None:
        raise NotImplementedError


COUNTS = {0: "parameters", 1: "tokens"}  # columns of X


def held(X: Array) -> dict[int, float]:
    """Columns of sizes and tokens that are the same in all rows, and their values."""
    same = {k: X[:, k].max() / X[:, k].min() - 1 <= TOLERANCE for k in COUNTS}
    return {k: float(np.exp(np.log(X[:, k]).mean())) for k in COUNTS if same[k]}
