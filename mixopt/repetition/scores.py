"""Cross-validation scores of every form of the repetition law, and the noise floor of a ladder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mixopt.repetition.design import REPEAT
from mixopt.repetition.runs import INPUTS, Frame, counts_of
from mixopt.serialization import Record, nan_to_null

FOLDS = 5
INSIDE, LONGEST, LARGEST = "left out", "longest", "largest"
CASES = {
    INSIDE: f"random folds ({FOLDS})",
    LONGEST: "the longest run of every curve",
    LARGEST: "the largest size",
}
MIN_HELD_OUT = 3  # runs that a curve needs, and sizes that a ladder needs, for its last one to be held out
Predict = Callable[[Any, Any, Any], Any]  # params, tokens, unique -> nats/token, (n,) each; nan where it has no number
Fitter = Callable[[Any, Any], Mapping[str, Predict]]  # runs and their losses -> what each form predicts


class Score(Record):
    """Held-out errors of one form, nats/token; None where it has no prediction for some run."""

    form: str
    case: str  # of CASES
    cells: int  # runs that were predicted
    rmse: float | None
    rmse_log: float | None  # of ln loss
    bias: float | None  # predicted less measured


class HeldOut(Record):
    """Predictions of runs left out in folds, by form, and what they measured, nats/token."""

    run_id: list[str]
    measured: list[float]
    predicted: dict[str, list[float | None]]


class Noise(Record):
    """Runs of one configuration on several seeds and texts, nats/token."""

    params: float
    tokens: float
    unique: float
    weight_decay: float
    epochs: float
    runs: int
    mean: float
    sd: float  # standard deviation
    losses: list[float]


def splits(runs: Frame, *, seed: int) -> list[tuple[str, Any]]:
    """(case, (n_runs,) bool of those left out): folds over configurations, and both ends of the ladder."""
    from regressors.evaluation.cross_validation import by_last, by_shuffled_mixture, by_size, configurations

    X = counts_of(runs)
    folds = by_shuffled_mixture(configurations(X), folds=FOLDS, rng=np.random.default_rng([seed, 7]))
    longest = by_last(X[:, 1], configurations(X[:, [0, 2]]), least=MIN_HELD_OUT)
    largest = by_size(X[:, 0], smaller=MIN_HELD_OUT - 1)
    cases = {INSIDE: folds, LONGEST: longest, LARGEST: largest}
    return [(case, split.predicted) for case, found in cases.items() for split in found]


def cross_validate(
    runs: Frame, fit: Fitter, *, seed: int, progress: Callable[[str], None]
) -> tuple[list[Score], HeldOut]:
    """Scores of every form in every case, and the predictions of runs left out in folds.

    progress is called with a case before each fit. A form without a prediction for some run has no score.
    """
    X, y = counts_of(runs), runs["target"].to_numpy(dtype=float)
    left_out: dict[str, np.ndarray] = {}
    predicted: dict[str, dict[str, np.ndarray]] = {}  # form -> case -> (n_runs,) nats/token, nan where it has no number
    for case, out in splits(runs, seed=seed):
        progress(CASES[case])
        left_out[case] = left_out.get(case, False) | out
        for form, predict in fit(X[~out], y[~out]).items():
            values = predicted.setdefault(form, {}).setdefault(case, np.full(len(y), np.nan))
            with np.errstate(all="ignore"):
                values[out] = predict(*X[out].T)
    scores = [
        score(form, case, values[left_out[case]], y[left_out[case]])
        for form, by_case in predicted.items()
        for case, values in by_case.items()
    ]
    inside = {form: nan_to_null(by_case[INSIDE]) for form, by_case in predicted.items()}
    return scores, HeldOut(runs["run_id"].tolist(), y.tolist(), inside)


def score(form: str, case: str, predicted: Any, measured: Any) -> Score:
    """Errors of predictions (n_runs,), nats/token; None where one is missing."""
    runs = len(measured)
    if not (np.isfinite(predicted) & (predicted > 0)).all():
        return Score(form, case, runs, None, None, None)
    error = predicted - measured
    rmse, rmse_log = (float(np.sqrt(np.mean(e**2))) for e in (error, np.log(predicted / measured)))
    return Score(form, case, runs, rmse, rmse_log, float(np.mean(error)))


def noise_floor(kept: Frame) -> list[Noise]:
    """Run-to-run standard deviation of every configuration that was trained on several seeds and texts."""
    found = []
    keys = [*INPUTS, "weight_decay"]
    for values, group in kept.groupby(keys):
        if (group["role"] == REPEAT).any() and len(group) > 1:
            at = {key: float(v) for key, v in zip(keys, values, strict=True)}
            losses = group["target"].to_numpy(dtype=float)
            mean, sd = float(losses.mean()), float(losses.std(ddof=1))
            epochs = at["tokens"] / at["unique"]
            found.append(Noise(**at, epochs=epochs, runs=len(group), mean=mean, sd=sd, losses=losses.tolist()))
    return found
