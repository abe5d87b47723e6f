"""Stage search: from fitted predictors to recommendation.json, under the study's own constraints."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt import __version__
from mixopt.design import natural_mixture
from mixopt.errors import MixoptError
from mixopt.fitting import Fitted
from mixopt.folder import digest, read_json, stamp_of, write_json

if TYPE_CHECKING:
    from mixopt.pipeline import Session
    from mixopt.runtable import RunTable

TOLD = 2  # of what recommendation.json says; rises when older files say less


def advise(session: "Session", fitted: Fitted, runs: "RunTable | None" = None) -> dict[str, Any]:
    """Searches for the best mixture and writes recommendation.json; as before where nothing has changed.

    runs: all finished runs, those that no fit used among them; None: the fitted ones.
    Raises MixoptError for constraints that contradict each other or name no domain.
    """
    from mixopt.recommending import recommend
    from mixopt.simplex import feasible

    study, folder, progress = session.study, session.folder, session.progress
    progress.stage("search")
    table = fitted.table
    pools = known_pools(session, table)
    settings = study.search
    full = study.full
    about = [settings.model_dump(), full and full.model_dump(), pools, study.name]
    stamp = digest([__version__, TOLD, fitted.selection["stamp"], *about])
    if stamp_of(folder.recommendation) == stamp and folder.search_db.exists():
        progress.finish("as before")
        return read_json(folder.recommendation, made_by="run")
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
        storage=folder.search_db,
        noise=fitted.selection["noise"],
        runs=runs,
        seed=study.seed,
    )
    recommendation["stamp"] = stamp
    write_json(folder.recommendation, recommendation)
    found = recommendation["search"]
    progress.finish(
        f"{found['trials']} trials with {found['sampler']}, polish gained {found['polish_gain']:.4f} nats/token"
    )
    return recommendation


def known_pools(session: "Session", table: "RunTable") -> dict[str, float | None]:
    """Unique tokens of the full run by domain; None: not known, so no limit.

    Raises MixoptError when the study names a domain that its runs don't have.
    """
    study = session.study
    if study.runs is None:
        from mixopt.planning import full_pools
        from mixopt.prepare import open_shards

        return dict(full_pools(study, open_shards(study, session.folder), session.path))
    for name in study.domains:
        if name not in table.domains:
            raise MixoptError(
                f"{session.path}: domains.{name}: the runs have no such domain; they mix {', '.join(table.domains)}"
            )
    return {name: study.domains[name].pool if name in study.domains else None for name in table.domains}


def natural(pools: Mapping[str, float | None]) -> "np.ndarray | None":
    """The mixture proportional to the pools, None where one is unknown."""
    known = [pool for pool in pools.values() if pool is not None]
    return natural_mixture(known) if known and len(known) == len(pools) else None
