"""Fit of a mixture study: cross-validation of every predictor, and the selected one on all runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import counted, loss
from mixopt.mixture.config import Study
from mixopt.mixture.pool_ablation import (
    NEED_PLACE,
    NEED_POOLS,
    Task,
    evidence,
    r_star,
    runs_of,
    task_of,
    without_other_pools,
)
from mixopt.mixture.results import LeftOut, Selection
from mixopt.mixture.scores import select
from mixopt.runs.objective import TARGET, check_objective, target_of
from mixopt.runs.pools import common_unique, pool_shares
from mixopt.serialization import CACHE_KEY, Json, cached, digest, nan_to_null, read_json, remake, restoring, write_json
from mixopt.study.jobs import REPETITION
from mixopt.study.layout import Folder
from mixopt.study.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.table import RunTable
    from regressors.evaluation.cross_validation import HeldOut

    Floats = NDArray[np.float64]

FOLDS = 16  # or one a mixture: tiny designs can spare few
MANY_MIXTURES = 150  # from which on 5 folds tell as much
MANY_LOSSES = 30  # from which on 16 folds take minutes: 5 must do
HOLDOUTS = 8  # fits to half of the runs, for the error at the mixture predicted best
HOLDOUTS_OF_MANY = 4  # each has more runs to pick from, and costs more
VERSION = 3  # of what fits/ holds; rises when older files no longer do
MAX_RUNS_FOR_CUBIC = 256  # runs up to which predictors of cubic cost are tried without being asked for: a minute beyond


@dataclass(frozen=True)
class Judgement:
    """All predictors' held-out predictions of one table, and what follows from them."""

    table: "RunTable"  # the runs that were judged: those of an extra role are left out
    tasks: dict[str, Task]  # by predictor
    judged: "dict[str, HeldOut]"  # by predictor
    groups: Any  # (n_runs,) the same for runs that are as good as one mixture
    selection: Selection


@dataclass(frozen=True)
class Fitted:
    """The chosen predictor, fitted to all runs, with the fold estimators that its intervals need.

    All are predictors of shares alone; one that sees repetition is at the full run's unique shares (`AtPools`).
    """

    name: str
    estimator: Any  # predict: (n, n_domains) -> (n, n_texts)
    held_out: "HeldOut"
    table: "RunTable"  # the runs that were judged
    selection: Selection
    cache_key: str = ""  # of selection.json, in a study folder


def check_target(table: "RunTable", study: Study, where: str) -> None:
    """Raises MixoptError when the target names a loss that the runs don't have, or a loss has the target's name."""
    if TARGET in table.targets and study.target_weights != {TARGET: 1.0}:
        raise MixoptError(
            f"{where}: runs.losses: a loss is called {TARGET!r}, which stands for the study's own target: name it "
            "otherwise with a map {name: column}"
        )
    try:
        target_of(study.target_weights, table)
        check_objective(study.target_weights, table, interface="study")
    except MixoptError as error:
        raise MixoptError(f"{where}: {error}") from None


def fit(
    table: "RunTable", study: Study, folder: Folder, progress: Progress, *, unique: "Floats | None" = None
) -> Fitted:
    """Judge all predictors of the study, fit the best and write fits/. Nothing is fitted twice on the same runs.

    unique: as in `fit_runs`. Raises MixoptError when too few mixtures are left to judge by.
    """
    key = cache_key(table, study, unique)

    def path_of(selection: Json) -> Path:
        return folder.fits / f"{selection['chosen']}.json"

    def compute() -> Json:
        found = fit_runs(
            table, study.target_weights, study.predictors, seed=study.seed, progress=progress, unique=unique
        )
        selection = found.selection.to_json()
        write_json(path_of(selection), to_json(found, study) | {CACHE_KEY: key})
        best = next(s for s in found.selection.scores if s.predictor == found.name and s.target == TARGET)
        scores = f"Spearman {loss(best.spearman)}, RMSE {loss(best.rmse)} nats/token"
        progress.finish(f"{found.name}: held-out {scores}")
        return selection

    def reuse() -> None:
        progress.stage("fit")
        progress.finish("as before")

    found = cached(folder.selection, key, compute, needs=lambda selection: [path_of(selection)], on_hit=reuse)
    return load(found, path_of(found), runs_of(table))


def fit_runs(
    table: "RunTable",
    target: Mapping[str, float],
    predictors: Sequence[str],
    *,
    folds: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    unique: "Floats | None" = None,
) -> Fitted:
    """The predictor that `judge_all` chooses, fitted to all runs; with repeated holdouts of its choice of a mixture.

    unique: every domain's unique tokens over the full run's tokens, (n_domains,), inf for unlimited ones; None: as the
    runs have them, if all have the same. Without, what sees repetition has no place to predict at and is passed over.
    Other arguments and what is raised as there. Writes nothing; the caller ends the progress.
    """
    from regressors.evaluation.cross_validation import repeated_holdout

    progress = progress or Progress()
    unique = common_unique(runs_of(table)) if unique is None else unique
    placed = with_a_place(predictors, table, unique, progress)
    all_of_it = judge_all(table, target, placed, folds=folds, seed=seed, progress=progress)
    chosen, fitted_on = all_of_it.selection.chosen, all_of_it.table
    progress.update(len(all_of_it.judged), f"{chosen} on all runs")
    task, Y = all_of_it.tasks[chosen], fitted_on.losses
    many = len(np.unique(all_of_it.groups)) > MANY_MIXTURES or len(table.targets) > MANY_LOSSES
    repeats = HOLDOUTS_OF_MANY if many else HOLDOUTS
    try:
        estimator = task.fit(Y)
        holdouts = repeated_holdout(
            task.make, task.X, Y, all_of_it.groups, repeats=repeats, seed=seed, auxiliary=task.auxiliary
        )
    except ValueError as error:
        raise MixoptError(f"{chosen}: {error}") from None
    held_out = all_of_it.judged[chosen]
    models = [task.at(one, unique) for one in held_out.estimators]
    held_out = replace(held_out, estimators=models, repeated_holdout=holdouts)
    selection = with_r_star(all_of_it, chosen, estimator, target)
    return Fitted(chosen, task.at(estimator, unique), held_out, fitted_on, selection)


def with_a_place(
    predictors: Sequence[str], table: "RunTable", unique: "Floats | None", progress: Progress
) -> Sequence[str]:
    """The predictors, but for those that see repetition where nothing says how often the full run repeats text."""
    from regressors import SEES_POOLS

    if unique is not None or pool_shares(runs_of(table)) is None:
        return predictors
    lost = [name for name in predictors if name in SEES_POOLS]
    if lost and len(lost) == len(predictors):
        raise MixoptError(f"predictors: {', '.join(lost)} {NEED_PLACE}")
    if lost:
        progress.note(f"{', '.join(lost)} {NEED_PLACE}; left out.")
    return [name for name in predictors if name not in lost]


def with_r_star(found: Judgement, chosen: str, estimator: Any, target: Mapping[str, float]) -> Selection:
    """The selection with what the runs say of R*. estimator: the chosen one, of all runs."""
    repetition = found.selection.repetition
    if repetition is None or repetition.aware is None:
        return found.selection
    law = estimator if repetition.aware == chosen else found.tasks[repetition.aware].fit(found.table.losses)
    interval = r_star(law, found.table.targets, target_of(target, found.table))
    return replace(found.selection, repetition=replace(repetition, r_star=interval))


def judge_all(
    table: "RunTable",
    target: Mapping[str, float],
    predictors: Sequence[str],
    *,
    folds: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Judgement:
    """Every predictor's held-out predictions, their scores, and the one to use.

    target: weight by validation set. predictors: names in `regressors.PREDICTORS`; those that need pools are passed
    over where the runs have none. folds: None: as many as the runs bear. Repeats and near-duplicates of a mixture share
    a fold.
    All are judged on the ordinary runs; what sees pools learns from those of role "repetition" besides, and all predict
    those too, never having seen their mixtures. Writes nothing; the caller ends the progress.
    Raises MixoptError for too few mixtures, a target that the runs don't have, a predictor that refuses the runs, and
    when all predictors need pools.
    """
    from regressors import DEFAULT
    from regressors.evaluation.cross_validation import near_groups

    progress = progress or Progress()
    fitted_on, auxiliary = runs_of(table), runs_of(table, role=REPETITION)
    objective = target_of(target, fitted_on)
    W, Y = fitted_on.weights, fitted_on.losses
    labels = near_groups(np.vstack([W, auxiliary.weights]))
    groups, others = labels[: len(W)], labels[len(W) :]
    mixtures = len(np.unique(groups))
    if mixtures < 4:
        raise MixoptError(f"{mixtures} mixtures without divergence are too few to score a predictor: train more")
    many = mixtures > MANY_MIXTURES or Y.shape[1] > MANY_LOSSES
    folds = folds or min(mixtures, 5 if many else FOLDS)
    tasks = {
        name: task
        for name in affordable(predictors, len(W), Y.shape[1], progress)
        if (task := task_of(name, fitted_on, seed=seed, auxiliary=auxiliary, groups=others))
    }
    if not tasks:
        raise MixoptError(f"predictors: {', '.join(predictors)} alone can't be used: it {NEED_POOLS}")
    progress.stage("fit", total=len(tasks) + 1)
    judged: dict[str, HeldOut] = {}
    seconds: dict[str, float] = {}
    for i, (name, task) in enumerate(tasks.items()):
        progress.update(i, name)
        started = time.perf_counter()
        judged[name] = judge(name, task, Y, groups, folds=folds, seed=seed)
        seconds[name] = (time.perf_counter() - started) / folds
    try:
        selection = select(judged, fitted_on, without_other_pools(table), objective, groups, seconds=seconds)
    except ValueError as error:
        raise MixoptError(str(error)) from None
    repetition = None
    if aware := next((name for name in (selection.chosen, *tasks) if tasks[name].sees_pools), None):
        blind = judged.get(DEFAULT)
        if blind is None:
            task = task_of(DEFAULT, fitted_on, seed=seed, auxiliary=auxiliary, groups=others)
            blind = judge(DEFAULT, task, Y, groups, folds=folds, seed=seed) if task else judged[aware]
        repetition = evidence(aware, DEFAULT, {aware: judged[aware], DEFAULT: blind}, objective, fitted_on, auxiliary)
    left_out = [LeftOut(row["run_id"], row["reason"]) for row in table.left_out]
    selection = replace(selection, repetition=repetition, left_out=left_out)
    return Judgement(fitted_on, tasks, judged, groups, selection)


def affordable(predictors: Sequence[str], runs: int, losses: int, progress: Progress) -> Sequence[str]:
    """The predictors to judge: of a default choice on a large table those alone that don't take minutes."""
    from mixopt.mixture.config import TRIED
    from regressors import CUBIC

    if list(predictors) != list(TRIED) or (runs <= MAX_RUNS_FOR_CUBIC and losses <= MANY_LOSSES):
        return predictors
    progress.note(f"{', '.join(n for n in TRIED if n in CUBIC)} are slow on {runs} runs and {counted(losses, 'loss')}, "
                  "and left out: name predictors to have them scored.")  # fmt: skip
    return [name for name in predictors if name not in CUBIC]


def judge(name: str, task: Task, Y: "Floats", groups: Any, *, folds: int, seed: int) -> "HeldOut":
    from regressors import cross_validate

    try:
        return cross_validate(task.make, task.X, Y, groups, folds=folds, seed=seed, auxiliary=task.auxiliary)
    except ValueError as error:
        raise MixoptError(f"{name}: {error}") from None


def cache_key(table: "RunTable", study: Study, unique: "Floats | None") -> str:
    """Of everything that the fit depends on."""
    from mixopt.version import __version__

    fitted_on = runs_of(table)
    shares = pool_shares(table)
    return digest(
        [
            __version__,
            VERSION,
            list(fitted_on.domains),
            list(table.targets),
            np.round(table.weights, 12).tolist(),
            np.where(np.isnan(table.losses), -1.0, table.losses).tolist(),
            list(map(str, table.kept["run_id"])),
            study.predictors,
            nan_to_null(shares),
            list(map(str, table.kept["role"])) if "role" in table.kept else None,
            nan_to_null(unique),
            study.seed,
            study.target_weights,
        ]
    )


def to_json(found: Fitted, study: Study) -> Json:
    """Content of fits/<predictor>.json."""
    import scipy
    import sklearn

    from mixopt.version import __version__

    holdouts = found.held_out.repeated_holdout
    return {
        "predictor": found.name,
        "domains": list(found.table.domains),
        "texts": list(found.table.targets),
        "seed": study.seed,
        "versions": {"mixopt": __version__, "numpy": np.__version__, "scipy": scipy.__version__,
                     "scikit-learn": sklearn.__version__},
        "model": found.estimator.to_dict(),
        "fold": found.held_out.fold.tolist(),
        "fold_models": [estimator.to_dict() for estimator in found.held_out.estimators],
        "held_out": nan_to_null(found.held_out.predicted),
        "rehearsal": holdouts.to_dict() if holdouts else None,
    }  # fmt: skip


def load(selection: Json, path: Path, fitted_on: "RunTable") -> Fitted:
    """The chosen fit. Raises MixoptError when it is absent, was changed, or is of other runs than the selection."""
    from regressors import HeldOut, from_dict
    from regressors.evaluation.cross_validation import RepeatedHoldout

    kept, key = read_json(path, made_by="fit"), selection[CACHE_KEY]
    if kept.get(CACHE_KEY) != key:
        raise MixoptError(f"{path}: fitted to other runs than are there now: delete it and run `mixopt fit` again")
    with restoring(path, remake("fit")):
        held_out = HeldOut(
            predicted=np.array([[np.nan if x is None else x for x in row] for row in kept["held_out"]]),
            fold=np.array(kept["fold"]),
            estimators=[from_dict(model) for model in kept["fold_models"]],
            repeated_holdout=RepeatedHoldout.from_dict(kept["rehearsal"]) if kept["rehearsal"] else None,
        )
        estimator, name = from_dict(kept["model"]), str(kept["predictor"])
    with restoring(path.with_name("selection.json"), remake("fit")):
        return Fitted(name, estimator, held_out, fitted_on, Selection.from_json(selection), key)
