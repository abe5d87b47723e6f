"""Which mixtures the proxies are trained on, and what every planned run is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import MixoptError
from mixopt.mixture.config import Study, feasible_mixtures
from mixopt.serialization import Json
from mixopt.study.jobs import (
    EXTRA,
    LARGER,
    MIN_POOL_SEQUENCES,
    REPEAT,
    REPETITION,
    SHORTER,
    PlannedRun,
    by_text,
    design_row,
    make_job,
    natural_mixture,
    pool_columns,
    scaled,
)

if TYPE_CHECKING:
    from proxies.launch import Job
    from proxies.shards import Shard
    from proxies.train import Recipe


# Dirichlet concentrations per domain: from near-corners to near the centre, as RegMix's range of strengths does.
STRENGTHS = (0.6, 1.2, 2.4)

FRACTIONS = (1 / 3, 3.0)  # of their pools that repetition runs read: between them repetition moves by a factor of 9
MOST_EPOCHS = 32.0  # repetition beyond is nobody's plan, and runs there tell little of repetition below
HALF = 0.5  # the length of shorter runs: what a law of tokens says of one halving is known best


def tempered(prior: np.ndarray, temperature: float) -> np.ndarray:
    """prior^temperature, normalised: 1 keeps the prior, 0 is uniform over its support."""
    powered = np.where(prior > 0, np.power(prior, temperature, where=prior > 0, out=np.zeros_like(prior)), 0.0)
    return powered / powered.sum()


def mixtures(
    prior: np.ndarray, count: int, *, seed: int, towards: np.ndarray | None = None
) -> list[tuple[str, np.ndarray]]:
    """count different mixtures as (role, (n_domains,) weights).

    prior: the natural mixture. towards: where the target lies if it is trained on, (n_domains,) shares.
    The natural and the uniform mixture (equal pools make them one); each domain left out once (halfway between natural
    and uniform otherwise), when that takes up at most half of the rest; and Dirichlet draws at several strengths around
    uniform, around the tempered prior and, halfway from uniform, towards the target: optima lie there, and a prediction
    inside what was trained is worth more than one beyond it. The draws are quasi-random (Sobol points through gamma
    quantiles), so that a few dozen mixtures cover the simplex more evenly than independent ones.
    Raises ValueError when count is below 2.
    """
    if count < 2:
        raise ValueError(f"a design needs at least 2 mixtures, got {count}")
    d = len(prior)
    uniform = np.full(d, 1 / d)
    rows = [("natural", prior), ("uniform", uniform)]
    if np.allclose(prior, uniform, rtol=0, atol=1e-6):
        del rows[0]
    if d > 2 and d <= (count - 2) / 2:
        centre = (prior + uniform) / 2
        for j in range(d):
            left = np.where(np.arange(d) == j, 0.0, centre)
            rows.append(("leave-out", left / left.sum()))
    rows = rows[:count]
    centres = [uniform, tempered(prior, 0.5)]
    if towards is not None and towards.sum() > 0:
        centres.append((uniform + towards / towards.sum()) / 2)
    draws = [("dirichlet", w) for w in dirichlet_points(centres, 4 * (count - len(rows)), seed=seed)]
    different: dict[tuple[float, ...], tuple[str, np.ndarray]] = {}  # of the draws several may be one corner
    for role, w in rows + draws:
        different.setdefault(tuple(np.round(w, 6)), (role, w))
    return list(different.values())[:count]


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


# Stage design: the planned runs of a study, with the unique tokens that each proxy may draw on.


REPEATED = "uniform"  # the mixture trained again with other seeds: nearer to most optima than the natural one


@dataclass(frozen=True)
class Plan:
    """Everything that the training of a study needs beside its shards."""

    runs: list[PlannedRun]
    jobs: list["Job"]  # in the order of runs
    recipe: "Recipe"
    natural: dict[str, float]
    full_pools: dict[str, float]  # domain -> unique tokens of the full run
    notes: list[str]

    @property
    def rows(self) -> list[Json]:
        """Of design.csv."""
        rows, sized = [], any(job.role == LARGER for job in self.jobs)
        for job in self.jobs:
            recipe = job.recipe or self.recipe
            size = {"params": recipe.shape.params} if sized else {}
            rows.append(design_row(job, self.natural, **size, tokens=recipe.tokens_seen) | pool_columns(job))
        return rows

    @property
    def summary(self) -> str:
        different = len({tuple(np.round(list(run.weights.values()), 8)) for run in self.runs})
        recipes = [self.recipe, *dict.fromkeys(job.recipe for job in self.jobs if job.role == LARGER and job.recipe)]
        sizes = [f"{one.shape.params:,} parameters, {one.tokens_seen:,} tokens" for one in recipes]
        return f"{len(self.runs)} runs, {different} mixtures; proxies of {'; '.join(sizes)}"


def make_plan(study: Study, shards: Mapping[str, "Shard"], study_path: Path) -> Plan:
    """The design of a study on its shards. Raises MixoptError when a pool is unknown or too small to train on."""
    assert study.full is not None
    pools = full_pools(study, shards, study_path)
    names = by_text(study.domains, shards)
    feasible_mixtures(study, names, pools, place=f"{study_path}: search: ")
    prior = natural_mixture([pools[name] for name in names])
    recipe = make_recipe(study, vocab=next(iter(shards.values())).meta.vocab_size)
    available, notes = proxy_pools(study, shards, pools, recipe)
    towards = np.array([study.target_weights.get(name, 0.0) for name in names])
    rows = mixtures(prior, study.design.mixtures, seed=study.seed, towards=towards)
    shares = [dict(zip(names, w.tolist(), strict=True)) for w in [prior, *(w for _, w in rows)]]
    natural, *shares = [{name: one[name] for name in study.domains} for one in shares]
    runs = [
        PlannedRun(role, {name: round(share, 8) for name, share in one.items()}, dict(available), study.seed)
        for (role, _), one in zip(rows, shares, strict=True)
    ]
    again = next(run for run in runs if run.role == REPEATED)
    runs += [PlannedRun(REPEAT, again.weights, again.pools, study.seed + 1 + i) for i in range(study.design.repeats)]
    runs += runs_of_repetition(study, runs, shards, recipe)
    jobs = [make_job(run, study, shards, recipe) for run in runs]
    return Plan(runs, jobs, recipe, natural, pools, notes)


def runs_of_repetition(
    study: Study, runs: Sequence[PlannedRun], shards: Mapping[str, "Shard"], recipe: "Recipe"
) -> list[PlannedRun]:
    """Planned mixtures again: from other pools, to tell weight and repetition apart, and shorter, to tell what training
    tokens are worth. None where nothing is repeated, or where proxies don't repeat as the full run will."""
    ordinary = [run for run in runs if run.role not in EXTRA]
    found = of_other_pools(study, ordinary, shards, recipe, count=study.design.repetition_runs)
    again = [replace(ordinary[row], role=REPETITION, pools=pools) for row, pools in found]
    # Shorter runs of the same mixtures, and first of the one whose noise is known.
    uniform = next(i for i, run in enumerate(ordinary) if run.role == REPEATED)
    rows = list(dict.fromkeys([uniform, *(row for row, _ in found)])) if found else []
    own = ordinary[0].pools
    half = {name: max(round((own[name] or 0) * HALF), recipe.context + 1) for name in by_text(study.domains, shards)}
    shorter = rows[: study.design.shorter_runs]
    return again + [replace(ordinary[row], role=SHORTER, pools=half, length=HALF) for row in shorter]


def of_other_pools(
    study: Study, ordinary: Sequence[PlannedRun], shards: Mapping[str, "Shard"], recipe: "Recipe", *, count: int
) -> list[tuple[int, dict[str, int | None]]]:
    """Which of the ordinary runs, all of the same pools, to train again from other pools, and from which."""
    if not study.design.repetition_matched or not count:
        return []
    names = by_text(study.domains, shards)
    W = np.array([[run.weights[name] for name in names] for run in ordinary])
    own = np.array([float(ordinary[0].pools[name] or 0) for name in names])
    target = np.array([study.target_weights.get(name, 0.0) for name in names])
    found = separating_runs(
        W,
        own,
        tokens=recipe.tokens_seen,
        low=np.full(len(names), float(MIN_POOL_SEQUENCES * recipe.context)),
        high=np.array([float(shards[name].meta.train_tokens) for name in names]),
        relevance=1 / len(names) + target,
        count=count,
    )
    return [(row, dict(zip(names, map(int, pools), strict=True))) for row, pools in found]


def full_pools(study: Study, shards: Mapping[str, "Shard"], study_path: Path) -> dict[str, float]:
    """Unique tokens of every domain in the full run: as stated, or as read."""
    pools = {}
    for name, domain in study.domains.items():
        meta = shards[name].meta
        if domain.pool is None and meta.problems.get("capped"):
            raise MixoptError(
                f"{study_path}: domains.{name}.pool: is missing, and prepare.max_bytes kept part of the text out, so "
                f"its size is unknown: state the unique tokens that the full run can draw on"
            )
        pools[name] = float(domain.pool if domain.pool is not None else meta.tokens)
    return pools


def make_recipe(study: Study, *, vocab: int, params_scale: float = 1.0, tokens_scale: float = 1.0) -> "Recipe":
    """The study's proxy, or a larger one of the same kind; params_scale as in `scaled`."""
    proxy = study.proxy
    tokens = round(proxy.tokens * tokens_scale)
    return scaled(proxy, vocab=vocab, params_scale=params_scale, tokens=tokens, weight_decay=proxy.weight_decay)


def proxy_pools(
    study: Study, shards: Mapping[str, "Shard"], pools: Mapping[str, float], recipe: "Recipe"
) -> tuple[dict[str, int], list[str]]:
    """Unique tokens that a proxy may read of each domain, and what to know about them.

    Matched: P d / D of a full pool P, with d proxy and D full tokens, so that w d / (P d / D) = w D / P: the
    proxy passes over its part as often as the full run over the whole (DESIGN section 3).
    """
    assert study.full is not None
    share = recipe.tokens_seen / study.full.tokens
    available, notes = {}, []
    for name in study.domains:
        there = shards[name].meta.train_tokens
        wanted = round(pools[name] * share) if study.design.repetition_matched else there
        if wanted <= recipe.context:
            raise MixoptError(
                f"domain {name!r}: its pool of {pools[name]:.3g} tokens shrinks to {wanted} for a proxy of "
                f"{recipe.tokens_seen:,} tokens, less than a sequence of {recipe.context + 1}: state its pool "
                "if the full run has more of it than was read, raise proxy.tokens, merge it with another domain, "
                "or set design.repetition_matched: false"
            )
        if wanted < MIN_POOL_SEQUENCES * recipe.context:
            notes.append(
                f"{name}: proxies see {wanted:,} unique tokens of it, few enough for chance to matter; "
                "more proxy.tokens would help"
            )
        if wanted > there:
            notes.append(
                f"{name}: repetition-matched proxies would need {wanted:,} unique tokens, {there:,} are there: proxies "
                f"repeat it {wanted / there:.1f} times as often as the full run will; more text would help"
            )
        available[name] = min(wanted, there)
    return available, notes
