"""How good predictions are. All take (n_runs,) predicted and measured losses, nats/token, lower is better."""

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


def regret(predicted: Array, measured: Array) -> float:
    """Loss given up by training the run that the predictor likes best.

    Returns nats/token; 0.0 when the favourite is truly the best run. Runs that share the best prediction count by their
    mean: a predictor that can't tell runs apart earns no luck.
    Raises ValueError when shapes differ, a value isn't finite, or there is no run.
    """
    predicted, measured = _pair(predicted, measured, least=1)
    given_up = measured - measured.min()
    return float(given_up[predicted == predicted.min()].mean())
