"""Bootstrap draws of domain and general loss under the fitted laws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixopt.continual.fit import ContinualFit
from mixopt.continual.grid import Points, Predicted, joined, within
from mixopt.continual.results import Interval, Intervals, Optimum
from mixopt.runs.continual import Floats

Places = NDArray[np.int64]
LEVEL = 0.8  # of the intervals
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
SURE = 0.9  # share of the draws in which a run keeps the tolerance that is called sure
BETWEEN = 9  # points that draws are read at between two shares


@dataclass(frozen=True, eq=False)
class Draws(Predicted):
    """Losses of one set of runs, (n_draws, runs) nats/token; the same draws in every set that was drawn with it.

    points: the runs, flat or a grid (sizes, shares).
    """

    def interval(self, place: int) -> Intervals:
        """Of one run's losses."""
        return Intervals(*(interval(values[:, place]) for values in (self.domain, self.general, self.rise)))

    def sure(self, tolerance: float, runs: Predicted) -> int | None:
        """Which of the runs, predicted to be `runs`, has the lowest domain loss of those that keep the tolerance in
        `SURE` of the draws; None where none does."""
        kept = within(self.rise, tolerance).mean(axis=0) >= SURE
        return int(np.argmin(np.where(kept, runs.domain, np.inf))) if kept.any() else None

    def optimum(self, tolerance: float, objective: Callable[[Floats, Floats], Floats]) -> Optimum:
        """What each draw by itself would choose of a grid.

        objective: what is minimised, from domain losses (..., shares) and shares (shares,). Draws are read between the
        grid's shares in straight lines, and between its sizes by a parabola.
        """
        grid = self.points
        share = _finer(grid.share[0])
        domain, rise = (_finer(values.reshape(-1, *grid.share.shape)) for values in (self.domain, self.rise))
        values = np.where(within(rise, tolerance), objective(domain, share), np.inf)
        place = np.argmin(values, axis=2)  # (n_draws, sizes)
        lowest = np.take_along_axis(values, place[..., None], axis=2)[..., 0]
        found = np.isfinite(lowest).any(axis=1)
        row, aside = _lowest(lowest[found])
        log_params = np.log(grid.params[:, 0])[None, :]
        log_tokens = _finer(np.log(grid.tokens))[np.arange(len(grid.tokens)), place[found]]
        return Optimum(
            none_in=float(1 - found.mean()),
            share_ends=interval(_between(share[place[found]], row, aside)).ends,
            params_ends=interval(np.exp(_between(log_params, row, aside))).ends,
            tokens_ends=interval(np.exp(_between(log_tokens, row, aside))).ends,
        )


def draw(fit: ContinualFit, sets: Mapping[str, Points], n: int) -> dict[str, Draws]:
    """Draws of several sets of runs in one go: each draw is one refit, however many runs there are."""
    flat = {name: points.flat() for name, points in sets.items()}
    every = joined(list(flat.values()))
    tokens, share = every.fresh_equivalent()
    domain = fit.draws("domain", every.params, tokens, share, n)
    general = fit.draws("general", every.params, every.tokens, every.share, n)
    ends = np.cumsum([len(points.share) for points in flat.values()])[:-1]
    losses = (domain, general, general / fit.start(every.params) - 1)
    parts = zip(*(np.split(values, ends, axis=1) for values in losses), strict=True)
    return {name: Draws(points, *part) for (name, points), part in zip(sets.items(), parts, strict=True)}


def _finer(values: Floats) -> Floats:
    """Values (..., shares) with `BETWEEN` more in a straight line between each two."""
    part = np.linspace(0, 1, BETWEEN + 1, endpoint=False)
    left, right = values[..., :-1, None], values[..., 1:, None]
    lines = (left + (right - left) * part).reshape(*values.shape[:-1], -1)
    return np.concatenate([lines, values[..., -1:]], axis=-1)


def _lowest(values: Floats) -> tuple[Places, Floats]:
    """Of values (n, sizes) the column of the least, (n,), and by what part of a column the parabola through it and its
    neighbours has its lowest point away from it, -0.5 to 0.5."""
    column = np.argmin(values, axis=1)
    padded = np.pad(values, ((0, 0), (1, 1)), constant_values=np.inf)
    before, at, after = (padded[np.arange(len(values)), column + k] for k in (0, 1, 2))
    inside = np.isfinite(before) & np.isfinite(after) & (before + after > 2 * at)
    bend = np.where(inside, before + after - 2 * at, 1.0)
    return column, np.where(inside, (np.where(inside, before, 0.0) - np.where(inside, after, 0.0)) / (2 * bend), 0.0)


def _between(values: Floats, column: Places, aside: Floats) -> Floats:
    """Values (n, sizes) read at so much of a column, aside, away from a column, both (n,)."""
    values = np.broadcast_to(values, (len(column), values.shape[1]))
    rows = np.arange(len(column))
    other = np.clip(column + np.sign(aside).astype(int), 0, values.shape[1] - 1)
    here, there = values[rows, column], values[rows, other]
    return here + (there - here) * np.abs(aside)


def interval(values: Floats) -> Interval:
    """Of the finite values."""
    finite = values[np.isfinite(values)]
    return Interval(*np.quantile(finite, ENDS).tolist()) if len(finite) else Interval()
