"""Fits to a bare table of runs: selected predictor, best mixture and predictions of given mixtures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.mixture.config import TRIED
from mixopt.mixture.fit import fit_runs
from mixopt.mixture.recommend import recommend
from mixopt.mixture.stored import FORMAT, KIND, TRIALS, StoredFit, record_of, stored
from mixopt.runs.objective import TargetChoice, check_objective, narrowed, target_of, weights_of
from mixopt.runs.stored import read_fit, table_digest
from mixopt.search.simplex import searched
from mixopt.serialization import CACHE_KEY, Json, digest, nan_to_null, replacing
from mixopt.study.progress import Progress
from mixopt.threads import on_one_thread
from mixopt.version import versions

if TYPE_CHECKING:
    from mixopt.runs.mixtures import Mixtures
    from mixopt.runs.table import RunTable

ROUNDING = 1e-3  # a share of tokens: the rounding of printed weights is not outside the trained mixtures
MIN_SCORED = 3  # measured mixtures, below which there's nothing to score
MAX_HULL_DISTANCES = 1000  # mixtures, beyond which the distance to the runs' hull isn't measured: a linear program each


@on_one_thread
def fit_table(
    table: RunTable,
    target: TargetChoice,
    predictors: Sequence[str] = TRIED,
    *,
    name: str = "runs",
    also: Sequence[str] = (),
    folds: int | None = None,
    seed: int = 0,
    source: Json | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> StoredFit:
    """The best of the predictors, fitted to the losses in the target and those in `also`, with all evidence for it.

    target: a loss, several with equal weights, or weight by loss. predictors: names in `regressors.PREDICTORS`; all are
    judged on held-out mixtures. name: what the runs are called. folds: None: as many as the runs bear.
    source: the files that the table was read from and how; command: what was typed; both are only recorded.
    Raises MixoptError for too few mixtures, and for a predictor that refuses the runs.
    """
    progress = progress or Progress()
    target = weights_of(target)
    check_objective(target, table)
    narrow = narrowed(table, [*target, *also])
    fitted = fit_runs(narrow, target, predictors, folds=folds, seed=seed, progress=progress)
    judged = {row.predictor for row in fitted.selection.scores}
    progress.finish(f"{fitted.name}, of {len(judged)} predictors" if len(judged) > 1 else fitted.name)
    progress.stage("search")
    recommendation = recommend(
        fitted.table,
        fitted.estimator,
        fitted.held_out,
        searched(fitted.table),
        study=name,
        predictor=fitted.name,
        target=target,
        trials=TRIALS,
        noise=fitted.selection.noise,
        seed=seed,
    )
    progress.finish(f"{TRIALS} mixtures tried")
    made = {
        **(source or {}),
        "command": command,
        "predictors": list(predictors),
        "folds": fitted.selection.folds,
        "seed": seed,
        "objective": _objective(fitted.estimator),
        "table_sha256": table_digest(fitted.table),
        "versions": versions(),
    }
    evidence = {"selection": fitted.selection.to_json(), "recommendation": recommendation.to_json()}
    return stored(record_of(fitted, target_of(target, fitted.table), made=made, evidence=evidence))


def _objective(estimator: Any) -> str:
    """What the estimator says of itself in a line."""
    return (type(estimator).__doc__ or type(estimator).__name__).strip().splitlines()[0]


def cache_key(source: Json, target: Mapping[str, float], also: Sequence[str], **settings: Any) -> str:
    """A digest of everything that decides a fit's record."""
    return digest([source, dict(target), list(also), settings, versions()])


def kept_fit(path: Path, key: str) -> Json | None:
    """The record at `path` if it was made from just the same; None where a new one is to be made."""
    try:
        record = read_fit(path, KIND, FORMAT)
    except MixoptError:
        return None  # no fit, half of one, or an older mixopt's
    return record if record["made"].get(CACHE_KEY) == key else None


def predictions(stored: StoredFit, given: Mixtures, *, level: float) -> Json:
    """A row a mixture: predicted target loss and its interval, nearest run, and how far outside of all runs it is.

    Where the file has the target's losses, also what was measured, and how good the predictions of unseen mixtures are.
    """
    shares = given.shares
    loss, (low, high) = stored.predict(shares), stored.interval(shares, level=level)
    texts = stored.losses(shares)
    runs, distance = stored.nearest_run(shares)
    outside = stored.outside(shares) if len(shares) <= MAX_HULL_DISTANCES else np.full(len(shares), np.nan)
    weights = np.array(list(stored.target.values()))
    measured = np.full(len(shares), np.nan) if given.losses is None else given.losses @ weights
    rows = [
        {
            "mixture": name,
            "loss": nan_to_null(loss[i]),
            "low": nan_to_null(low[i]),
            "high": nan_to_null(high[i]),
            "measured": nan_to_null(measured[i]),
            "nearest_run": runs[i],
            "distance": nan_to_null(distance[i]),
            "outside": nan_to_null(outside[i]),
            "losses": {text: nan_to_null(texts[i, j]) for j, text in enumerate(stored.texts)},
        }
        for i, name in enumerate(given.names)
    ]
    return {
        "predictor": stored.predictor,
        "target": stored.target,
        "unit": stored.record["target"].get("unit", ""),
        "level": level,
        "inside": ROUNDING,
        "mixtures": rows,
        "score": _score(loss, low, high, measured, distance),
    }


def _score(loss: Any, low: Any, high: Any, measured: Any, distance: Any) -> Json | None:
    """How well measured losses were predicted: of mixtures new to the fit, or else of all; None without any."""
    from regressors import rmse, spearman

    known = np.isfinite(measured)
    new = known & (distance > ROUNDING)
    scored = new if new.sum() >= MIN_SCORED else known
    if scored.sum() < MIN_SCORED:
        return None
    held = (low <= measured) & (measured <= high)
    return {
        "mixtures": int(scored.sum()),
        "new": bool(scored is new),
        "spearman": nan_to_null(spearman(loss[scored], measured[scored])),
        "rmse": rmse(loss[scored], measured[scored]),
        "covered": float(held[scored].mean()),
    }


def write_predictions(path: Path, rows: Sequence[Json]) -> None:
    """A CSV with a row a mixture, and a column loss/<name> for every loss."""
    import pandas as pd

    flat = [
        {key: value for key, value in row.items() if key != "losses"}
        | {f"loss/{text}": value for text, value in row["losses"].items()}
        for row in rows
    ]
    with replacing(path) as half:
        pd.DataFrame(flat).to_csv(half, index=False)
