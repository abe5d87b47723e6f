"""Rolling-origin evaluation of joint laws: larger sizes and later checkpoints predicted from earlier ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.formatting import counted
from mixopt.runs.objective import Target
from mixopt.runs.read import MIN_MIXTURES
from mixopt.scaling.results import LawScore, LawScores, OriginScore, RollingOrigin
from mixopt.serialization import nan_to_null
from mixopt.study.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.table import RunTable
    from mixopt.search.simplex import Floats
    from regressors.estimators.joint import JointRegressor
    from regressors.evaluation.cross_validation import Split

DEFAULT = "joint-effective-data"
PERSISTENCE = "persistence"
MAX_SIZES = 4  # held-out sizes at most, the largest ones
CUTS = (0.25, 0.5)  # shares of each size's most tokens: what lies beyond is predicted from what doesn't
LAST = 0.98  # of a size's most tokens: the last checkpoints, some a step apart
HELD = 0.8  # of the held-out losses lie in the spread
MIN_SIZES = 2  # that are fitted, to judge larger ones: a fit to one size doesn't know what size does
MIN_GAIN = 0.25  # of the default's error: few origins are a noisy judge, so another law has to pay


@dataclass(frozen=True, eq=False)
class Held:
    """One law's predictions of what one origin leaves out.

    off: relative errors of the target loss, (n_predicted,), NaN where it isn't known; by_mixture: mean absolute ones,
    (n_mixtures,), NaN alike; spearman: over mixtures, NaN where they are too few.
    """

    off: Floats
    by_mixture: Floats
    spearman: float

    @property
    def error(self) -> float:
        return _mean(self.by_mixture)


@dataclass(frozen=True, eq=False)
class Judged:
    """Every law, and persistence, on every origin."""

    held: Mapping[str, Sequence[Held]]
    origins: Sequence[RollingOrigin]
    chosen: str
    why: str

    def error(self, name: str, kind: str | None = None) -> float:
        """Mean relative error, a share; origins count alike."""
        return _mean([held.error for held in self._of(name, kind)])

    def _of(self, name: str, kind: str | None = None) -> list[Held]:
        pairs = zip(self.held.get(name, ()), self.origins, strict=False)
        return [held for held, origin in pairs if kind in (None, origin.kind)]

    def beyond(self, kind: str) -> float:
        """How many times further than what was fitted a held-out scale lay at most; 0: none was held out."""
        return max((origin.beyond for origin in self.origins if origin.kind == kind), default=0.0)

    @property
    def spread(self) -> float | None:
        """HELD of the held-out losses were predicted with smaller relative errors, in the worst origin."""
        errors = [np.abs(held.off[np.isfinite(held.off)]) for held in self._of(self.chosen)]
        return max((float(np.quantile(known, HELD)) for known in errors if len(known)), default=None)

    @property
    def persistence_wins(self) -> bool:
        return bool(self.origins) and self.error(PERSISTENCE) < self.error(self.chosen)

    def scores(self) -> LawScores:
        """Every law's errors, and the choice, as the fit's file holds them."""
        laws = []
        for name in self.held:
            each = [(held.error, _mean(held.off), held.spearman) for held in self._of(name)]
            bias, spearman = (_mean([scores[k] for scores in each]) for k in (1, 2))
            means = {"error": self.error(name), "bias": bias, "spearman": spearman}
            means |= {f"error_{kind}": self.error(name, kind) for kind in ("size", "tokens", "both")}
            origins = [OriginScore(*nan_to_null(scores)) for scores in each]
            laws.append(LawScore(**nan_to_null(means), law=name, origins=origins))
        laws.sort(key=lambda row: np.inf if row.error is None else row.error)
        return LawScores(laws, list(self.origins), self.chosen, self.why, self.spread, HELD)


def new_law(name: str, *, pools: bool = False) -> JointRegressor:
    """A joint law, unfitted, as `mixopt scale` fits it: the law's own priors, residuals that persist.

    Priors of a strength chosen by held-out errors erred as much or more on larger models.
    """
    from regressors.estimators.joint import JointRegressor

    return JointRegressor(name, strength=1, pools=pools, residuals=True)


def inputs(table: RunTable) -> Floats:
    """What a joint law sees, (n_rows, n_domains + 2): shares that sum to 1, parameters, tokens."""
    shares = table.weights / table.weights.sum(axis=1, keepdims=True)
    return np.column_stack([shares, table.numbers("params"), table.numbers("tokens")])


def judge(
    table: RunTable, objective: Target, laws: Sequence[str], *, beyond: Collection[str] = (), progress: Progress
) -> Judged:
    """Fits every law to every origin's earlier rows and predicts the later ones; nothing is fitted to those.

    beyond: in what the question lies beyond all rows, "size" or "tokens": the choice goes by origins of these kinds,
    with both by those where both grow at once, and where there are none, the default is kept. Without, all count.
    """
    X, Y = inputs(table), table.losses
    measured = objective.of(Y)
    splits = rolling_origins(X[:, -2], X[:, -1], Y, table.groups)
    progress.stage("judge", total=len(laws) * len(splits))
    held: dict[str, list[Held]] = {name: [] for name in (*laws, PERSISTENCE)}
    for i, split in enumerate(splits):
        for k, name in enumerate(laws):
            progress.update(i * len(laws) + k, f"{name}, split {i + 1} of {len(splits)}")
            joint = new_law(name).fit(X[split.fitted], Y[split.fitted])
            predicted = objective.of(joint.predict(X[split.predicted]))
            held[name].append(held_out(split, predicted, measured, X, table.groups))
        predicted = persistence(split, measured, X, table.groups)
        held[PERSISTENCE].append(held_out(split, predicted, measured, X, table.groups))
    progress.finish(f"{counted(len(laws), 'joint law')}, {counted(len(splits), 'split')} by size or tokens")
    default = DEFAULT if DEFAULT in laws else laws[0]
    if not splits:
        return Judged({}, [], default, "No scale could be held out: no law was scored.")
    origins = [described(split, X) for split in splits]
    asked = asked_of(origins, beyond)
    if asked:
        chosen, why = choose({name: [held[name][i] for i in asked] for name in laws})
    else:
        what = f"No larger {' or '.join(beyond) or 'scale'} could be held out (sizes take two smaller ones)"
        chosen, why = default, f"{what}: {default} is kept, not chosen."
    return Judged(held, origins, chosen, why)


def asked_of(origins: Sequence[RollingOrigin], beyond: Collection[str]) -> list[int]:
    """Places of the origins that are evidence for a question: of its kind, sizes held out from MIN_SIZES or more."""
    able = [i for i, one in enumerate(origins) if one.kind == "tokens" or one.sizes >= MIN_SIZES]
    if len(beyond) > 1:
        return [i for i in able if origins[i].kind == "both"]
    return [i for i in able if not beyond or origins[i].kind in beyond]


def rolling_origins(params: Floats, tokens: Floats, Y: Floats, groups: NDArray[np.int64]) -> list[Split]:
    """By size: each of the largest sizes from all smaller ones. By tokens: what lies beyond CUTS of every size's most
    tokens from what doesn't, where three token counts stay. By both: the largest size's tokens beyond the last of CUTS
    from smaller sizes' up to it. Origins without enough to fit are left out."""
    from regressors.evaluation.cross_validation import by_length, by_size, by_size_and_length, size_bins

    size = size_bins(params)
    found = [*by_size(size, most=MAX_SIZES, smaller=1), *by_length(tokens, cuts=CUTS, within=size)]
    found += by_size_and_length(size, tokens, cut=CUTS[-1], smaller=MIN_SIZES)
    return [
        split
        for split in found
        if len(np.unique(groups[split.fitted])) >= MIN_MIXTURES
        and np.isfinite(Y[split.fitted]).any(axis=0).all()
        and np.isfinite(Y[split.predicted]).all(axis=1).any()
    ]


def described(split: Split, X: Floats) -> RollingOrigin:
    """How many rows were fitted and predicted, and how far beyond the fitted the predicted ones lie."""
    from regressors.evaluation.cross_validation import size_bins

    counts = X[:, -1] if split.kind == "tokens" else X[:, -2]
    fitted, predicted = float(counts[split.fitted].max()), float(counts[split.predicted].max())
    rows = int(split.fitted.sum()), int(split.predicted.sum())
    sizes = int(size_bins(X[split.fitted, -2]).max()) + 1
    return RollingOrigin(split.kind, *rows, up_to=fitted, then=predicted, beyond=predicted / fitted, sizes=sizes)


def persistence(split: Split, measured: Floats, X: Floats, groups: NDArray[np.int64]) -> Floats:
    """The loss of the same mixture at the largest size fitted that is no larger, at its nearest checkpoint."""
    rows = np.flatnonzero(split.predicted)
    usable = split.fitted & np.isfinite(measured)
    out = np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        same = np.flatnonzero(usable & (groups == groups[row]) & (X[:, -2] <= X[row, -2]))
        if len(same):
            same = same[X[same, -2] == X[same, -2].max()]
            out[i] = measured[same[np.abs(np.log(X[same, -1] / X[row, -1])).argmin()]]
    return out


def held_out(split: Split, predicted: Floats, measured: Floats, X: Floats, groups: NDArray[np.int64]) -> Held:
    """The errors of (n_predicted,) predicted target losses; the other arrays are of all rows."""
    from regressors.evaluation.metrics import spearman

    truth, group, tokens = measured[split.predicted], groups[split.predicted], X[split.predicted, -1]
    off = predicted / truth - 1
    by_mixture = np.array([_mean(np.abs(off[group == k])) for k in np.unique(group)])
    ranks = []
    for size in np.unique(X[split.predicted, -2]):
        there = X[split.predicted, -2] == size
        last = there & (tokens >= LAST * tokens[there].max()) & np.isfinite(off)
        if len(np.unique(group[last])) >= MIN_MIXTURES:
            ranks.append(spearman(predicted[last], truth[last]))
    return Held(off, by_mixture, _mean(ranks))


def choose(held: Mapping[str, Sequence[Held]]) -> tuple[str, str]:
    """The law of the lowest mean error, or DEFAULT if it is as good within one standard error or MIN_GAIN; and why."""
    errors = {name: _mean([one.error for one in each]) for name, each in held.items()}
    best = min(errors, key=lambda name: errors[name] if np.isfinite(errors[name]) else np.inf)
    if best == DEFAULT or DEFAULT not in held:
        return best, f"{best} has the lowest error." if len(held) > 1 else ""
    more, standard_error = errors[DEFAULT] - errors[best], paired_error(held[DEFAULT], held[best])
    lower = f"{best} is lower by {100 * more:.2f} ± {100 * standard_error:.2f} points"
    if more <= max(standard_error, MIN_GAIN * errors[DEFAULT]):
        return DEFAULT, f"{lower}, within one standard error or a quarter, so the default is kept."
    return best, f"{lower} than the default, {DEFAULT}."


def paired_error(a: Sequence[Held], b: Sequence[Held]) -> float:
    """The standard error of the difference of mean errors: over mixtures, or over origins where that is more."""
    pairs = [one.by_mixture - two.by_mixture for one, two in zip(a, b, strict=True)]
    pairs = [known for pair in pairs if len(known := pair[np.isfinite(pair)]) > 1]
    if not pairs:
        return np.inf
    within = np.sqrt(sum(pair.var(ddof=1) / len(pair) for pair in pairs)) / len(pairs)
    means = [pair.mean() for pair in pairs]
    between = np.std(means, ddof=1) / np.sqrt(len(means)) if len(means) > 1 else 0.0
    return float(max(within, between))


def _mean(values: Any) -> float:
    """Of what is known; NaN of nothing."""
    values = np.asarray(values, dtype=float)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan
