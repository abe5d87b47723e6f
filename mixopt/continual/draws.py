"""What could be true beside the fit: both losses in worlds that the runs don't rule out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.continual.grid import Points, Swept, allowed, drawn, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.continual.fit import ContinualFit

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]

LEVEL = 0.8  # of the intervals
BETWEEN = 9  # points that worlds are read at between two shares
SURE = 0.9  # share of the worlds in which a run keeps the tolerance that is called sure


@dataclass(frozen=True, eq=False)
class Worlds:
    """Losses of several sets of runs in the same worlds: set -> (n_draws, runs), nats/token.

    at: set -> flat runs; grids: the same where they were given as a grid of sizes and shares. rise: of the general loss
    against its start, a share.
    """

    at: Mapping[str, Points]
    grids: Mapping[str, Points]
    domain: Mapping[str, Floats]
    general: Mapping[str, Floats]
    rise: Mapping[str, Floats]

    @classmethod
    def of(cls, fit: ContinualFit, sets: Mapping[str, Points], draws: int) -> Worlds:
        """Everything in one go: worlds are fitted once, however many runs are asked about."""
        flat = {name: points.flat() for name, points in sets.items()}
        losses = drawn(fit, joined(list(flat.values())), draws)
        ends = np.cumsum([len(points.share) for points in flat.values()])[:-1]
        parts = [dict(zip(flat, np.split(values, ends, axis=1), strict=True)) for values in losses]
        grids = {name: points for name, points in sets.items() if points.share.ndim == 2}
        return cls(flat, grids, *parts)

    def sure(self, name: str, tolerance: float, runs: Swept) -> int | None:
        """Which of a set's runs, predicted to be `runs`, has the lowest domain loss of those that keep the tolerance in
        `SURE` of the worlds; None where none does."""
        kept = allowed(self.rise[name], tolerance).mean(axis=0) >= SURE
        return int(np.argmin(np.where(kept, runs.domain, np.inf))) if kept.any() else None

    def ends(self, name: str, place: int) -> dict[str, dict[str, float | None]]:
        """Intervals of one run's losses."""
        return {key: ends(getattr(self, key)[name][:, place]) for key in ("domain", "general", "rise")}

    def chosen(self, name: str, tolerance: float, value: Callable[[Floats, Floats], Floats]) -> dict[str, Any]:
        """Intervals of what each world by itself would choose of a set that is a grid of sizes and shares, and in what
        share of the worlds nothing keeps the tolerance.

        value: what is to be least, from domain losses (..., shares) and shares (shares,). Worlds are read between the
        grid's shares in straight lines, and between its sizes by a parabola.
        """
        grid = self.grids[name]
        share = _finer(grid.share[0])
        domain, rise = (_finer(values[name].reshape(-1, *grid.share.shape)) for values in (self.domain, self.rise))
        values = np.where(allowed(rise, tolerance), value(domain, share), np.inf)
        place = np.argmin(values, axis=2)  # (n_draws, sizes)
        least = np.take_along_axis(values, place[..., None], axis=2)[..., 0]
        there = np.isfinite(least).any(axis=1)
        row, aside = _lowest(least[there])
        found = {
            "share": _between(share[place[there]], row, aside),
            "params": np.exp(_between(np.log(grid.params[:, 0])[None, :], row, aside)),
            "tokens": np.exp(_between(_read(_finer(np.log(grid.tokens)), place[there]), row, aside)),
        }
        out: dict[str, Any] = {"none_in": float(1 - there.mean())}
        return out | {f"{key}_ends": list(ends(values).values()) for key, values in found.items()}


def by_domain_loss(domain: Floats, share: Floats) -> Floats:
    return domain


def by_share(domain: Floats, share: Floats) -> Floats:
    """The larger the domain's share, the less."""
    return np.broadcast_to(-share, domain.shape)


def _finer(values: Floats) -> Floats:
    """Values (..., shares) with `BETWEEN` more in a straight line between each two."""
    part = np.linspace(0, 1, BETWEEN + 1, endpoint=False)
    left, right = values[..., :-1, None], values[..., 1:, None]
    lines = (left + (right - left) * part).reshape(*values.shape[:-1], -1)
    return np.concatenate([lines, values[..., -1:]], axis=-1)


def _lowest(values: Floats) -> tuple[Places, Floats]:
    """Of values (n, sizes) the column of the least, (n,), and by what part of a column the parabola through it and its
    neighbours has its lowest point beside it, -0.5 to 0.5."""
    column = np.argmin(values, axis=1)
    padded = np.pad(values, ((0, 0), (1, 1)), constant_values=np.inf)
    before, at, after = (padded[np.arange(len(values)), column + k] for k in (0, 1, 2))
    inside = np.isfinite(before) & np.isfinite(after) & (before + after > 2 * at)
    bend = np.where(inside, before + after - 2 * at, 1.0)
    return column, np.where(inside, (np.where(inside, before, 0.0) - np.where(inside, after, 0.0)) / (2 * bend), 0.0)


def _between(values: Floats, column: Places, aside: Floats) -> Floats:
    """Values (n, sizes) read a part of a column beside a column, both (n,)."""
    values = np.broadcast_to(values, (len(column), values.shape[1]))
    rows = np.arange(len(column))
    other = np.clip(column + np.sign(aside).astype(int), 0, values.shape[1] - 1)
    here, there = values[rows, column], values[rows, other]
    return here + (there - here) * np.abs(aside)


def _read(values: Floats, place: Places) -> Floats:
    """Values (sizes, shares) at places (n, sizes) of their last axis: (n, sizes)."""
    return values[np.arange(len(values))[None, :], place]


def ends(values: Floats) -> dict[str, float | None]:
    """The interval of finite values."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"low": None, "high": None}
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": float(low), "high": float(high)}


def band(values: Floats) -> dict[str, list[float]]:
    """Intervals of many runs at once, from (n_draws, runs)."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {"low": low.tolist(), "high": high.tolist()}
