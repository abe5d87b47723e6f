"""Which form of the repetition law to believe: every form's errors on cells that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mixopt.repetition.design import REPEAT
from mixopt.repetition.runs import INPUTS, Frame

FOLDS = 5
INSIDE, LONGEST, LARGEST = "left out", "longest", "largest"
CASES = {
    INSIDE: f"cells left out, {FOLDS} folds",
    LONGEST: "the longest cell of every curve",
    LARGEST: "the largest size",
}
SPARE = 3  # cells that a curve needs, and sizes that a ladder needs, for its last one to be held out
Predict = Callable[[Any], Any]  # (n, 3) params, tokens, unique -> (n,) nats/token, nan where it can't tell
Fitter = Callable[[Any, Any], Mapping[str, Predict]]  # cells and their losses -> what each form predicts


def counts_of(cells: Frame) -> Any:
    """(n_cells, 3) params, tokens and unique."""
    return cells[list(INPUTS)].to_numpy(dtype=float)


def held_out(cells: Frame, *, seed: int) -> Iterator[tuple[str, Any]]:
    """(case, (n_cells,) bool of those left out): folds over configurations, and both ends of the ladder."""
    X = counts_of(cells)
    label = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
    fold = np.random.default_rng([seed, 7]).permutation(int(label.max()) + 1) % FOLDS
    for k in range(FOLDS):
        yield INSIDE, (fold == k)[label]
    curves = cells.groupby(["params", "unique"])["tokens"]
    longest = (cells["tokens"] == curves.transform("max")) & (curves.transform("size") >= SPARE)
    if longest.any():
        yield LONGEST, longest.to_numpy()
    if cells["params"].nunique() >= SPARE:
        yield LARGEST, (cells["params"] == cells["params"].max()).to_numpy()


def judge(
    cells: Frame, fit: Fitter, *, seed: int, tell: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Scores of every form in every case, and the predictions of cells left out in folds, by form.

    tell is called with a case before each fit. A form that can't be fitted to the cells left has no score.
    """
    X, y = counts_of(cells), cells["target"].to_numpy(dtype=float)
    found: dict[str, dict[str, list[tuple[Any, Any]]]] = {}
    for case, out in held_out(cells, seed=seed):
        tell(CASES[case])
        for form, predict in fit(X[~out], y[~out]).items():
            found.setdefault(form, {}).setdefault(case, []).append((out, predict(X[out])))
    scores, kept = [], {}
    for form, by_case in found.items():
        for case, parts in by_case.items():
            measured = np.concatenate([y[out] for out, _ in parts])
            predicted = np.concatenate([values for _, values in parts])
            scores.append({"form": form, "case": case, **score(predicted, measured)})
        inside = np.full(len(y), np.nan)
        for out, values in by_case[INSIDE]:
            inside[out] = values
        kept[form] = [float(v) if np.isfinite(v) else None for v in inside]
    return scores, kept


def score(predicted: Any, measured: Any) -> dict[str, Any]:
    """rmse and bias (predicted less measured), nats/token; rmse_log, of ln loss; None where a prediction is missing."""
    cells = len(measured)
    if not (np.isfinite(predicted) & (predicted > 0)).all():
        return {"cells": cells, "rmse": None, "rmse_log": None, "bias": None}
    error = predicted - measured
    logs = np.log(predicted / measured)
    return {
        "cells": cells,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "rmse_log": float(np.sqrt(np.mean(logs**2))),
        "bias": float(np.mean(error)),
    }


def noise_of(kept: Frame) -> list[dict[str, Any]]:
    """Run-to-run standard deviation, nats/token, of every cell that was trained on several seeds and texts."""
    rows = []
    keys = [*INPUTS, "weight_decay"]
    for values, group in kept.groupby(keys):
        if (group["role"] == REPEAT).any() and len(group) > 1:
            at = {key: float(v) for key, v in zip(keys, values, strict=True)}
            losses = group["target"].to_numpy(dtype=float)
            rows.append(at | {"epochs": at["tokens"] / at["unique"], "runs": len(group), "mean": float(losses.mean()),
                              "sd": float(losses.std(ddof=1)), "losses": losses.tolist()})  # fmt: skip
    return rows


def best_of(scores: Sequence[Mapping[str, Any]], case: str) -> str | None:
    """The form with the least error in a case; None where none has one."""
    known = [row for row in scores if row["case"] == case and row["rmse"] is not None]
    return min(known, key=lambda row: row["rmse"])["form"] if known else None
