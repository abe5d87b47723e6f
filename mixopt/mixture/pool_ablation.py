"""Ablation of repetition-awareness on runs whose pools differ, and the interval of R*."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.mixture.results import HeldOutErrors, RepetitionEvidence, RStar, RStarEvidence
from mixopt.runs.pools import common_unique, pool_shares
from mixopt.study.jobs import EXTRA, LARGER, REPETITION, SHORTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.objective import Target
    from mixopt.runs.table import RunTable
    from regressors.evaluation.cross_validation import Auxiliary, HeldOut

    Floats = NDArray[np.float64]

LEVEL = 0.8  # of the interval of R*
NEED_POOLS = "needs every domain's pool and the run's tokens, and the runs don't have them"
NEED_PLACE = (
    "sees how often text is repeated, the runs' pools differ, and nothing says how often the full run repeats it: "
    "state full.tokens and domains.<name>.pool in a study file"
)


@dataclass(frozen=True, eq=False)
class Task:
    """A predictor and the runs that it is fitted to and judged on.

    make gives unfitted estimators of X (n_runs, n_features), the judged runs' shares, or [shares | unique shares].
    auxiliary: runs of role "repetition"; only a predictor that sees pools learns from them.
    """

    make: Callable[[], Any]
    X: Floats
    auxiliary: Auxiliary | None
    sees_pools: bool

    def fit(self, Y: Floats) -> Any:
        """An estimator of all runs. Y (n_runs, n_texts): the judged runs' losses."""
        X, Y = self.auxiliary.added_to(self.X, Y, without=np.empty(0)) if self.auxiliary else (self.X, Y)
        return self.make().fit(X, Y)

    def at(self, estimator: Any, unique: Floats | None) -> Any:
        """The estimator as a predictor of shares alone, at unique shares (n_domains,); itself if it is one already."""
        return estimator.at(unique) if self.sees_pools and unique is not None else estimator


def runs_of(table: RunTable, *, role: str | None = None) -> RunTable:
    """The runs of one role; None: the ordinary ones, which are fitted and judged.

    Ordinary runs share initialisation, data order, pools and length, so that their differences are the mixtures'; a
    repeat with another seed would look like an effect of its mixture.
    """
    if "role" not in table.frame:
        return table if role is None else replace(table, frame=table.frame.iloc[:0])
    roles = table.frame["role"]
    kept = ~roles.isin(EXTRA) if role is None else roles == role
    return replace(table, frame=table.frame[kept].reset_index(drop=True))


def task_of(
    name: str, ordinary: RunTable, *, seed: int, auxiliary: RunTable | None = None, groups: Any = None
) -> Task | None:
    """What to fit for a predictor; None: it needs pools and the runs have none.

    auxiliary, groups: runs of role "repetition" and their (n,) labels, as the ordinary runs' are.
    """
    from regressors import PREDICTORS, SEES_EPOCHS, SEES_POOLS
    from regressors.evaluation.cross_validation import Auxiliary

    sees_pools = name in SEES_POOLS
    if name in SEES_EPOCHS and pool_shares(ordinary) is None:
        return None
    factory = SEES_POOLS[name] if sees_pools else PREDICTORS[name]
    if auxiliary is None or not len(auxiliary.kept):
        near = None
    else:
        near = Auxiliary(features(auxiliary, sees_pools), auxiliary.losses, np.asarray(groups), fitted=sees_pools)
    return Task(lambda: factory(seed), features(ordinary, sees_pools), near, sees_pools)


def features(table: RunTable, sees_pools: bool) -> Floats:
    """Shares (n_runs, n_domains), and beside them unique shares for a predictor that sees pools."""
    return np.hstack([table.weights, pool_shares(table)]) if sees_pools else table.weights  # pyright: ignore[reportCallIssue, reportArgumentType]


def evidence(
    aware: str,
    plain: str,
    judged: Mapping[str, HeldOut],
    objective: Target,
    ordinary: RunTable,
    auxiliary: RunTable,
) -> RepetitionEvidence:
    """Held-out errors on runs whose pools differ, of a predictor that sees repetition and of one that doesn't.

    aware, plain: their names in judged. Where no run has role "repetition", all runs count if their pools differ.
    earned: errors are smaller with it by more than one standard error of the mean difference of squared errors, the
    target's beside the mean over the texts in units of what is usual.
    """
    why = "No run tells weight and repetition apart: all runs have the same pools."
    unjudged = RepetitionEvidence(aware, plain, runs=0, why=why)
    if len(auxiliary.kept):
        Y, guesses = auxiliary.losses, [np.asarray(judged[name].auxiliary) for name in (aware, plain)]
    elif common_unique(ordinary) is None:
        Y, guesses = ordinary.losses, [judged[name].predicted for name in (aware, plain)]
    else:
        return unjudged
    squares = np.stack([np.column_stack([objective.of(Y - guess), Y - guess]) ** 2 for guess in guesses])
    known = np.isfinite(squares).all(axis=(0, 2))
    if known.sum() < 2:
        return unjudged
    squares = squares[:, known]
    with_it, without = np.sqrt(squares.mean(axis=1))
    unit = np.maximum(squares.mean(axis=(0, 1)), np.finfo(float).tiny)
    gap = (squares[1] - squares[0]) / unit
    gap = 0.5 * gap[:, 0] + 0.5 * gap[:, 1:].mean(axis=1)
    by_text = zip(ordinary.targets, with_it[1:], without[1:], strict=True)
    earned = bool(gap.mean() > gap.std(ddof=1) / len(gap) ** 0.5)
    why = (
        f"On {known.sum()} held-out runs whose pools differ {aware}, which sees repetition, errs by {with_it[0]:.3f} "
        f"nats/token, and {plain}, which doesn't, by {without[0]:.3f}: seeing repetition "
        + ("earns its place." if earned else "doesn't earn its place.")
    )
    return RepetitionEvidence(
        aware,
        plain,
        runs=int(known.sum()),
        with_=float(with_it[0]),
        without=float(without[0]),
        earned=earned,
        why=why,
        by_text={text: HeldOutErrors(float(a), float(b)) for text, a, b in by_text},
    )


def r_star(law: Any, texts: Sequence[str], objective: Target) -> RStarEvidence | None:
    """R* by validation set of the target, with its profile interval; None for a law without one.

    law: a fitted PoolRegressor.

    low and high bound what isn't ruled out, the prior counted; null where it is open. identified: whether the runs say
    more of it than the prior.
    """
    from regressors.laws.effective_tokens import R_SD, R_STAR

    if "R" not in law.values_:
        return None
    profile, known = law.profile("R", level=LEVEL), law.identify()
    place = known.names.index("R")
    rows = {}
    for t in map(int, np.flatnonzero(objective.by_target)):
        rows[texts[t]] = RStar(
            value=float(law.values_["R"][t]),
            low=None if profile.open_low[t] else float(profile.low[t]),
            high=None if profile.open_high[t] else float(profile.high[t]),
            identified=not bool(known.unidentified[t, place]),
        )
    return RStarEvidence(LEVEL, {"centre": R_STAR, "sd_of_log": R_SD}, rows)


def without_other_pools(table: RunTable) -> RunTable:
    """The ordinary runs and their repeats: what scatters among those of one mixture is noise."""
    if "role" not in table.frame:
        return table
    return replace(
        table, frame=table.frame[~table.frame["role"].isin((REPETITION, SHORTER, LARGER))].reset_index(drop=True)
    )
