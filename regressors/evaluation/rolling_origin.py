"""How strong priors on exponents should be: what predicts the largest models, and the latest checkpoints, best.

Rolling-origin validation: runs that come later, in size or in tokens, are left out and predicted from the earlier ones.
Folds at random would judge interpolation, which hardly depends on exponents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from regressors.law import Array

NEAR = 1.3  # sizes within this factor of the bin's smallest one are one size
LATE = 0.5  # checkpoints beyond this share of their size's largest token count are late
BETTER = 0.75  # of the error at strength 1: one size or a few checkpoints are a noisy judge, so a change has to pay


@dataclass(frozen=True)
class Trial:
    """How well priors of one strength predicted what one origin leaves out."""

    kind: str
    strength: float
    error: float  # mean, a share of the loss (or nats/token); inf where a prediction isn't a number


@dataclass(frozen=True)
class Origin:
    """One split: which runs are fitted and which are predicted, (n_runs,) bool each."""

    kind: str  # "size" or "tokens"
    fitted: Array
    predicted: Array

    def trial(self, strength: float, predicted: Array, Y: Array, *, log_loss: bool) -> Trial:
        """The error of predictions for all runs, (n_runs, n_targets), at those left out; Y alike, nan missing."""
        predicted, measured = predicted[self.predicted], Y[self.predicted]
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.log(predicted / measured) if log_loss else predicted - measured
        error = float(np.abs(off[np.isfinite(measured)]).mean())
        return Trial(self.kind, strength, error if np.isfinite(error) else inf)


def size_bins(params: Array) -> Array:
    """Which size a run is of, (n_runs,) from 0 for the smallest."""
    sizes = np.unique(params)
    bins = np.zeros(len(sizes), dtype=int)
    first = sizes[0]
    for k in range(1, len(sizes)):
        bins[k] = bins[k - 1]
        if sizes[k] > NEAR * first:
            bins[k] += 1
            first = sizes[k]
    return bins[np.searchsorted(sizes, params)]


def origins(params: Array, tokens: Array) -> list[Origin]:
    """The splits that runs of such sizes and token counts, (n_runs,) each, allow.

    By size: the largest one is left out, where two others stay; with two sizes in all, a fit to one couldn't know
    what size does. By tokens: the later half of the token counts of every size, where earlier ones stay.
    """
    found = []
    size = size_bins(params)
    longest = np.array([tokens[size == k].max() for k in range(size.max() + 1)])[size]
    late = tokens > LATE * longest
    if len(np.unique(tokens[~late])) >= 3:
        found.append(Origin("tokens", ~late, late))
    if size.max() >= 2:
        found.append(Origin("size", size < size.max(), size == size.max()))
    return found


def best_strength(trials: Sequence[Trial]) -> float:
    """The strength of the lowest error; 1 unless another one is clearly better."""
    usual = next(trial for trial in trials if trial.strength == 1)
    best = min(trials, key=lambda trial: trial.error)
    return best.strength if best.error < BETTER * usual.error else 1.0
