"""Recommendation of a mixture: constrained search of the fitted predictor, and the evidence for what it finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.mixture.config import feasible_mixtures
from mixopt.mixture.fit import Fitted
from mixopt.mixture.full_scale import LEVEL, Ladder, bits_per_nat, fit_ladder, full_run
from mixopt.mixture.predictions import Estimator, HeldOut, Judged, effects
from mixopt.mixture.results import (
    Domain,
    FullRun,
    Interval,
    MeasuredPrediction,
    NearestRun,
    Noise,
    Objective,
    Predictions,
    Recommendation,
    Scale,
    SearchResult,
)
from mixopt.mixture.warnings import Evidence, limitations
from mixopt.report.document import in_unit
from mixopt.runs.objective import TARGET, Target, target_of
from mixopt.runs.pools import full_unique
from mixopt.runs.table import RunTable
from mixopt.search.certificate import Certificate, certify
from mixopt.search.optimize import Found, objective_of, search
from mixopt.search.shadow_prices import length_gain, shadow_prices
from mixopt.search.simplex import Feasible, inside_hull, nearest
from mixopt.serialization import Json
from mixopt.study.jobs import natural_mixture
from mixopt.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.study.kind import Session

    Floats = NDArray[np.float64]


def advise(session: Session, fitted: Fitted, runs: RunTable | None = None) -> Json:
    """Searches for the best mixture and writes recommendation.json; as before where nothing has changed.

    runs: all finished runs, those that no fit used among them; None: the fitted ones.
    Raises MixoptError for constraints that contradict each other or name no domain.
    """
    study, folder, progress = session.study, session.folder, session.progress
    progress.stage("search")
    table, settings, full = fitted.table, study.search, study.full
    pools = known_pools(session, table)
    later: list[Callable[[], None]] = []  # the search's trials matter less than the answer

    def compute() -> Json:
        recommendation = recommend(
            table,
            fitted.estimator,
            fitted.held_out,
            feasible_mixtures(study, table.domains, pools, place=f"{session.path}: search: "),
            study=study.name,
            predictor=fitted.name,
            target=study.target_weights,
            natural=natural(pools),
            pools=pools,
            full_params=full.params if full else None,
            full_tokens=full.tokens if full else None,
            sampler=settings.sampler,
            trials=settings.trials,
            storage=settings.storage or folder.search_journal,
            later=later,
            noise=fitted.selection.noise,
            runs=runs,
            ladder=fit_ladder(fitted, runs, target_of(study.target_weights, table), seed=study.seed) if runs else None,
            seed=study.seed,
        )
        found = recommendation.search
        assert found is not None
        progress.finish(f"{found.trials} trials with {found.sampler}, polish gained {found.polish_gain:.4f} nats/token")
        return recommendation.to_json()

    needs = [] if settings.storage else [folder.search_journal]
    answer = session.answer(fitted.cache_key, compute, needs=needs)
    for save in later:
        save()
    return answer


def known_pools(session: Session, table: RunTable) -> dict[str, float | None]:
    """Unique tokens of the full run by domain; None: not known, so no limit.

    Raises MixoptError when the study names a domain that its runs don't have.
    """
    study = session.study
    if study.runs is None:
        from mixopt.mixture.design import full_pools
        from mixopt.study.prepare import open_shards

        return dict(full_pools(study, open_shards(study, session.folder), session.path))
    for name in study.domains:
        if name not in table.domains:
            raise MixoptError(
                f"{session.path}: domains.{name}: the runs have no such domain; they mix {', '.join(table.domains)}"
            )
    return {name: study.domains[name].pool if name in study.domains else None for name in table.domains}


def natural(pools: Mapping[str, float | None]) -> np.ndarray | None:
    """The mixture proportional to the pools, None where one is unknown."""
    known = [pool for pool in pools.values() if pool is not None]
    return natural_mixture(known) if known and len(known) == len(pools) else None


BEST_SEEDS, NEAR_SEEDS, SPREAD_SEEDS = 8, 16, 32  # mixtures the search starts from: measured, near those, anywhere


def recommend(
    table: RunTable,
    estimator: Estimator,
    held_out: HeldOut,
    feasible: Feasible,
    *,
    study: str,
    predictor: str,
    target: Mapping[str, float],
    natural: Sequence[float] | Floats | None = None,
    pools: Mapping[str, float | None] | None = None,
    full_params: float | None = None,
    full_tokens: float | None = None,
    sampler: str = "cma-es",
    trials: int = 1000,
    storage: Path | str | None = None,
    later: list[Callable[[], None]] | None = None,
    level: float = LEVEL,
    noise: Sequence[Noise] = (),
    runs: RunTable | None = None,
    ladder: Ladder | None = None,
    seed: int = 0,
) -> Recommendation:
    """Searches for the best mixture and gives all that recommendation.json says.

    estimator: fitted to table.weights and table.losses; held_out: `regressors.cross_validate` on the same rows.
    Estimators that see repetition are at the full run's unique shares.
    feasible: mixtures allowed, of table.domains. predictor: the estimator's name. target: weight by text.
    natural: the mixture (n_domains,) that follows the pools; None: unknown. pools: unique tokens of the full run by
    domain (None: unlimited); None: a table of runs, whose reader has no study file to state any in. full_params,
    full_tokens: of the full run. sampler, trials, storage, later, seed: see `search`. level: of the intervals.
    noise: of the target and of every validation set. runs: all finished ones, those that no fit used among them;
    None: the table's. ladder: the law of all rungs, by which the mixture is then searched at the full run's scale.
    Raises MixoptError for a target without losses and for a predictor without finite predictions.
    """
    assert feasible.domains == table.domains, "one order of domains throughout"
    objective = target_of(target, table)
    at_full = None
    if ladder and full_params and full_tokens:
        at_full = ladder.law.at(full_params, full_tokens, full_unique(table.domains, pools or {}, full_tokens))
    found = best_mixture(
        table,
        at_full or estimator,
        objective,
        feasible,
        natural=natural,
        sampler=sampler,
        trials=trials,
        storage=storage,
        later=later,
        study_name=f"mixopt/{study}",
        seed=seed,
    )
    best = best_measured(table, objective, feasible)
    named: dict[str, Floats | None] = {
        "recommended": found.weights,
        "natural": None if natural is None else np.asarray(natural, dtype=float),
        "uniform": np.full(len(table.domains), 1 / len(table.domains)),
        "best_measured": best.weights,
    }
    mixtures = {name: w for name, w in named.items() if w is not None}
    searched = at_full is None  # else the law of all rungs chose the mixture, whose optimism the proxies don't tell
    judged = Judged(table, estimator, held_out, objective, mixtures, level=level, searched=searched)
    full = FullRun(full_params, full_tokens)
    if ladder and at_full:
        smallest = best_mixture(table, estimator, objective, feasible, natural=natural, trials=trials, seed=seed)
        named["smallest_rung"] = smallest.weights
        compared = mixtures | {"smallest_rung": smallest.weights}
        bits = bits_per_nat(runs or table)
        full = full_run(ladder, at_full, feasible, compared, bits=bits, level=level, seed=seed)
    rows = domain_rows(table.domains, named, feasible, pools=pools, tokens=full_tokens)
    evidence = Evidence(
        table=table,
        feasible=feasible,
        found=found,
        domains=rows,
        measured=objective.of(table.losses),
        predicted=objective.of(held_out.predicted),
        losses={name: float(judged.at(name).loss or 0.0) for name in mixtures},
        gains=full.gains or {name: judged.gain_over(name) for name in mixtures if name != "recommended"},
        best_measured=best.loss,
        best_run=best.run_id,
        best_allowed=best.allowed,
        target=objective.weights,
        noise=noise,
        proxy_params=int(ladder.scales[-1][0]) if ladder and at_full else _usual(table, "params"),
        ladder=at_full is not None,
        level=level,
        optimism=judged.optimism,
        sees_repetition=getattr(estimator, "unique_gradient", None) is not None,
        runs=runs,
        in_study=pools is not None,
    )
    target_noise = next((row.sd for row in noise if row.target == TARGET), None)
    priced = shadow_prices(
        estimator,
        held_out.estimators,
        objective,
        feasible,
        found.weights,
        pools=pools,
        tokens=full_tokens,
        longer=length_gain(runs or table, objective, target_noise),
        level=level,
        seed=seed,
    )
    warnings = limitations(evidence)
    predicted = {name: judged.at(name) for name in mixtures}
    at_best = predicted.pop("best_measured")
    measured = MeasuredPrediction(at_best.loss, at_best.low, at_best.high, measured=best.loss, run_id=best.run_id)
    return Recommendation(
        mixopt=__version__,
        study=study,
        seed=seed,
        target=Objective(objective.weights, objective.unit),
        full=full,
        proxy=Scale(_usual(table, "params"), _usual(table, "tokens")),
        predictor=predictor,
        domains=rows,
        predicted=Predictions(**predicted, best_measured=measured),
        gain=judged.gain_over("uniform" if natural is None else "natural"),
        by_text=judged.by_text(),
        interval=Interval(level, judged.method),
        optimism=judged.optimism,
        search=_search_result(found, table, certify(at_full or estimator, objective, feasible, found.weights)),
        shadow_prices=priced,
        effects=effects(estimator, objective, feasible, found.weights, fallback=named["natural"]),
        warnings=[in_unit(one.text, objective.unit) for one in warnings],
        warning_codes=[one.code for one in warnings],
    )


# The search


def best_mixture(
    table: RunTable,
    estimator: Estimator,
    objective: Target,
    feasible: Feasible,
    *,
    natural: Sequence[float] | Floats | None = None,
    seed: int,
    **settings: Any,
) -> Found:
    """The feasible mixture of lowest predicted objective, searched from measured mixtures and the natural one on.

    settings: of `search`. Raises MixoptError as there.
    """
    seeds = _seeds(table, objective, feasible, natural, np.random.default_rng([seed, 1]))
    return search(*objective_of(estimator, objective), feasible, seeds=seeds, seed=seed, **settings)


def _seeds(
    table: RunTable,
    objective: Target,
    feasible: Feasible,
    natural: Sequence[float] | Floats | None,
    rng: np.random.Generator,
) -> list[Floats]:
    """The natural and the uniform mixture, the best measured ones, Dirichlet draws near those, and draws anywhere."""
    measured = [one.weights for one in _measured(table, objective)[:BEST_SEEDS]]
    centres = [*measured[:4], np.full(len(table.domains), 1 / len(table.domains))]
    if natural is not None:
        centres.append(np.asarray(natural, dtype=float))
    each = max(1, NEAR_SEEDS // len(centres))
    near = [feasible.sample_near(centre, each, rng=rng, concentration=30.0) for centre in centres]
    return [*centres, *measured[4:], *np.concatenate(near), *feasible.sample(SPREAD_SEEDS, rng=rng)]


def _search_result(found: Found, table: RunTable, certificate: Certificate | None) -> SearchResult:
    row, distance = nearest(found.weights, _normalised(table.weights))
    return SearchResult(
        sampler=found.sampler,
        trials=found.trials,
        seeded=found.seeded,
        found=found.found,
        polished=found.polished,
        polish_gain=found.polish_gain,
        agreeing_starts=found.agreeing_starts,
        starts=found.starts,
        inside_hull=bool(inside_hull(found.weights, table.weights)),
        nearest_run=NearestRun(table.run_ids[row], float(distance)),
        certificate=certificate,
    )


# What was measured


@dataclass(frozen=True, eq=False)
class Measured:
    """A mixture that was trained, and its target loss, nats/token: the mean of its repeats."""

    run_id: str
    weights: Floats
    loss: float
    allowed: bool = True


def _measured(table: RunTable, objective: Target) -> list[Measured]:
    """Every trained mixture whose target is known, best first."""
    losses, groups = objective.of(table.losses), table.groups
    weights, run_ids = _normalised(table.weights), table.run_ids
    known = np.isfinite(losses)
    found = []
    for group in np.unique(groups[known]):
        rows = np.flatnonzero((groups == group) & known)
        found.append(Measured(run_ids[rows[0]], weights[rows[0]], float(losses[rows].mean())))
    return sorted(found, key=lambda one: one.loss)


def best_measured(table: RunTable, objective: Target, feasible: Feasible) -> Measured:
    """The trained mixture of lowest target loss, among those that the limits allow if there are any."""
    found = _measured(table, objective)
    if not found:
        raise MixoptError(
            f"no run has a loss on every validation set of the target ({', '.join(objective.weights)}): leave out the "
            "one they miss"
        )
    # Three decimals, as published tables print weights, are close enough to a limit.
    allowed = next((one for one in found if feasible.contains(one.weights, tolerance=1e-3)), None)
    return allowed or Measured(found[0].run_id, found[0].weights, found[0].loss, allowed=False)


def _normalised(weights: Floats) -> Floats:
    return weights / weights.sum(axis=1, keepdims=True)


def _usual(table: RunTable, column: str) -> int | None:
    """The value that most runs have."""
    values = table.numbers(column)
    if np.isnan(values).all():
        return None
    found, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    return int(found[counts.argmax()])


def domain_rows(
    domains: Sequence[str],
    mixtures: Mapping[str, Floats | None],
    feasible: Feasible,
    *,
    pools: Mapping[str, float | None] | None,
    tokens: float | None,
) -> list[Domain]:
    """Each domain's share in each mixture, and for the recommended one its tokens and epochs of its pool."""
    rows = []
    for i, name in enumerate(domains):
        shares = {key: None if w is None else float(w[i]) for key, w in mixtures.items()}
        pool = (pools or {}).get(name)
        pool = None if pool is None or not math.isfinite(pool) else float(pool)
        share = shares["recommended"]
        read = None if tokens is None or share is None else share * tokens
        rows.append(
            Domain(
                name,
                **shares,
                tokens=read,
                epochs=None if read is None or pool is None else read / pool,
                pool=pool,
                min=float(feasible.low[i]),
                max=float(feasible.high[i]),
            )
        )
    return rows
