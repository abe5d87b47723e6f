"""Which mixtures the proxies are trained on, and what every planned run is called."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Dirichlet concentrations per domain: from near-corners to near the centre, as RegMix's range of strengths does.
STRENGTHS = (0.6, 1.2, 2.4)


@dataclass(frozen=True)
class PlannedRun:
    """One row of design.csv. weights: domain -> token share; pools: domain -> unique proxy tokens, None: all."""

    role: str  # natural, uniform, leave-out, dirichlet or repeat
    weights: dict[str, float]
    pools: dict[str, int | None]
    seed: int


def natural_mixture(pools: Sequence[float]) -> np.ndarray:
    """Shares proportional to the pools' unique tokens, (n_domains,)."""
    sizes = np.asarray(pools, dtype=float)
    return sizes / sizes.sum()


def tempered(prior: np.ndarray, temperature: float) -> np.ndarray:
    """prior^temperature, normalised: 1 keeps the prior, 0 is uniform over its support."""
    powered = np.where(prior > 0, np.power(prior, temperature, where=prior > 0, out=np.zeros_like(prior)), 0.0)
    return powered / powered.sum()


def mixtures(
    prior: np.ndarray, count: int, *, seed: int, towards: np.ndarray | None = None
) -> list[tuple[str, np.ndarray]]:
    """count different mixtures as (role, (n_domains,) weights).

    prior: the natural mixture. towards: where the target lies if it is trained on, (n_domains,) shares.
    The natural and the uniform mixture; each domain left out once (halfway between natural and uniform otherwise), when
    that takes up at most half of the rest; and Dirichlet draws at several strengths around uniform, around the
    tempered prior and, halfway from uniform, towards the target: optima lie there, and a prediction
    inside what was trained is worth more than one beyond it. The draws are quasi-random (Sobol points through gamma
    quantiles), so that a few dozen mixtures cover the simplex more evenly than independent ones.
    Raises ValueError when count is below 2.
    """
    if count < 2:
        raise ValueError(f"a design needs at least 2 mixtures, got {count}")
    d = len(prior)
    uniform = np.full(d, 1 / d)
    rows = [("natural", prior), ("uniform", uniform)]
    if d > 2 and d <= (count - 2) / 2:
        centre = (prior + uniform) / 2
        for j in range(d):
            left = np.where(np.arange(d) == j, 0.0, centre)
            rows.append(("leave-out", left / left.sum()))
    rows = rows[:count]
    centres = [uniform, tempered(prior, 0.5)]
    if towards is not None and towards.sum() > 0:
        centres.append((uniform + towards / towards.sum()) / 2)
    rows += [("dirichlet", w) for w in dirichlet_points(centres, count - len(rows), seed=seed)]
    return rows


def dirichlet_points(centres: Sequence[np.ndarray], count: int, *, seed: int) -> list[np.ndarray]:
    """count quasi-random draws: centre and strength vary from draw to draw in a fixed rotation."""
    from scipy.stats import gamma, qmc

    if count == 0:
        return []
    d = len(centres[0])
    sobol = qmc.Sobol(d, rng=np.random.default_rng([seed, 101]))
    unit = sobol.random_base2(max(1, int(np.ceil(np.log2(count)))))[:count]
    draws = []
    for i, point in enumerate(np.clip(unit, 1e-9, 1 - 1e-9)):
        strength = STRENGTHS[(i // len(centres)) % len(STRENGTHS)]
        sizes = gamma.ppf(point, strength * d * centres[i % len(centres)])
        w = sizes / sizes.sum()
        w = np.where(w < 1e-4, 0.0, w)  # below a sequence or so a run: a zero that says zero
        draws.append(np.round(w / w.sum(), 6))
    return [w / w.sum() for w in draws]


def run_id(inputs: Mapping[str, Any]) -> str:
    """r + a hash of everything that decides a run's result; key order does not matter."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return "r" + hashlib.sha256(text.encode()).hexdigest()[:16]
