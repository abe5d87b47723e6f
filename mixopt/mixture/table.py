"""`mixopt fit` on a table of runs: predictors judged, the best one fitted, the best mixture, all in one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError
from mixopt.mixture.config import TRIED
from mixopt.mixture.fit import fit_runs
from mixopt.mixture.recommend import recommend
from mixopt.mixture.stored import StoredFit, is_fit, read_record, record_of, stored
from mixopt.runs.objective import narrowed, target_of
from mixopt.runs.stored import table_digest
from mixopt.search.simplex import searched
from mixopt.serialization import digest
from mixopt.study.progress import Progress
from mixopt.version import versions

if TYPE_CHECKING:
    from mixopt.runs.table import RunTable

TRIALS = 1000  # mixtures that the search tries, as many as a study's


def fit_table(
    table: RunTable,
    target: Mapping[str, float],
    predictors: Sequence[str] = TRIED,
    *,
    name: str = "runs",
    also: Sequence[str] = (),
    folds: int | None = None,
    seed: int = 0,
    source: Mapping[str, Any] | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> StoredFit:
    """The best of the predictors, fitted to the losses in the target and those in `also`, with all evidence for it.

    target: weight by text. predictors: names in `regressors.PREDICTORS`; all are judged on held-out mixtures.
    name: what the runs are called. folds: None: as many as the runs bear.
    source: the files that the table was read from and how; command: what was typed; both are only recorded.
    Raises MixoptError for too few mixtures, and for a predictor that refuses the runs.
    """
    progress = progress or Progress()
    narrow = narrowed(table, [*target, *also])
    fitted = fit_runs(narrow, target, predictors, folds=folds, seed=seed, progress=progress)
    judged = {row["predictor"] for row in fitted.selection["scores"]}
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
        noise=fitted.selection["noise"],
        seed=seed,
    )
    # A table says nothing about the full run, and its reader has no study file to say it in.
    recommendation["warnings"] = [text for text in recommendation["warnings"] if "full.tokens" not in text]
    progress.finish(f"{recommendation['search']['trials']} mixtures tried")
    made = {
        **(source or {}),
        "command": command,
        "predictors": list(predictors),
        "folds": fitted.selection["folds"],
        "seed": seed,
        "objective": _objective(fitted.estimator),
        "table_sha256": table_digest(fitted.table),
        "versions": versions(),
    }
    evidence = {"selection": fitted.selection, "recommendation": recommendation}
    return stored(record_of(fitted, target_of(target, fitted.table), made=made, evidence=evidence))


def _objective(estimator: Any) -> str:
    """What the estimator says of itself in a line."""
    return (type(estimator).__doc__ or type(estimator).__name__).strip().splitlines()[0]


def stamp_of(source: Mapping[str, Any], target: Mapping[str, float], also: Sequence[str], **settings: Any) -> str:
    """A digest of everything that decides a fit's record."""
    return digest([source, dict(target), list(also), settings, versions()])


def kept_fit(path: Path, stamp: str) -> dict[str, Any] | None:
    """The record at `path` if it was made from just the same; None where a new one may take its place.

    Raises MixoptError for a file that is no fit: that one is not to be replaced.
    """
    if not path.exists():
        return None
    if not is_fit(path):
        raise MixoptError(f"{path} is there already and is no fit: choose another name with --out")
    try:
        record = read_record(path)
    except MixoptError:
        return None  # half a fit, or an older mixopt's
    return record if record["made"].get("stamp") == stamp else None
