"""Stage fit: every predictor judged on mixtures that it hasn't seen, the best one kept with its evidence."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.config import Study
from mixopt.errors import MixoptError
from mixopt.folder import Folder, digest, read_json, stamp_of, write_json
from mixopt.progress import Progress
from mixopt.selection import TARGET, plain, select
from mixopt.target import target_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runtable import RunTable
    from regressors.judge import HeldOut

    Floats = NDArray[np.float64]

FOLDS = 16  # or one a mixture: tiny designs can spare few
MANY = 150  # mixtures from which on 5 folds tell as much
REHEARSALS = 8  # fits to half of the runs, to see how far favourites fall short
REHEARSALS_OF_MANY = 4  # each has more runs to pick from, and costs more
STORED = 2  # of what fits/ holds; rises when older files no longer do
MOST_FOR_CUBIC = 256  # runs up to which predictors of cubic cost are tried without being asked for: a minute beyond
NEED_POOLS = "needs every domain's pool, and the runs tell no pools, or different ones"


@dataclass(frozen=True)
class Judgement:
    """All predictors' held-out predictions of one table, and what follows from them."""

    table: "RunTable"  # the runs that were fitted: repeats that measure noise alone are left out
    makers: dict[str, Callable[[], Any]]  # gives unfitted estimators, by predictor
    judged: "dict[str, HeldOut]"  # by predictor
    groups: Any  # (n_runs,) the same for runs that are as good as one mixture
    selection: dict[str, Any]  # what selection.json holds, but for the stamp


@dataclass(frozen=True)
class Fitted:
    """The chosen predictor, fitted to all runs, with the fold estimators that its intervals need."""

    name: str
    estimator: Any  # predict: (n, n_domains) -> (n, n_texts)
    held_out: "HeldOut"
    table: "RunTable"  # the runs that were fitted
    selection: dict[str, Any]


def check_target(table: "RunTable", study: Study, where: str) -> None:
    """Raises MixoptError when the target names a text that the runs don't have, or a text has the target's name."""
    try:
        target_of(study.target_weights, table)
    except MixoptError as error:
        raise MixoptError(f"{where}: {error}") from None
    if TARGET in table.targets and study.target_weights != {TARGET: 1.0}:
        raise MixoptError(
            f"{where}: runs.losses: a loss is called {TARGET!r}, which stands for the study's own target: name it "
            "otherwise with a map {name: column}"
        )


def fit(table: "RunTable", study: Study, folder: Folder, progress: Progress) -> Fitted:
    """Judge all predictors of the study, fit the best and write fits/. Nothing is fitted twice on the same runs.

    Raises MixoptError when too few mixtures are left to judge by.
    """
    fitted_on = without_repeats(table)
    stamp = stamp_for(fitted_on, table, study)
    if stamp_of(folder.selection) == stamp:
        kept = load(folder, fitted_on)
        progress.stage("fit")
        progress.finish(f"{kept.name}, as before")
        return kept
    found = fit_runs(table, study.target_weights, study.predictors, seed=study.seed, progress=progress)
    found = replace(found, selection=found.selection | {"stamp": stamp})
    save(found, folder, study)
    best = next(s for s in found.selection["scores"] if s["predictor"] == found.name and s["target"] == TARGET)
    told = (f"{best[key]:.3f}" if best[key] is not None else "unknown" for key in ("spearman", "rmse"))
    progress.finish("{}: held-out Spearman {}, RMSE {} nats/token".format(found.name, *told))
    return found


def fit_runs(
    table: "RunTable",
    target: Mapping[str, float],
    predictors: Sequence[str],
    *,
    folds: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """The predictor that `judge_all` chooses, fitted to all runs; its choice of a mixture is rehearsed besides.

    Arguments and what is raised as there. Writes nothing; the caller ends the progress.
    """
    from regressors.judge import rehearse

    progress = progress or Progress()
    all_of_it = judge_all(table, target, predictors, folds=folds, seed=seed, progress=progress)
    chosen, fitted_on = all_of_it.selection["chosen"], all_of_it.table
    progress.update(len(all_of_it.judged), f"{chosen} on all runs")
    make, W, Y = all_of_it.makers[chosen], fitted_on.weights, fitted_on.losses
    rehearsals = REHEARSALS_OF_MANY if all_of_it.selection["mixtures"] > MANY else REHEARSALS
    try:
        estimator = make().fit(W, Y)
        rehearsal = rehearse(make, W, Y, all_of_it.groups, rehearsals=rehearsals, seed=seed)
    except ValueError as error:
        raise MixoptError(f"{chosen}: {error}") from None
    held_out = replace(all_of_it.judged[chosen], rehearsal=rehearsal)
    return Fitted(chosen, estimator, held_out, fitted_on, all_of_it.selection)


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

    target: weight by text. predictors: names in `regressors.PREDICTORS`; those that need pools are passed over where
    the runs tell none. folds: None: as many as the runs bear. Repeats and near-duplicates of a mixture share a fold.
    Writes nothing; the caller ends the progress.
    Raises MixoptError for too few mixtures, a target that the runs don't have, a predictor that refuses the runs, and
    when all predictors need pools.
    """
    from regressors.judge import near_groups

    progress = progress or Progress()
    fitted_on = without_repeats(table)
    aim = target_of(target, fitted_on)
    W, Y = fitted_on.weights, fitted_on.losses
    groups = near_groups(W)
    mixtures = len(np.unique(groups))
    if mixtures < 4:
        raise MixoptError(f"{mixtures} mixtures without divergence are too few to judge a predictor by: train more")
    folds = folds or (5 if mixtures > MANY else min(mixtures, FOLDS))
    makers = {
        name: make for name in affordable(predictors, len(W), progress) if (make := maker(name, fitted_on, seed=seed))
    }
    if not makers:
        raise MixoptError(f"predictors: {', '.join(predictors)} alone can't be used: it {NEED_POOLS}")
    progress.stage("fit", total=len(makers) + 1)
    judged: dict[str, HeldOut] = {}
    seconds: dict[str, float] = {}
    for i, (name, make) in enumerate(makers.items()):
        progress.update(i, name)
        started = time.perf_counter()
        judged[name] = judge(name, make, W, Y, groups, folds=folds, seed=seed)
        seconds[name] = (time.perf_counter() - started) / folds
    try:
        selection = select(judged, fitted_on, table, aim, groups, seconds=seconds)
    except ValueError as error:
        raise MixoptError(str(error)) from None
    return Judgement(fitted_on, makers, judged, groups, selection)


def affordable(predictors: Sequence[str], runs: int, progress: Progress) -> Sequence[str]:
    """The predictors to judge: of a default choice on a large table those alone that don't take minutes."""
    from mixopt.config import TRIED
    from regressors import CUBIC

    if list(predictors) != list(TRIED) or runs <= MOST_FOR_CUBIC:
        return predictors
    progress.note(f"{', '.join(n for n in TRIED if n in CUBIC)} are slow on {runs} runs and left out: name predictors "
                  "to have them judged.")  # fmt: skip
    return [name for name in predictors if name not in CUBIC]


def maker(name: str, table: "RunTable", *, seed: int) -> Callable[[], Any] | None:
    """Gives unfitted estimators of a predictor; None: it needs pools and the runs tell none."""
    from regressors import PREDICTORS, SEES_EPOCHS

    if name not in SEES_EPOCHS:
        return lambda: PREDICTORS[name](seed)
    unique = unique_of(table)
    return None if unique is None else lambda: PREDICTORS[name](seed).set_params(unique=unique)


def unique_of(table: "RunTable") -> list[float | None] | None:
    """Each domain's unique tokens over a run's tokens, where all runs agree on them; None otherwise."""
    kept = table.kept
    if "tokens" not in kept or any(f"pool/{name}" not in kept for name in table.domains):
        return None
    shares = np.stack([kept[f"pool/{name}"] / kept["tokens"] for name in table.domains], axis=1).astype(float)
    if not np.isfinite(shares).any() or not np.allclose(shares, shares[0], rtol=1e-6, equal_nan=True):
        return None
    return [float(share) if np.isfinite(share) else None for share in shares[0]]


def judge(
    name: str, make: Callable[[], Any], W: "Floats", Y: "Floats", groups: Any, *, folds: int, seed: int
) -> "HeldOut":
    from regressors import cross_validate

    try:
        return cross_validate(make, W, Y, groups, folds=folds, seed=seed)
    except ValueError as error:
        raise MixoptError(f"{name}: {error}") from None


def without_repeats(table: "RunTable") -> "RunTable":
    """The runs to fit: repeats with other seeds measure noise only.

    All other runs share initialisation and data order, so that their differences are the mixtures'; a repeat
    doesn't, and would look like an effect of its mixture.
    """
    if "role" not in table.frame:
        return table
    return replace(table, frame=table.frame[table.frame["role"] != "repeat"].reset_index(drop=True))


def stamp_for(fitted_on: "RunTable", table: "RunTable", study: Study) -> str:
    """Of everything that the fit depends on."""
    from mixopt import __version__

    return digest(
        [
            __version__,
            STORED,
            list(fitted_on.domains),
            list(table.targets),
            np.round(table.weights, 12).tolist(),
            np.where(np.isnan(table.losses), -1.0, table.losses).tolist(),
            list(map(str, table.kept["run_id"])),
            study.predictors,
            unique_of(fitted_on),
            study.seed,
            study.target_weights,
        ]
    )


def save(found: Fitted, folder: Folder, study: Study) -> None:
    """fits/<predictor>.json, then fits/selection.json, whose stamp makes the fit valid."""
    import scipy
    import sklearn

    from mixopt import __version__

    rehearsal = found.held_out.rehearsal
    write_json(
        folder.fits / f"{found.name}.json",
        {
            "stamp": found.selection["stamp"],
            "predictor": found.name,
            "domains": list(found.table.domains),
            "texts": list(found.table.targets),
            "seed": study.seed,
            "versions": {"mixopt": __version__, "numpy": np.__version__, "scipy": scipy.__version__,
                         "scikit-learn": sklearn.__version__},
            "model": found.estimator.to_dict(),
            "fold": found.held_out.fold.tolist(),
            "fold_models": [estimator.to_dict() for estimator in found.held_out.estimators],
            "held_out": [plain(row) for row in found.held_out.predicted],
            "rehearsal": rehearsal.to_dict() if rehearsal else None,
        },
    )  # fmt: skip
    write_json(folder.selection, found.selection)


def load(folder: Folder, fitted_on: "RunTable") -> Fitted:
    """What `save` wrote. Raises MixoptError when it is absent, or of other domains than the runs."""
    from regressors import HeldOut, from_dict
    from regressors.judge import Rehearsal

    selection = read_json(folder.selection, made_by="fit")
    path = folder.fits / f"{selection['chosen']}.json"
    kept = read_json(path, made_by="fit")
    if kept["domains"] != list(fitted_on.domains):
        raise MixoptError(f"{path}: fitted on domains {', '.join(kept['domains'])}, the runs have others: fit again")
    held_out = HeldOut(
        predicted=np.array([[np.nan if x is None else x for x in row] for row in kept["held_out"]]),
        fold=np.array(kept["fold"]),
        estimators=[from_dict(model) for model in kept["fold_models"]],
        rehearsal=Rehearsal.from_dict(kept["rehearsal"]) if kept["rehearsal"] else None,
    )
    return Fitted(kept["predictor"], from_dict(kept["model"]), held_out, fitted_on, selection)
