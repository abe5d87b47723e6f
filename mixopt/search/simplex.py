"""The feasible set: mixtures on the simplex within bounds; projection, sampling and distance to a convex hull."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixopt.errors import MixoptError
from mixopt.formatting import comma_list

if TYPE_CHECKING:
    from mixopt.runs.table import RunTable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TOLERANCE = 1e-9  # of a weight or of their sum: far below one token in a billion, far above rounding


@dataclass(frozen=True, eq=False)
class Feasible:
    """{w : low <= w <= high, sum w = 1}, one weight (a share of training tokens) a domain.

    domains: names; low, high: (n_domains,); why_high: the setting behind each upper limit, for messages.
    Make one with `feasible`, which refuses an empty set.
    """

    domains: tuple[str, ...]
    low: Floats
    high: Floats
    why_high: tuple[str, ...]

    @property
    def free(self) -> Bools:
        """Which weights can move, (n_domains,): the other weights' limits count too."""
        low = np.maximum(self.low, 1 - (self.high.sum() - self.high))
        high = np.minimum(self.high, 1 - (self.low.sum() - self.low))
        return high - low > TOLERANCE

    def contains(self, w: ArrayLike, *, tolerance: float = 1e-6) -> bool:
        """Whether w (n_domains,) keeps every limit and sums to 1."""
        w = np.asarray(w, dtype=float)
        inside = (w >= self.low - tolerance).all() and (w <= self.high + tolerance).all()
        return bool(inside and abs(w.sum() - 1) <= tolerance)

    def project(self, mixtures: ArrayLike) -> Floats:
        """The feasible mixtures nearest (Euclidean) to the given ones, (n, n_domains) or (n_domains,).

        Exact: the nearest point is clip(v - t, low, high), and its sum falls piecewise linearly with t,
        so t is found among the 2 n_domains bends and by one interpolation.
        """
        v = np.atleast_2d(np.asarray(mixtures, dtype=float))
        bends = np.sort(np.concatenate([v - self.high, v - self.low], axis=1), axis=1)
        t = np.array([self._shift(row, bend) for row, bend in zip(v, bends, strict=True)])
        w = np.clip(v - t[:, None], self.low, self.high)
        return w.reshape(np.shape(mixtures))

    def _shift(self, v: Floats, bends: Floats) -> float:
        sums = np.clip(v - bends[:, None], self.low, self.high).sum(axis=1)  # falls from sum(high) to sum(low)
        last = int(np.searchsorted(-sums, -1.0, side="right")) - 1  # the last bend whose sum is at least 1
        if last < 0:
            return float(bends[0])  # sum(high) is 1, less rounding
        if last == len(bends) - 1 or sums[last] == sums[last + 1]:
            return float(bends[last])
        fraction = (sums[last] - 1.0) / (sums[last] - sums[last + 1])
        return float(bends[last] + fraction * (bends[last + 1] - bends[last]))

    def sample(self, n: int, *, rng: np.random.Generator, steps: int | None = None) -> Floats:
        """n mixtures spread over the set, (n, n_domains), close to uniformly.

        Hit-and-run (Smith 1984): from the middle, each chain steps along random directions within the set, to a
        uniform point of the chord. steps: how many (default 10 a free weight and no fewer than 50).
        """
        w = np.tile(self.project((self.low + self.high) / 2), (n, 1))
        free = np.flatnonzero(self.free)
        if len(free) < 2:
            return w
        low, high = self.low[free], self.high[free]
        for _ in range(steps or max(50, 10 * len(free))):
            direction = _directions(n, len(free), rng)
            with np.errstate(divide="ignore", invalid="ignore"):
                a, b = (low - w[:, free]) / direction, (high - w[:, free]) / direction
            backward = np.where(direction == 0, -np.inf, np.minimum(a, b)).max(axis=1)
            forward = np.where(direction == 0, np.inf, np.maximum(a, b)).min(axis=1)
            w[:, free] += rng.uniform(backward, np.maximum(forward, backward))[:, None] * direction
        return self.project(w)

    def sample_near(
        self, centre: ArrayLike, n: int, *, rng: np.random.Generator, concentration: float = 10.0
    ) -> Floats:
        """n Dirichlet mixtures about centre (n_domains,), moved to the nearest feasible one, (n, n_domains).

        concentration: the Dirichlet's total; the higher, the closer to centre.
        """
        # A domain of weight 0 must stay possible: give it a thousandth of an even share.
        alpha = np.maximum(np.asarray(centre, dtype=float), 1e-3 / len(self.domains)) * concentration
        return self.project(rng.dirichlet(alpha, size=n))

    def at_limits(self, w: ArrayLike, *, tolerance: float = 1e-4) -> list[tuple[str, str]]:
        """Limits that w touches: (domain, setting), leaving out weights that cannot move and plain 0 and 1."""
        touched = []
        for name, weight, low, high, why, free in zip(
            self.domains, np.asarray(w, dtype=float), self.low, self.high, self.why_high, self.free, strict=True
        ):
            if free and low > 0 and weight <= low + tolerance:
                touched.append((name, "min_weight"))
            elif free and high < 1 and weight >= high - tolerance:
                touched.append((name, why))
        return touched


def _directions(n: int, d: int, rng: np.random.Generator) -> Floats:
    """n directions that keep a sum, (n, d): half Gaussian, half between two coordinates, which reaches corners."""
    gaussian = rng.standard_normal((n, d))
    gaussian -= gaussian.mean(axis=1, keepdims=True)
    pairs = np.zeros((n, d))
    order = rng.permuted(np.tile(np.arange(d), (n, 1)), axis=1)
    pairs[np.arange(n), order[:, 0]], pairs[np.arange(n), order[:, 1]] = 1.0, -1.0
    return np.where(rng.random(n)[:, None] < 0.5, gaussian, pairs)


def feasible(
    domains: Sequence[str],
    *,
    min_weight: float | Mapping[str, float] = 0.0,
    max_weight: float | Mapping[str, float] = 1.0,
    fixed: Mapping[str, float] | None = None,
    pools: Mapping[str, float | None] | None = None,
    tokens: float | None = None,
    max_epochs: float | Mapping[str, float] | None = None,
) -> Feasible:
    """The set of mixtures that keep these limits.

    min_weight, max_weight: shares of training tokens, for all domains or by name.
    fixed: weights that may not move. pools: unique tokens a domain (None: unlimited), tokens: the full run's.
    max_epochs: most epochs of a pool, for all domains or by name: a cap of max_epochs * pool / tokens.
    Raises MixoptError, naming the limit at fault, when a limit is nonsense or no mixture keeps them all.
    """
    names = tuple(domains)
    limits = {"min_weight": min_weight, "max_weight": max_weight, "fixed": fixed, "max_epochs": max_epochs}
    for key, given in limits.items():
        unknown = [name for name in given if name not in names] if isinstance(given, Mapping) else []
        if unknown:
            raise MixoptError(f"{key} names {unknown[0]!r}, which is no domain: choose from {', '.join(names)}")
    low = np.array([_of(min_weight, name, 0.0) for name in names])
    high = np.array([_of(max_weight, name, 1.0) for name in names])
    why = ["max_weight"] * len(names)
    for i, name in enumerate(names):
        cap = _epoch_cap(name, pools, tokens, max_epochs)
        if cap is not None and cap < high[i]:
            high[i], why[i] = cap, "max_epochs"
        weight = None if fixed is None else fixed.get(name)
        _check_limits(name, low[i], high[i], why[i], weight)
        if weight is not None:
            low[i] = high[i] = weight
            why[i] = "fixed"
    _check_sums(names, low, high, why)
    return Feasible(domains=names, low=low, high=high, why_high=tuple(why))


def _of(given: float | Mapping[str, float] | None, name: str, default: float) -> float:
    if isinstance(given, Mapping):
        return float(given.get(name, default))
    return default if given is None else float(given)


def _epoch_cap(
    name: str,
    pools: Mapping[str, float | None] | None,
    tokens: float | None,
    max_epochs: float | Mapping[str, float] | None,
) -> float | None:
    """The share of training tokens at which the domain's pool has been read max_epochs times."""
    epochs = _of(max_epochs, name, np.inf)
    pool = (pools or {}).get(name)
    if not np.isfinite(epochs) or pool is None or np.isnan(pool):
        return None
    if epochs <= 0:
        raise MixoptError(f"max_epochs of {name} is {epochs:g}: give a number above 0, or fix the weight at 0")
    if tokens is None:
        raise MixoptError("max_epochs needs the full run's token count: set full.tokens, or drop max_epochs")
    return epochs * pool / tokens


def _check_limits(name: str, low: float, high: float, why: str, fixed: float | None) -> None:
    shares = {"min_weight": low, "max_weight": high if why == "max_weight" else None, "fixed weight": fixed}
    for key, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            raise MixoptError(f"{key} of {name} is {share:g}: a weight is a share between 0 and 1")
    if low > high:
        remedy = "raise max_epochs or the pool" if why == "max_epochs" else "raise max_weight"
        raise MixoptError(
            f"{name}: min_weight {low:g} is above {high:.4g}, the most that {why} allows: lower min_weight or {remedy}"
        )
    if fixed is not None and not low <= fixed <= high:
        limit = f"{why} allows {high:.4g}" if fixed > high else f"min_weight is {low:g}"
        raise MixoptError(f"{name} is fixed at {fixed:g}, but {limit}: change one of them")


def _check_sums(names: tuple[str, ...], low: Floats, high: Floats, why: list[str]) -> None:
    if low.sum() > 1 + TOLERANCE:
        held = [name for name, weight in zip(names, low, strict=True) if weight > 0]
        raise MixoptError(
            f"the smallest weights of {comma_list(held)} already sum to {low.sum():.4g}, above 1: "
            "lower min_weight or the fixed weights"
        )
    if high.sum() < 1 - TOLERANCE:
        capped = [name for name, setting in zip(names, why, strict=True) if setting == "max_epochs"]
        remedy = "raise max_weight or the fixed weights"
        if capped:
            remedy = f"raise max_epochs or the pools (they cap {comma_list(capped)}), or lower full.tokens"
        raise MixoptError(f"the largest weights allowed sum to {high.sum():.4g}, below 1: {remedy}")


def total_variation(a: ArrayLike, b: ArrayLike) -> Floats:
    """Share of training tokens that changes domain between mixtures, 0 to 1, along the last axis."""
    return np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).sum(axis=-1) / 2


def nearest(w: ArrayLike, mixtures: ArrayLike) -> tuple[int, float]:
    """Row of mixtures (n, n_domains) nearest to w (n_domains,), and its total-variation distance."""
    distances = total_variation(mixtures, w)
    row = int(np.argmin(distances))
    return row, float(distances[row])


def distance_to_hull(w: ArrayLike, mixtures: ArrayLike) -> float:
    """Total-variation distance from w (n_domains,) to the convex hull of mixtures (n, n_domains): 0 inside.

    A linear program: shares of the mixtures, and what must be added to and taken from their blend to make w.
    """
    from scipy.optimize import linprog

    w = np.asarray(w, dtype=float)
    points = np.asarray(mixtures, dtype=float)
    points = points / points.sum(axis=1, keepdims=True)  # printed weights may sum to .997
    n, d = points.shape
    cost = np.concatenate([np.zeros(n), np.full(2 * d, 0.5)])
    blend = np.hstack([points.T, np.eye(d), -np.eye(d)])
    shares = np.concatenate([np.ones(n), np.zeros(2 * d)])
    found = linprog(cost, A_eq=np.vstack([blend, shares]), b_eq=np.append(w, 1.0), bounds=(0, None), method="highs")
    assert found.status == 0, found.message  # one mixture plus what w lacks is always a solution
    return max(float(found.fun), 0.0)


def inside_hull(w: ArrayLike, mixtures: ArrayLike, *, tolerance: float = 1e-3) -> bool:
    """Whether w is a blend of the mixtures, give or take a share `tolerance` of the training tokens.

    The default is the rounding of published tables, which print three decimals.
    """
    return distance_to_hull(w, mixtures) <= tolerance


def searched(table: RunTable) -> Feasible:
    """All mixtures, but for domains that never varied: their share stays, as nothing is known of any other."""
    return feasible(table.domains, fixed=never_varied(table))


def never_varied(table: RunTable) -> dict[str, float]:
    """Domains of one share in all runs, with it."""
    weights = table.weights / table.weights.sum(axis=1, keepdims=True)
    return {name: float(w[0]) for name, w in zip(table.domains, weights.T, strict=True) if np.ptp(w) <= 1e-6}
