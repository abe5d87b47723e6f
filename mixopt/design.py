"""Which mixtures the proxies are trained on, and what every planned run is called."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Dirichlet concentrations per domain: from near-corners to near the centre, as RegMix's range of strengths does.
STRENGTHS = (0.6, 1.2, 2.4)

# Roles of runs that train a mixture once more: with another seed; from other pools, so that weight and repetition can
# be told apart; with fewer tokens at the same epochs, to see what tokens are worth.
REPEAT, REPETITION, SHORTER = "repeat", "repetition", "shorter"
EXTRA = (REPEAT, REPETITION, SHORTER)
FRACTIONS = (1 / 3, 3.0)  # of their pools that repetition runs read: between them repetition moves by a factor of 9
MOST_EPOCHS = 32.0  # repetition beyond is nobody's plan, and runs there tell little of repetition below
HALF = 0.5  # the length of shorter runs: what a law of tokens says of one halving is known best


@dataclass(frozen=True)
class PlannedRun:
    """One row of design.csv. weights: domain -> token share; pools: domain -> unique proxy tokens, None: all."""

    role: str  # natural, uniform, leave-out or dirichlet; or one of EXTRA
    weights: dict[str, float]
    pools: dict[str, int | None]
    seed: int
    length: float = 1.0  # training tokens, in times the others'


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


def separating_runs(
    W: np.ndarray,
    own: np.ndarray,
    *,
    tokens: float,
    low: np.ndarray,
    high: np.ndarray,
    relevance: np.ndarray,
    count: int,
) -> list[tuple[int, np.ndarray]]:
    """Which mixtures to train again from other pools: up to count of (row of W, (n_domains,) unique tokens).

    W (n_mixtures, n_domains) shares; own (n_domains,) unique tokens that proxies draw on, of `tokens` in all; low, high
    (n_domains,): between what they may draw on. relevance (n_domains,): how much a domain's repetition matters.
    A run moves a domain by the root of its share times the change in ln(epochs), from 1 to MOST_EPOCHS. One by one
    the run is taken that adds most to the sum over domains, and over less and more repetition, of the root of what is
    moved: what is well moved already counts little. None where no mixture repeats anything, or nothing can be moved.
    """
    epochs = W * tokens / own
    if (epochs <= 1).all():
        return []
    pools = [np.clip(np.round(own * fraction), np.minimum(low, own), np.maximum(high, own)) for fraction in FRACTIONS]
    rows = [(row, pool) for row in range(len(W)) for pool in pools]
    moved = np.stack([_moved(W[row], tokens, own, pool) for row, pool in rows])  # (n_candidates, 2, n_domains)
    done, chosen = np.zeros(moved.shape[1:]), []
    while len(chosen) < count:
        gain = ((np.sqrt(done + moved) - np.sqrt(done)) * relevance).sum(axis=(1, 2))
        gain[chosen] = 0.0
        best = int(gain.argmax())
        if gain[best] <= 1e-6:
            break
        chosen.append(best)
        done += moved[best]
    return [rows[k] for k in chosen]


def _moved(w: np.ndarray, tokens: float, own: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """How far another pool moves every domain's repetition, (2, n_domains): towards less, and towards more."""
    before, after = (np.log(np.clip(w * tokens / p, 1.0, MOST_EPOCHS)) for p in (own, pool))
    change = np.sqrt(w) * (after - before)
    return np.stack([np.maximum(-change, 0.0), np.maximum(change, 0.0)])


def run_id(inputs: Mapping[str, Any]) -> str:
    """r + a hash of everything that decides a run's result; key order does not matter."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return "r" + hashlib.sha256(text.encode()).hexdigest()[:16]
