"""What shares, sizes and tokens come to, swept exactly: the best under a tolerance, and the front of both losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.plan.surface import TRAINING
from regressors.laws.effective_tokens import R_STAR, effective_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.continual.fit import ContinualFit

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

SHARES = 401  # of a sweep with one size
SIZES, FEWER = 25, 201  # sizes, and shares, of a sweep with several
ZOOMS, ACROSS, DOWN = 4, 41, 21  # rounds of laying so many shares, and sizes, between the neighbours of the best
LEAST = 1e-3  # of the tokens: the smallest domain share where a smaller one means a longer run
SLACK = 1e-9  # relative, of a limit


@dataclass(frozen=True)
class Budget:
    """How long a run is at each size and domain share.

    sizes: the parameters that are allowed, or the lowest and highest of a range. tokens: of every run; else compute:
    6 N D FLOPs of every run; else so many passes over the domain's text, tokens = passes domain_tokens / share.
    domain_tokens: of different domain text, None: as much as wanted. most_tokens: longer runs aren't looked at, and no
    domain shares but those between the two of `shares`.
    """

    sizes: tuple[float, ...]
    tokens: float | None = None
    compute: float | None = None
    domain_tokens: float | None = None
    passes: float = 1.0
    r_star: float = R_STAR
    most_tokens: float = np.inf
    shares: tuple[float, float] = (0.0, 1.0)

    @property
    def by_share(self) -> bool:
        """Whether a smaller domain share means a longer run."""
        return self.tokens is None and self.compute is None

    def ends(self) -> tuple[float, float]:
        """The lowest and the highest domain share that is looked at; none where the first is above the second."""
        low, high = self.shares
        if self.by_share and self.domain_tokens is not None:
            low = max(low, self.passes * self.domain_tokens / self.most_tokens, LEAST)
        return low, high

    def at(self, params: Floats, share: Floats) -> Points:
        """Runs of these sizes and domain shares, broadcast."""
        params, share = np.broadcast_arrays(np.asarray(params, dtype=float), np.asarray(share, dtype=float))
        if self.tokens is not None:
            tokens = np.full(share.shape, self.tokens)
        elif self.compute is not None:
            tokens = self.compute / (TRAINING * params)
        else:
            tokens = self.passes * (self.domain_tokens or 0.0) / share
        return Points(params, tokens, share, self.domain_tokens, self.r_star)


@dataclass(frozen=True, eq=False)
class Points:
    """Runs, arrays of one shape; share is the domain's. unique: different domain tokens, None: unlimited."""

    params: Floats
    tokens: Floats
    share: Floats
    unique: float | None = None
    r_star: float = R_STAR

    @property
    def passes(self) -> Floats | None:
        """Over the domain's text; None where it is unlimited."""
        return None if self.unique is None else self.tokens * self.share / self.unique

    def as_fresh(self) -> tuple[Floats, Floats]:
        """Tokens and domain share of the run without repetition that teaches as much of the domain.

        Repeated domain text counts as fewer fresh tokens (effective tokens of the data-constrained law); the general
        text beside it is what it is. For the domain loss: the general loss meets the text that is really trained on.
        """
        if self.unique is None:
            return self.tokens, self.share
        seen = (self.tokens * self.share).reshape(-1, 1)
        worth = np.real(effective_shares(seen, np.array([self.unique]), self.r_star)).reshape(self.share.shape)
        tokens = worth + self.tokens * (1 - self.share)
        return tokens, worth / tokens

    def flat(self) -> Points:
        return replace(self, **{key: getattr(self, key).reshape(-1) for key in ("params", "tokens", "share")})

    def pick(self, which: Any) -> Points:
        """The runs at these places of the arrays."""
        return replace(self, **{key: getattr(self, key)[which] for key in ("params", "tokens", "share")})


def joined(parts: list[Points]) -> Points:
    """Flat points one after another; all of one text."""
    keys = ("params", "tokens", "share")
    return replace(parts[0], **{key: np.concatenate([getattr(p, key) for p in parts]) for key in keys})


@dataclass(frozen=True, eq=False)
class Swept:
    """Runs with both losses, nats/token, and the change of the general one against its start, all of one shape."""

    at: Points
    domain: Floats
    general: Floats
    rise: Floats  # of the start, a share: 0.03 is 3 % above it

    def one(self, place: int) -> Swept:
        """A single one of flat runs, arrays of no axes."""
        return Swept(self.at.pick(place), self.domain[place], self.general[place], self.rise[place])


def swept(fit: ContinualFit, points: Points) -> Swept:
    """Both losses at the points, in their shape."""
    tokens, share = points.as_fresh()
    domain = fit.loss("domain", points.params, tokens, share)
    general = fit.loss("general", points.params, points.tokens, points.share)
    return Swept(points, domain, general, general / fit.start(points.params) - 1)


def drawn(fit: ContinualFit, points: Points, n: int) -> tuple[Floats, Floats, Floats]:
    """Domain losses, general losses and rises in n worlds, (n, points) each, of flat points."""
    tokens, share = points.as_fresh()
    domain = fit.draws("domain", points.params, tokens, share, n)
    general = fit.draws("general", points.params, points.tokens, points.share, n)
    return domain, general, general / fit.start(points.params) - 1


def grid(budget: Budget, *, shares: int | None = None, sizes: int = SIZES) -> Points:
    """Runs over all shares and, where there are several, sizes from the lowest to the highest: (sizes, shares)."""
    low, high = budget.ends()
    params = np.array(budget.sizes)
    if len(params) > 1:
        params = np.exp(np.linspace(np.log(params.min()), np.log(params.max()), sizes))
    count = shares or (SHARES if len(params) == 1 else FEWER)
    return budget.at(params[:, None], np.linspace(low, high, count)[None, :])


# What is least among runs whose general loss rises by no more than a tolerance.


def domain_loss(runs: Swept) -> Floats:
    return runs.domain


def general_text(runs: Swept) -> Floats:
    """Less of it is sought by who asks for the largest domain share."""
    return 1 - runs.at.share


def general_rise(runs: Swept) -> Floats:
    return runs.rise


def least(fit: ContinualFit, budget: Budget, what=domain_loss, *, tolerance: float = np.inf) -> Swept | None:
    """The run at which `what` is least among those whose general loss rises by no more than `tolerance`.

    The least of the whole grid, then refined between its neighbours; None where no run of the grid is allowed.
    """
    points = grid(budget)
    best: Swept | None = None
    for _ in range(ZOOMS):
        runs = swept(fit, points)
        values = np.where(allowed(runs.rise, tolerance), what(runs), np.inf)
        row, column = np.unravel_index(int(np.argmin(values)), values.shape)
        if not np.isfinite(values[row, column]):
            return best
        found = Swept(
            points.pick((row, column)), runs.domain[row, column], runs.general[row, column], runs.rise[row, column]
        )
        if best is None or what(found) <= what(best):
            best = found
        points = _around(budget, points, int(row), int(column))
    return best


def allowed(rise: Floats, tolerance: float) -> Flags:
    return rise <= tolerance + SLACK * max(1.0, abs(tolerance))


def _around(budget: Budget, points: Points, row: int, column: int) -> Points:
    """A finer grid between the neighbours of one run of a grid."""
    share, logs = points.share[0], np.log(points.params[:, 0])
    shares = np.linspace(share[max(column - 1, 0)], share[min(column + 1, len(share) - 1)], ACROSS)
    rows = max(row - 1, 0), min(row + 1, len(logs) - 1)
    params = np.exp(np.linspace(logs[rows[0]], logs[rows[1]], DOWN)) if len(logs) > 1 else points.params[:, 0]
    return budget.at(params[:, None], shares[None, :])


# The front


def undominated(domain: Floats, general: Floats) -> NDArray[np.int64]:
    """Places of the runs than which none is better in one loss and no worse in the other, by rising general loss."""
    order = np.lexsort((domain, general))
    before = np.minimum.accumulate(np.append(np.inf, domain[order][:-1]))
    return order[domain[order] < before]


def hypervolume(domain: Floats, general: Floats, worst: tuple[float, float]) -> float:
    """The area that the runs dominate below the worst (domain, general) losses; the larger, the better."""
    inside = (domain < worst[0]) & (general < worst[1])
    domain, general = domain[inside], general[inside]
    front = undominated(domain, general)
    floor = np.append(worst[0], domain[front][:-1])
    return float(((worst[1] - general[front]) * (floor - domain[front])).sum())


def front(runs: Swept) -> Swept:
    """The runs of a sweep on the front of rise and domain loss, flat, by rising general loss."""
    at, domain, general, rise = runs.at.flat(), *(x.reshape(-1) for x in (runs.domain, runs.general, runs.rise))
    places = undominated(domain, rise)
    return Swept(at.pick(places), domain[places], general[places], rise[places])
