"""Unique tokens of each domain relative to a run's length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.table import RunTable

    Floats = NDArray[np.float64]


def pool_shares(table: RunTable) -> Floats | None:
    """Each domain's unique tokens over the run's tokens, (n_runs, n_domains), inf: unlimited; None where no run states
    its pools, or one doesn't state its tokens."""
    kept = table.kept
    if "tokens" not in kept or any(f"pool/{name}" not in kept for name in table.domains):
        return None
    shares = np.stack([kept[f"pool/{name}"] / kept["tokens"] for name in table.domains], axis=1).astype(float)
    if not np.isfinite(kept["tokens"].to_numpy(dtype=float)).all() or not np.isfinite(shares).any():
        return None
    return np.where(np.isfinite(shares), shares, np.inf)


def common_unique(table: RunTable) -> Floats | None:
    """Each domain's unique shares, (n_domains,), where all runs agree on them; None otherwise."""
    shares = pool_shares(table)
    if shares is None:
        return None
    with np.errstate(invalid="ignore"):
        same = np.isclose(shares, shares[0], rtol=1e-6) | (np.isinf(shares) & np.isinf(shares[0]))
    return shares[0] if same.all() else None


def full_unique(domains: Sequence[str], pools: Mapping[str, float | None], tokens: float) -> Floats | None:
    """Unique shares of a run of so many tokens with these pools, (n_domains,), inf: unlimited; None: none is known."""
    known = [pools.get(name) for name in domains]
    return (
        None if all(pool is None for pool in known) else np.array([np.inf if p is None else p / tokens for p in known])
    )
