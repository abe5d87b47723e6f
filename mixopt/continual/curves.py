"""Both losses over shares and over tokens, with the trained points, for pictures of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.continual.draws import Worlds, band
from mixopt.continual.fit import held
from mixopt.continual.grid import Budget, Points, Swept, swept

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.continual.fit import ContinualFit

    Floats = NDArray[np.float64]

LOSSES = ("domain", "general")
SHOWN = 101  # points of a curve over shares
LENGTHS = 41  # points of a curve over tokens
LONGER = 2.0  # times the longest run: how far curves over tokens go, and at least to the answer
LINES = 6  # trained shares that have a line


def outside(fit: ContinualFit, points: Points) -> NDArray[np.bool_]:
    """Which runs lie outside the trained sizes, tokens (from 0 on) or shares, in the points' shape."""
    out = np.zeros(points.share.shape, dtype=bool)
    for key in ("params", "tokens", "share"):
        low, high = fit.runs.ends(key)
        values = getattr(points, key)
        out |= (values > high * 1.01) | (values < low * 0.99 if key != "tokens" else False)
    return out


def lengths(fit: ContinualFit, run: Swept) -> Floats:
    """Token counts that curves are drawn over; none where all runs have one."""
    if held(fit.runs, "tokens"):
        return np.array([])
    low, high = fit.runs.ends("tokens")
    return np.exp(np.linspace(np.log(low), np.log(max(LONGER * high, float(run.at.tokens))), LENGTHS))


def over_tokens(run: Swept, tokens: Floats) -> Points:
    """Runs of one size and share at several lengths; all domain text is fresh, as it was in training."""
    full = np.ones(len(tokens))
    return Points(full * float(run.at.params), tokens, full * float(run.at.share))


def share_curves(fit: ContinualFit, budget: Budget, worlds: Worlds) -> dict[str, Any]:
    """Losses over the shares of the set "own", thinned, with bands."""
    at = worlds.at["own"]
    places = np.unique(np.linspace(0, len(at.share) - 1, SHOWN).round().astype(int))
    points = at.pick(places)
    runs = swept(fit, points)
    return {
        "share": points.share.tolist(),
        "tokens": points.tokens.tolist(),
        "outside": outside(fit, points).tolist(),
        "domain": {"loss": runs.domain.tolist()} | band(worlds.domain["own"][:, places]),
        "general": {"loss": runs.general.tolist()} | band(worlds.general["own"][:, places]),
    }


def token_curves(fit: ContinualFit, run: Swept, worlds: Worlds) -> dict[str, Any] | None:
    """Losses over tokens at the answer's share, with bands, and at trained shares; None where all runs are as long."""
    if "tokens" not in worlds.at:
        return None
    points = worlds.at["tokens"]
    tokens, most = points.tokens, fit.runs.ends("tokens")[1]
    bands = {of: band(getattr(worlds, of)["tokens"]) for of in LOSSES}
    own = _line(fit, run, tokens, float(run.at.share))
    lines = [own | {of: own[of] | bands[of] for of in LOSSES} | {"answer": True}]
    lines += [_line(fit, run, tokens, share) | {"answer": False} for share in _some(np.unique(fit.runs.share))]
    return {"tokens": tokens.tolist(), "outside": (tokens > most * 1.01).tolist(), "lines": lines}


def _line(fit: ContinualFit, run: Swept, tokens: Floats, share: float) -> dict[str, Any]:
    size = np.full(len(tokens), float(run.at.params))
    losses = {of: fit.loss(of, size, tokens, np.full(len(tokens), share)).tolist() for of in LOSSES}
    return {"share": share} | {of: {"loss": values} for of, values in losses.items()}


def _some(shares: Floats) -> Sequence[float]:
    places = np.unique(np.linspace(0, len(shares) - 1, LINES).round().astype(int))
    return [float(shares[n]) for n in places]


def measured(fit: ContinualFit) -> list[dict[str, Any]]:
    """The trained checkpoints, nan as None; `last` is the longest of its run."""
    runs = fit.runs
    start = fit.start(runs.params)
    longest = {name: max(t for t, one in zip(runs.tokens, runs.run, strict=True) if one == name) for name in runs.run}
    rows = []
    for n, name in enumerate(runs.run):
        values = {of: float(runs.measured(of)[n]) for of in LOSSES}
        rise = values["general"] / float(start[n]) - 1
        rows.append(
            {
                "run": name,
                "params": float(runs.params[n]) if "params" in runs.knows else None,
                "tokens": float(runs.tokens[n]) if "tokens" in runs.knows else None,
                "share": float(runs.share[n]),
                "last": bool(runs.tokens[n] == longest[name]),
            }
            | {key: value if np.isfinite(value) else None for key, value in (values | {"rise": rise}).items()}
        )
    return rows
