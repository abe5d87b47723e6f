"""Critical shares of continued pretraining: where a loss rises with its own share, and the least replay."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from regressors.law import Array
from regressors.laws.effective_tokens import R_STAR, effective_shares

N_SHARES = 201  # places between the lowest and the highest trained share at which a crossing is looked for
N_SLOPES = 21  # places between which a slope is looked at
N_TOKENS = 5  # token counts, from the fewest to the most trained, at which it is


class Predictor(Protocol):
    """An estimator of continued pretraining."""

    X_: Array

    def predict(self, X: Array) -> Array: ...

    def draws(self, X: Array, n: int = 200, *, random_state: int | None = None) -> Array: ...

    def start_at(self, params: Array) -> Array: ...


@dataclass(frozen=True)
class ShareSlope:
    """Whether a loss falls as its own text's share grows, over the trained sizes, tokens and shares."""

    falls: bool
    rising: float  # share of the steps looked at in which the loss rises, 0 to 1
    where: tuple[float, float, float]  # parameters, tokens and share at the steepest rise, or the flattest fall

    def sentence(self) -> str:
        """The caution for whoever relies on it."""
        params, tokens, share = self.where
        return (
            f"the fitted loss rises with its own text's share in {self.rising:.0%} of the trained range, most at "
            f"{params:.3g} parameters, {tokens:.3g} tokens and a share of {share:.2f}: read no optimum off it there"
        )


def falls_with_share(X: Array, predict: Callable[[Array], Array]) -> ShareSlope:
    """Looks at the slope by the share between the lowest and the highest trained share.

    X (n_rows, 3 or more): the rows that were fitted; predict(points) gives losses (n_points,).
    """
    sizes, low, high = np.unique(X[:, 0]), X[:, 2].min(), X[:, 2].max()
    tokens = np.unique(np.geomspace(X[:, 1].min(), X[:, 1].max(), N_TOKENS))
    shares = np.linspace(low, high, N_SLOPES)
    if not low < high:
        return ShareSlope(True, 0.0, (float(sizes[0]), float(tokens[0]), float(low)))
    mesh = np.meshgrid(sizes, tokens, shares, indexing="ij")
    given = np.column_stack([m.ravel() for m in mesh])
    if X.shape[1] > 3:  # what else the law takes stays typical
        given = np.column_stack([given, np.tile(np.median(X[:, 3:], axis=0), (len(given), 1))])
    rise = np.diff(predict(given).reshape(mesh[0].shape), axis=2)
    worst = np.unravel_index(rise.argmax(), rise.shape)
    where = (float(sizes[worst[0]]), float(tokens[worst[1]]), float(shares[worst[2]]))
    return ShareSlope(bool((rise <= 0).all()), float((rise > 0).mean()), where)


def with_effective_tokens(X: Array, unique: float, *, own: bool = True, r_star: float = R_STAR) -> Array:
    """X (n, 3) with effective tokens in place of repeated ones (`regressors.laws.effective_tokens`).

    unique: the tokens there are of the limited text; own: whether that is the loss's own text, whose share is X's, or
    the other one. Fit and predict with both alike, where runs repeat too.
    """
    X = np.array(X, dtype=float)
    tokens, share = X[:, 1], X[:, 2] if own else 1 - X[:, 2]
    after = tokens > 0
    pool = np.where(after, unique / np.where(after, tokens, 1.0), np.inf)
    effective = np.where(after, effective_shares(np.where(after, share, 0.0), pool, r_star), 0.0)
    whole = np.where(after, 1 - share + effective, 1.0)
    X[:, 1] *= whole
    X[:, 2] = np.where(after, (effective if own else 1 - share) / np.where(whole > 0, whole, 1.0), X[:, 2])
    return X


@dataclass(frozen=True)
class LeastShare:
    """The least share of a text from which on its loss stays within a limit."""

    share: float  # nan: no trained share is enough
    low: float  # nan where more than (1 - level) / 2 of the draws find no trained share enough
    high: float
    limit: float  # nats/token
    at_edge: bool  # the lowest trained share is enough: less may be too


def least_share(
    general: Predictor,
    *,
    params: float,
    tokens: float,
    tolerance: float = 0.0,
    draws: int = 200,
    level: float = 0.8,
    random_state: int | None = 0,
) -> LeastShare:
    """The replay that it takes: the least general share, of those between the lowest and the highest trained, from
    which on the general loss after so many tokens is at most `tolerance` (a share of it) above that before continuing.

    With tolerance 0 it is the critical share, one minus the critical mixture ratio of Gu et al. 2024
    (arXiv:2407.17467). low, high: the interval of so much of the draws; a draw in which no trained share is enough
    counts as above all others. Raises ValueError where the loss before continuing isn't known.
    """
    start = float(general.start_at(np.array([params]))[0])
    if not np.isfinite(start):
        raise ValueError("the loss before continuing isn't known: give the fit a row with 0 tokens and that loss")
    limit = start * (1 + tolerance)
    shares = np.linspace(general.X_[:, 2].min(), general.X_[:, 2].max(), N_SHARES)
    points = np.column_stack([np.full(N_SHARES, params), np.full(N_SHARES, tokens), shares])
    over = general.predict(points)[None] - limit
    share = crossings(shares, over)[0]
    low = high = float("nan")
    if draws:
        each = crossings(shares, general.draws(points, draws, random_state=random_state) - limit)
        each = np.sort(np.where(np.isnan(each), np.inf, each))
        ends = (each[int(np.floor(q * (draws - 1)))] for q in ((1 - level) / 2, (1 + level) / 2))
        low, high = (float(end) if np.isfinite(end) else float("nan") for end in ends)
    return LeastShare(float(share), low, high, limit, bool((over <= 0).all()))


def crossings(shares: Array, over: Array) -> Array:
    """The least of the shares (n_shares,), rising, from which on `over` (n, n_shares) stays at 0 or below: (n,).

    Linear between shares; the first share where all stay below, nan where the last one is above.
    """
    above = over > 0
    last = over.shape[1] - 1 - above[:, ::-1].argmax(axis=1)  # the last one above; meaningless where none is
    out = np.full(len(over), shares[0])
    rows = np.flatnonzero(above.any(axis=1) & (last < over.shape[1] - 1))
    left, right = over[rows, last[rows]], over[rows, last[rows] + 1]
    out[rows] = shares[last[rows]] + (shares[1] - shares[0]) * left / (left - right)
    out[above[:, -1]] = np.nan
    return out
