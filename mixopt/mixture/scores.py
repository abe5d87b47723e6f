"""Cross-validation scores, model selection and noise floor of a mixture study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.mixture.results import HeldOutRuns, LeftOut, NestedScore, Noise, Score, Selection
from mixopt.runs.objective import TARGET, Target
from mixopt.serialization import nan_to_null

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.table import RunTable
    from regressors.evaluation.cross_validation import HeldOut

    Floats = NDArray[np.float64]

LEVEL = 0.8  # of the intervals whose coverage is scored
TRIED = 5  # mixtures predicted best, of which regret5 trains all
SCORES = ("spearman", "rmse", "rmse_se", "regret", "regret5", "coverage80")


def select(
    judged: Mapping[str, HeldOut],
    fitted_on: RunTable,
    table: RunTable,
    objective: Target,
    groups: Any,
    *,
    seconds: Mapping[str, float],
) -> Selection:
    """fits/selection.json: scores of all predictors, the chosen one, held-out predictions, noise.

    judged: by name, on one and the same folds. fitted_on: the runs that were fitted; table: those and the repeats that
    measure noise alone. groups: (n_runs,) of runs that are as good as one mixture. seconds: of one fit, by name.
    Raises ValueError when no predictor has a finite error.
    """
    from regressors import SIMPLICITY
    from regressors.evaluation.model_selection import choose, nested

    texts, Y = list(fitted_on.targets), fitted_on.losses
    measured = columns(Y, texts, objective)
    predicted = {name: columns(held_out.predicted, texts, objective) for name, held_out in judged.items()}
    fold = next(iter(judged.values())).fold
    noises = noise(table, objective)
    floor = noises[0].sd
    # Names can meet ("target" may be a text's), so arrays hold the target first and then every text.
    truth, guesses = stack(objective, Y), {name: stack(objective, one.predicted) for name, one in judged.items()}
    choice = choose(guesses, truth, groups, SIMPLICITY, noise=floor)
    own = None
    if len(judged) > 1:
        kept, names = nested(guesses, truth, groups, fold, SIMPLICITY, noise=floor)
        counts = {name: names.count(name) for name in judged if name in names}
        own = NestedScore(**score(kept[:, 0], truth[:, 0], groups, fold), chosen=counts)
    rows = [
        Score(
            predictor=name,
            target=text,
            **score(predicted[name][text], values, groups, fold),
            seconds=nan_to_null(seconds[name]),
        )
        for name in judged
        for text, values in measured.items()
    ]
    kept_runs = fitted_on.kept
    roles = kept_runs["role"] if "role" in kept_runs else [""] * len(kept_runs)
    return Selection(
        folds=len(np.unique(fold)),
        mixtures=len(np.unique(groups)),
        runs=len(kept_runs),
        chosen=choice.name,
        why=choice.why,
        floor=floor,
        nested=own,
        scores=rows,
        held_out=HeldOutRuns(
            run_id=fitted_on.run_ids,
            role=list(map(str, roles)),
            measured=nan_to_null(measured),
            predicted=nan_to_null(predicted),
        ),
        noise=noises,
        left_out=[LeftOut(row["run_id"], row["reason"]) for row in table.left_out],
        notes=list(table.notes),
    )


def columns(losses: Floats, texts: Sequence[str], objective: Target) -> dict[str, Floats]:
    """The weighted target first, then every text: name -> (n,)."""
    return {TARGET: objective.of(losses)} | {text: losses[:, i] for i, text in enumerate(texts)}


def stack(objective: Target, losses: Any) -> Floats:
    """The weighted target, then every text: (n, 1 + n_texts)."""
    return np.column_stack([objective.of(losses), losses])


def score(predicted: Floats, measured: Floats, groups: Any, fold: Any) -> dict[str, float | None]:
    """Held-out scores over mixtures: runs of one mixture count once, by their mean. None where there are too few.

    rmse_se: the standard error of rmse. regret5: what is given up by training the 5 mixtures
    predicted best and keeping the best of them.
    coverage80: the share of runs inside intervals that the other folds' errors give, of level 80%.
    """
    from regressors import regret, rmse, spearman
    from regressors.evaluation.intervals import held_out_bounds
    from regressors.evaluation.metrics import coverage
    from regressors.evaluation.model_selection import mixture_means

    known = np.isfinite(predicted) & np.isfinite(measured)
    p, m = (mixture_means(x[known], groups[known]) for x in (predicted, measured))
    if len(p) < 3:
        return dict.fromkeys(SCORES)
    error = rmse(p, m)
    squares = (p - m) ** 2
    low, high = held_out_bounds(np.where(known, measured - predicted, np.nan), predicted, fold, LEVEL)
    bounded = known & np.isfinite(high)
    scores = {
        "spearman": spearman(p, m),
        "rmse": error,
        # by the delta method from the mean square
        "rmse_se": squares.std(ddof=1) / len(p) ** 0.5 / (2 * error) if error > 0 else 0.0,
        "regret": regret(p, m),
        "regret5": regret(p, m, tried=TRIED) if len(p) > TRIED else None,
        "coverage80": coverage(measured[bounded], low[bounded], high[bounded]),
    }
    return nan_to_null(scores)


def noise(table: RunTable, objective: Target) -> list[Noise]:
    """Scatter of repeats of one mixture against scatter across mixtures, for the target and every text."""
    from regressors.evaluation.model_selection import mixture_means

    groups = table.groups
    rows = []
    for text, losses in columns(table.losses, list(table.targets), objective).items():
        known = np.isfinite(losses)
        means, labels = mixture_means(losses[known], groups[known]), np.unique(groups[known])
        # Pooled over all mixtures that were trained more than once.
        spare = int(known.sum()) - len(means)
        apart = losses[known] - means[np.searchsorted(labels, groups[known])]
        sd = float((apart @ apart / spare) ** 0.5) if spare else None
        signal = float(means.std(ddof=1)) if len(means) > 1 else None
        ratio = signal / sd if sd and signal is not None else None
        rows.append(Noise(text, sd, signal, ratio, spare + 1 if spare else 0))
    return rows
