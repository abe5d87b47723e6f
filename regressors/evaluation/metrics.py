"""Metrics of predictions: rank correlation, RMSE, regret, coverage. Losses are (n_runs,) nats/token."""

import numpy as np

from regressors.law import Array


def _pair(predicted: Array, measured: Array, *, least: int) -> tuple[Array, Array]:
    predicted, measured = np.asarray(predicted, dtype=float), np.asarray(measured, dtype=float)
    if predicted.shape != measured.shape or predicted.ndim != 1:
        raise ValueError(f"predicted and measured must be (n_runs,) alike, got {predicted.shape}, {measured.shape}")
    if len(predicted) < least:
        raise ValueError(f"needs {least} runs or more, got {len(predicted)}")
    if not (np.isfinite(predicted).all() and np.isfinite(measured).all()):
        raise ValueError("a loss isn't finite: leave the run out of both")
    return predicted, measured


def spearman(predicted: Array, measured: Array) -> float:
    """Spearman's rank correlation, -1 to 1, ties sharing their mean rank; nan where either is constant.

    Raises ValueError when shapes differ, a value isn't finite, or there are fewer than 2 runs.
    """
    from scipy.stats import rankdata

    a, b = (rankdata(x) - (len(x) + 1) / 2 for x in _pair(predicted, measured, least=2))
    norm = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / norm, -1, 1)) if norm > 0 else float("nan")


def rmse(predicted: Array, measured: Array) -> float:
    """Root mean squared error, nats/token.

    Raises ValueError when shapes differ, a value isn't finite, or there is no run.
    """
    predicted, measured = _pair(predicted, measured, least=1)
    return float(np.sqrt(np.mean((predicted - measured) ** 2)))


def regret(predicted: Array, measured: Array, *, tried: int = 1) -> float:
    """Loss given up by training the `tried` runs of lowest prediction and keeping the best of them.

    Returns nats/token; 0.0 when the best run is among them. Where runs share a prediction, any of them may
    be tried: the mean over all ways to do so counts, as a predictor that can't tell runs apart earns no luck.
    Raises ValueError when shapes differ, a value isn't finite, there is no run, or tried is below 1.
    """
    predicted, measured = _pair(predicted, measured, least=1)
    if tried < 1:
        raise ValueError(f"tried = {tried} must be 1 or more")
    given_up = measured - measured.min()
    last = np.sort(predicted)[min(tried, len(predicted)) - 1]
    sure, tied = given_up[predicted < last], np.sort(given_up[predicted == last])
    drawn = min(tried, len(predicted)) - len(sure)
    best = np.minimum(tied, sure.min(initial=np.inf))
    # The j-th best of the tied runs is the best of `drawn` of them in C(worse, drawn - 1) of the ways to draw.
    worse = np.arange(len(tied) - 1, 0, -1)
    ways = np.cumprod(np.append(1.0, np.maximum(worse - (drawn - 1), 0) / worse))
    return float(best @ ways / ways.sum())


def coverage(measured: Array, low: Array, high: Array) -> float:
    """Share of runs whose loss lies between its bounds, 0 to 1; runs without a loss don't count.

    low, high: (n_runs,) nats/token, infinite where there is no bound. nan where no run has a loss.
    """
    measured, low, high = (np.asarray(x, dtype=float) for x in (measured, low, high))
    known = np.isfinite(measured)
    held = (low[known] <= measured[known]) & (measured[known] <= high[known])
    return float(held.mean()) if known.any() else float("nan")
