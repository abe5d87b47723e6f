"""80 % intervals of predicted losses, by distance beyond the fitted runs.

A prediction errs by the scatter of runs around the law, and by a share of what size and tokens beyond the runs are
predicted to change: exponents and the irreducible loss, which runs hardly identify, decide that change. Shares were
chosen on published tables (`benchmarks/scale_calibration.py`), and hold within MAX_CHECKED times the fitted scales.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mixopt.serialization import Record

WIDTH = 1.2816  # standard deviations, of a normal distribution's central 80 %
UNSURE = 0.25  # standard deviation of a change beyond the runs, a share of it
UNKNOWN = 0.8  # the same where all runs have one size, or one length: the prior alone says what another does
MIXTURES_SHARE = 0.75  # correlation between the errors of two mixtures at one scale
MAX_CHECKED = 10.0  # times the fitted scales
SAME_SCALE = 1.3  # a factor; nearer ones are one size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Losses = Callable[[Floats], Floats]  # of rows as a joint law takes them, parameters and tokens last


class Scale(Record):
    """Model parameters and training tokens, or times as many."""

    params: float
    tokens: float


class FittedScales(Record):
    """The rows that were fitted: smallest and largest scale, how many sizes and lengths, and how far ln loss scatters
    around the law (root mean square)."""

    lowest: Scale
    highest: Scale
    sizes: int
    lengths: int
    scatter: float


class Interval(Record):
    """Of 80 %, for a new run. checked: whether held-out runs as far beyond the fitted ones were counted; else it is no
    more than a range."""

    low: float
    high: float
    checked: bool


def fitted_scales(law: Losses, X: Floats, measured: Floats) -> FittedScales:
    """Of fitted rows X (n_rows, n_columns). law: losses by the law alone; measured: (n_rows,)."""
    from regressors.evaluation.cross_validation import size_bins

    size = size_bins(X[:, -2])
    longest = np.array([X[size == k, -1].max() for k in range(int(size.max()) + 1)])[size]
    share = X[:, -1] / longest  # young checkpoints, which laws fit worst, count as little as in the fit
    scatter = np.sqrt((share * np.log(measured / law(X)) ** 2).sum() / share.sum())
    lowest, highest = (Scale(float(params), float(tokens)) for params, tokens in (ends(X, 0), ends(X, -1)))
    sizes, lengths = (int(bins.max()) + 1 for bins in (size, size_bins(X[:, -1])))
    return FittedScales(lowest, highest, sizes, lengths, float(scatter))


def ends(X: Floats, place: int) -> Floats:
    return np.sort(X[:, -2:], axis=0)[place]


def standard_errors(known: FittedScales, losses: Losses, X: Floats) -> Floats:
    """Of ln loss at rows X, (n_points,), for a new run: scatter included."""
    squares = np.full(len(X), known.scatter**2)
    far = X
    for column, count in ((-2, known.sizes), (-1, known.lengths)):
        name = "params" if column == -2 else "tokens"
        near = far.copy()
        near[:, column] = np.clip(far[:, column], getattr(known.lowest, name), getattr(known.highest, name))
        squares += ((UNSURE if count > 1 else UNKNOWN) * np.log(losses(far) / losses(near))) ** 2
        far = near
    return np.sqrt(squares)


def is_checked(known: FittedScales, at: Scale) -> bool:
    """Whether held-out runs of published tables lay as far beyond what was fitted."""
    pairs = (
        (at.params, known.lowest.params, known.highest.params, known.sizes),
        (at.tokens, known.lowest.tokens, known.highest.tokens, known.lengths),
    )
    beyond = [(max(count / high, low / count), values) for count, low, high, values in pairs]
    return all(times <= (MAX_CHECKED if values > 1 else SAME_SCALE) for times, values in beyond)


def kind_text(*, checked: bool) -> str:
    """What an interval is called."""
    return "80% interval" if checked else "range, not checked at this distance"


def loss_intervals(known: FittedScales, losses: Losses, X: Floats) -> list[Interval]:
    """One for each row of X."""
    errors = WIDTH * standard_errors(known, losses, X)
    return [
        Interval(
            float(loss * np.exp(-error)), float(loss * np.exp(error)), is_checked(known, Scale(*row[-2:].tolist()))
        )
        for loss, error, row in zip(losses(X), errors, X, strict=True)
    ]


def gain_intervals(known: FittedScales, losses: Losses, X: Floats) -> list[Interval]:
    """Of the loss of each row of X less that of the first, at one scale: known better than either loss."""
    middle = losses(X)
    errors = middle * standard_errors(known, losses, X)
    width = WIDTH * np.sqrt(errors**2 + errors[0] ** 2 - 2 * MIXTURES_SHARE * errors * errors[0])
    checked, gains = is_checked(known, Scale(*X[0, -2:].tolist())), middle - middle[0]
    return [Interval(float(gain - half), float(gain + half), checked) for gain, half in zip(gains, width, strict=True)]
