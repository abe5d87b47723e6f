"""Stage search: from fitted predictors to recommendation.json, under the study's own constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.mixture.fit import Fitted
from mixopt.mixture.predictions import Estimator, HeldOut, Judged, effects
from mixopt.mixture.warnings import Evidence, cautions
from mixopt.runs.objective import TARGET, Target, target_of
from mixopt.runs.table import RunTable
from mixopt.search.certificate import certify
from mixopt.search.optimize import Found, objective_of, search
from mixopt.search.shadow_prices import length_gain, shadow_prices
from mixopt.search.simplex import Feasible, inside_hull, nearest
from mixopt.serialization import CACHE_KEY, cached, digest, nan_to_null
from mixopt.study.jobs import natural_mixture
from mixopt.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.study.kind import Session

    Floats = NDArray[np.float64]


TOLD = 2  # of what recommendation.json says; rises when older files say less


def advise(session: Session, fitted: Fitted, runs: RunTable | None = None) -> dict[str, Any]:
    """Searches for the best mixture and writes recommendation.json; as before where nothing has changed.

    runs: all finished runs, those that no fit used among them; None: the fitted ones.
    Raises MixoptError for constraints that contradict each other or name no domain.
    """
    from mixopt.search.simplex import feasible

    study, folder, progress = session.study, session.folder, session.progress
    progress.stage("search")
    table, settings, full = fitted.table, study.search, study.full
    pools = known_pools(session, table)

    def compute() -> dict[str, Any]:
        allowed = feasible(
            table.domains,
            min_weight=settings.min_weight,
            max_weight=settings.max_weight,
            fixed=settings.fixed,
            pools=pools,
            tokens=full.tokens if full else None,
            max_epochs=settings.max_epochs,
        )
        recommendation = recommend(
            table,
            fitted.estimator,
            fitted.held_out,
            allowed,
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
            noise=fitted.selection["noise"],
            runs=runs,
            seed=study.seed,
        )
        found = recommendation["search"]
        progress.finish(
            f"{found['trials']} trials with {found['sampler']}, polish gained {found['polish_gain']:.4f} nats/token"
        )
        return recommendation

    about = [settings.model_dump(), full and full.model_dump(), pools, study.name]
    key = digest([__version__, TOLD, fitted.selection[CACHE_KEY], *about])
    needs = [] if settings.storage else [folder.search_journal]
    return cached(folder.recommendation, key, compute, needs=needs, on_hit=lambda: progress.finish("as before"))


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


# The recommendation: the best mixture, what it is predicted to give, how sure that is, and what to beware of.


LEVEL = 0.8  # of the intervals
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
    level: float = LEVEL,
    noise: Sequence[Mapping[str, Any]] = (),
    runs: RunTable | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Searches for the best mixture and gives all that recommendation.json says, as JSON-able numbers and text.

    estimator: fitted to table.weights and table.losses; held_out: `regressors.cross_validate` on the same rows.
    Estimators that see repetition are at the full run's unique shares.
    feasible: mixtures allowed, of table.domains. predictor: the estimator's name. target: weight by text.
    natural: the mixture (n_domains,) that follows the pools; None: unknown. pools: unique tokens of the full run by
    domain (None: unlimited). full_params, full_tokens: of the full run. sampler, trials, storage, seed: see `search`.
    level: of the intervals. noise: selection.json's rows on noise. runs: all finished ones, those that no fit used
    among them; None: the table's.
    Raises MixoptError for a target without losses and for a predictor without finite predictions.
    """
    assert feasible.domains == table.domains, "one order of domains throughout"
    aim = target_of(target, table)
    found = _search(table, estimator, feasible, aim, natural, sampler, trials, storage, study, seed)
    best = best_measured(table, aim, feasible)
    named: dict[str, Floats | None] = {
        "recommended": found.weights,
        "natural": None if natural is None else np.asarray(natural, dtype=float),
        "uniform": np.full(len(table.domains), 1 / len(table.domains)),
        "best_measured": best.weights,
    }
    mixtures = {name: w for name, w in named.items() if w is not None}
    judged = Judged(table, estimator, held_out, aim, mixtures, level=level)
    rows = domain_rows(table.domains, named, feasible, pools=pools, tokens=full_tokens)
    evidence = Evidence(
        table=table,
        feasible=feasible,
        found=found,
        domains=rows,
        measured=aim.of(table.losses),
        predicted=aim.of(held_out.predicted),
        losses={name: judged.at(name)["loss"] for name in mixtures},
        gains={name: judged.gain_over(name) for name in mixtures if name != "recommended"},
        best_measured=best.loss,
        best_run=best.run_id,
        best_allowed=best.allowed,
        target=aim.weights,
        noise=noise,
        proxy_params=_usual(table, "params"),
        level=level,
        optimism=judged.optimism,
        sees_repetition=getattr(estimator, "unique_gradient", None) is not None,
        runs=runs,
    )
    target_noise = next((row.get("sd") for row in noise if row.get("target") == TARGET), None)
    priced = shadow_prices(
        estimator,
        held_out.estimators,
        aim,
        feasible,
        found.weights,
        pools=pools,
        tokens=full_tokens,
        longer=length_gain(runs or table, aim, target_noise),
        level=level,
        seed=seed,
    )
    baseline = "uniform" if natural is None else "natural"
    return nan_to_null(
        {
            "mixopt": __version__,
            "study": study,
            "seed": seed,
            "target": {"weights": aim.weights, "unit": "nats/token"},
            "full": {"params": full_params, "tokens": full_tokens},
            "proxy": {"params": _usual(table, "params"), "tokens": _usual(table, "tokens")},
            "predictor": predictor,
            "domains": rows,
            "predicted": {name: judged.at(name) if name in mixtures else None for name in named}
            | {"best_measured": judged.at("best_measured") | {"measured": best.loss, "run_id": best.run_id}},
            "gain": {"over": baseline, **evidence.gains[baseline]},
            "by_text": judged.by_text(),
            "interval": {"level": level, "method": judged.method},
            "optimism": judged.optimism,
            "search": _search_record(found, table)
            | {"certificate": asdict(certify(estimator, aim, feasible, found.weights))},
            "shadow_prices": asdict(priced),
            "effects": effects(estimator, aim, feasible, found.weights, fallback=named["natural"]),
            "warnings": cautions(evidence),
        }
    )


# The search


def _search(
    table: RunTable,
    estimator: Estimator,
    feasible: Feasible,
    aim: Target,
    natural: Sequence[float] | Floats | None,
    sampler: str,
    trials: int,
    storage: Path | str | None,
    study: str,
    seed: int,
) -> Found:
    seeds = _seeds(table, aim, feasible, natural, np.random.default_rng([seed, 1]))
    return search(
        *objective_of(estimator, aim),
        feasible,
        sampler=sampler,
        trials=trials,
        seeds=seeds,
        storage=storage,
        study_name=f"mixopt/{study}",
        seed=seed,
    )


def _seeds(
    table: RunTable,
    aim: Target,
    feasible: Feasible,
    natural: Sequence[float] | Floats | None,
    rng: np.random.Generator,
) -> list[Floats]:
    """The natural and the uniform mixture, the best measured ones, Dirichlet draws near those, and draws anywhere."""
    measured = [one.weights for one in _measured(table, aim)[:BEST_SEEDS]]
    centres = [*measured[:4], np.full(len(table.domains), 1 / len(table.domains))]
    if natural is not None:
        centres.append(np.asarray(natural, dtype=float))
    each = max(1, NEAR_SEEDS // len(centres))
    near = [feasible.sample_near(centre, each, rng=rng, concentration=30.0) for centre in centres]
    return [*centres, *measured[4:], *np.concatenate(near), *feasible.sample(SPREAD_SEEDS, rng=rng)]


def _search_record(found: Found, table: RunTable) -> dict[str, Any]:
    row, distance = nearest(found.weights, _normalised(table.weights))
    return {
        "sampler": found.sampler,
        "trials": found.trials,
        "seeded": found.seeded,
        "found": found.found,
        "polished": found.polished,
        "polish_gain": found.polish_gain,
        "agreeing_starts": found.agreeing_starts,
        "starts": found.starts,
        "inside_hull": inside_hull(found.weights, table.weights),
        "nearest_run": {"run_id": table.run_ids[row], "distance": distance},
    }


# What was measured


@dataclass(frozen=True, eq=False)
class Measured:
    """A mixture that was trained, and its target loss, nats/token: the mean of its repeats."""

    run_id: str
    weights: Floats
    loss: float
    allowed: bool = True


def _measured(table: RunTable, aim: Target) -> list[Measured]:
    """Every trained mixture whose target is known, best first."""
    losses, groups = aim.of(table.losses), table.groups
    weights, run_ids = _normalised(table.weights), table.run_ids
    known = np.isfinite(losses)
    found = []
    for group in np.unique(groups[known]):
        rows = np.flatnonzero((groups == group) & known)
        found.append(Measured(run_ids[rows[0]], weights[rows[0]], float(losses[rows].mean())))
    return sorted(found, key=lambda one: one.loss)


def best_measured(table: RunTable, aim: Target, feasible: Feasible) -> Measured:
    """The trained mixture of lowest target loss, among those that the limits allow if there are any."""
    found = _measured(table, aim)
    if not found:
        raise MixoptError(
            f"no run has a loss on every text of the target ({', '.join(aim.weights)}): leave out the text they miss"
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


# What it comes to


def domain_rows(
    domains: Sequence[str],
    mixtures: Mapping[str, Floats | None],
    feasible: Feasible,
    *,
    pools: Mapping[str, float | None] | None,
    tokens: float | None,
) -> list[dict[str, Any]]:
    """A row a domain: its share in each mixture, and for the recommended one its tokens and passes over its pool."""
    rows = []
    for i, name in enumerate(domains):
        shares = {key: None if w is None else float(w[i]) for key, w in mixtures.items()}
        pool = (pools or {}).get(name)
        pool = None if pool is None or not math.isfinite(pool) else float(pool)
        read = None if tokens is None else shares["recommended"] * tokens  # pyright: ignore[reportOptionalOperand]
        rows.append(
            {
                "domain": name,
                **shares,
                "tokens": read,
                "epochs": None if read is None or pool is None else read / pool,
                "pool": pool,
                "min": float(feasible.low[i]),
                "max": float(feasible.high[i]),
            }
        )
    return rows
