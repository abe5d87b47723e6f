"""Model selection: the one-standard-error rule on held-out errors, and its own nested evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regressors.law import Array

MAX_RMSE_RATIO = 1.1  # no predictor is taken whose held-out RMSE on the target is so many times the lowest
VALIDATION_WEIGHT = 0.5  # of the errors on single validation sets, against the target's own


@dataclass(frozen=True)
class Choice:
    """The predictor to use."""

    name: str
    best: str  # the one of lowest held-out error
    why: str  # a sentence


def choose(
    predicted: Mapping[str, Array],
    measured: Array,
    groups: Array,
    order: Sequence[str],
    *,
    noise: float | None = None,
) -> Choice:
    """The simplest predictor that held-out errors don't distinguish from the best (Breiman et al.'s one-standard-error
    rule, Classification and Regression Trees, 1984, section 3.4.3, on paired differences).

    predicted: by name, (n_runs, n_columns) held-out, the target first, then any validation sets. measured: alike,
    nats/token; nan where a loss is missing. groups: (n_runs,) runs of one mixture count once, by their mean.
    order: names from the simplest to the most complex; a name that it lacks counts as more complex. noise: the standard
    deviation between runs of one mixture in the target, nats/token; None: unknown.

    Compared are squared errors on each mixture, the target's and the mean over the validation sets: those of one fit
    are correlated, and say more together. A difference counts if its mean is above one standard error of that mean.
    Both predictors meet the same mixtures, so that standard error is a fraction of that of either error alone.
    Raises ValueError when no predictor has a finite error.
    """
    errors = {name: _errors(values, measured, groups) for name, values in predicted.items()}
    rms = {name: _rms(e[:, 0]) for name, e in errors.items()}
    usable = [name for name in _ordered(predicted, order) if np.isfinite(rms[name])]
    if not usable:
        raise ValueError("no predictor has a finite held-out error: is the target measured in any run?")
    evidence = _evidence({name: errors[name] for name in usable})
    best = min(usable, key=lambda name: float(evidence[name].mean()))
    lowest = min(rms[name] for name in usable)
    for name in usable:
        if name == best:
            break
        gap = evidence[name] - evidence[best]
        if rms[name] <= MAX_RMSE_RATIO * lowest and gap.mean() <= gap.std(ddof=1) / len(gap) ** 0.5:
            why = f"{name}: the simplest whose held-out error is within one standard error of the lowest, {best}'s."
            return Choice(name, best, why)
        if noise and rms[name] <= noise and _at_floor(errors[best][:, 0], noise):
            why = f"{name}: its held-out error is no larger than the noise between runs of one mixture ({noise:.3f})."
            return Choice(name, best, why)
    return Choice(best, best, f"{best}: the lowest held-out error." if len(usable) > 1 else f"{best}: the only one.")


def nested(
    predicted: Mapping[str, Array],
    measured: Array,
    groups: Array,
    fold: Array,
    order: Sequence[str],
    *,
    noise: float | None = None,
) -> tuple[Array, list[str]]:
    """What `choose` would have predicted for every run without having seen it, (n_runs, n_columns), and its choice for
    each fold.

    fold: (n_runs,) of the cross-validation that made `predicted`, the same for all. Other arguments as in `choose`.
    For each fold the choice is made by the errors on all other folds' runs, and the chosen predictor's prediction of
    the fold is taken. Exact: a run's loss has no part in the choice of what predicts it, nor in that fit. Approximate:
    the errors that the choice goes by are of estimators that saw this fold's runs, where a cross-validation inside each
    fold, at as many times the cost, would fit them again without.
    """
    fold, groups = np.asarray(fold), np.asarray(groups)
    out = np.full(np.shape(measured), np.nan)
    chosen = []
    for k in np.unique(fold):
        rest = fold != k
        others = {name: values[rest] for name, values in predicted.items()}
        chosen.append(choose(others, measured[rest], groups[rest], order, noise=noise).name)
        out[~rest] = predicted[chosen[-1]][~rest]
    return out, chosen


def mixture_means(values: Array, groups: Array) -> Array:
    """The mean over each group's runs, (n_groups, ...), of values (n_runs, ...), in the order of sorted labels."""
    _, place, size = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    sums = np.zeros((len(size), *values.shape[1:]))
    np.add.at(sums, place.reshape(-1), values)
    return sums / size.reshape(-1, *[1] * (values.ndim - 1))


def _errors(predicted: Array, measured: Array, groups: Array) -> Array:
    """Errors of every mixture's mean loss, (n_mixtures, n_columns), nats/token; nan where a loss is missing."""
    error = np.asarray(measured) - predicted
    known = np.isfinite(error)
    with np.errstate(invalid="ignore"):
        return mixture_means(np.where(known, error, 0.0), groups) / mixture_means(known.astype(float), groups)


def _rms(error: Array) -> float:
    known = np.isfinite(error)
    return float(np.sqrt(np.mean(error[known] ** 2))) if known.any() else np.inf


def _ordered(names: Mapping[str, Array], order: Sequence[str]) -> list[str]:
    """The names from the simplest on; the sort is stable, so unknown ones keep their order."""
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _evidence(errors: Mapping[str, Array]) -> dict[str, Array]:
    """One number a mixture and predictor: squared errors in units of the lowest mean square of their column.

    Only mixtures that all predictors can be judged on count; there half the target's, half the mean of validation sets.
    """
    every = np.stack(list(errors.values())) ** 2  # (n_predictors, n_mixtures, n_columns)
    every = every[:, np.isfinite(every[..., 0]).all(axis=0)]
    known = np.asarray(np.isfinite(every).all(axis=0))
    stacked = np.where(known, every, 0.0)
    mean = stacked.sum(axis=1) / np.maximum(known.sum(axis=0), 1)
    unit = np.maximum(mean.min(axis=0), 1e-12 * np.maximum(mean.max(axis=0), 1e-300))
    stacked = stacked / unit
    count = known[:, 1:].sum(axis=1)
    sets = stacked[..., 1:].sum(axis=2) / np.maximum(count, 1)
    share = np.where(count > 0, VALIDATION_WEIGHT, 0.0)
    values = (1 - share) * stacked[..., 0] + share * sets
    return dict(zip(errors, values, strict=True))


def _at_floor(error: Array, noise: float) -> bool:
    """Whether even the best errors are as large as the noise; smaller ones prove that noise is no floor here.

    Proxies that share initialisation and data order differ by less than repeats with other seeds do.
    """
    square = error[np.isfinite(error)] ** 2
    return bool(square.mean() >= noise**2 - square.std() / len(square) ** 0.5)
