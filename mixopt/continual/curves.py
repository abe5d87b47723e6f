"""Both losses over shares and over tokens, with intervals and the trained checkpoints."""

from __future__ import annotations

from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from mixopt.continual.draws import ENDS, Draws
from mixopt.continual.fit import ContinualFit
from mixopt.continual.grid import AXES, Points, Predicted, predict
from mixopt.continual.results import LOSSES, Checkpoint, Curve, ShareCurves, TokenCurves, TokenLine
from mixopt.runs.continual import Floats
from mixopt.serialization import nan_to_null

SHARES = 101  # points of a curve over shares
LENGTHS = 41  # points of a curve over tokens
LONGER = 2.0  # times the longest run: how far curves over tokens go, and at least to the answer
MAX_LINES = 6  # trained shares that have a line
TOLERANCE = 0.01  # relative, of what counts as trained


def outside(fit: ContinualFit, points: Points) -> NDArray[np.bool_]:
    """Which runs lie outside the trained sizes, tokens (from 0 on) or shares, in the points' shape."""
    out = np.zeros(points.share.shape, dtype=bool)
    for key in AXES:
        low, high = fit.runs.ends(key)
        values = getattr(points, key)
        out |= (values > high * (1 + TOLERANCE)) | (values < low * (1 - TOLERANCE) if key != "tokens" else False)
    return out


def at_lengths(fit: ContinualFit, run: Predicted) -> Points:
    """A run's size and share at several lengths, all domain text fresh, as it was in training."""
    low, high = fit.runs.ends("tokens")
    tokens = np.exp(np.linspace(np.log(low), np.log(max(LONGER * high, float(run.points.tokens))), LENGTHS))
    return Points(np.full(LENGTHS, run.points.params), tokens, np.full(LENGTHS, run.points.share))


def share_curves(fit: ContinualFit, draws: Draws) -> ShareCurves:
    """Losses over the shares that were drawn, thinned."""
    every = draws.points.flat()
    places = thinned(len(every.share), SHARES)
    runs = predict(fit, every.take(places))
    domain, general = (_curve(getattr(runs, of), getattr(draws, of)[:, places]) for of in LOSSES)
    at = runs.points
    return ShareCurves(at.share.tolist(), at.tokens.tolist(), outside(fit, at).tolist(), domain, general)


def token_curves(fit: ContinualFit, draws: Draws) -> TokenCurves:
    """Losses over tokens at the answer's share, with intervals, and at trained shares."""
    own = draws.points
    trained = np.unique(fit.runs.share)
    shares = [float(own.share[0]), *trained[thinned(len(trained), MAX_LINES)].tolist()]
    lines = []
    for n, share in enumerate(shares):
        domain, general = (
            _curve(fit.loss(of, own.params, own.tokens, np.array(share)), None if n else getattr(draws, of))
            for of in LOSSES
        )
        lines.append(TokenLine(share=share, domain=domain, general=general, answer=n == 0))
    beyond = own.tokens > fit.runs.ends("tokens")[1] * (1 + TOLERANCE)
    return TokenCurves(tokens=own.tokens.tolist(), outside=beyond.tolist(), lines=lines)


def _curve(loss: Floats, drawn: Floats | None) -> Curve:
    low, high = (None, None) if drawn is None else np.quantile(drawn, ENDS, axis=0).tolist()
    return Curve(loss=loss.tolist(), low=low, high=high)


def thinned(n: int, most: int) -> NDArray[np.int64]:
    """Places of at most so many of n, spread evenly, both ends among them."""
    return np.unique(np.linspace(0, n - 1, most).round().astype(int))


def checkpoints(fit: ContinualFit) -> list[Checkpoint]:
    """The trained checkpoints as measured."""
    runs = fit.runs
    start = fit.start(runs.params)
    longest = dict(sorted(zip(runs.run, runs.tokens, strict=True), key=itemgetter(1)))  # the last of a name stays
    return [
        Checkpoint(
            run=name,
            params=float(runs.params[n]) if "params" in runs.known else None,
            tokens=float(runs.tokens[n]) if "tokens" in runs.known else None,
            share=float(runs.share[n]),
            last=bool(runs.tokens[n] == longest[name]),
            domain=nan_to_null(runs.domain[n]),
            general=nan_to_null(runs.general[n]),
            rise=nan_to_null(runs.general[n] / start[n] - 1),
        )
        for n, name in enumerate(runs.run)
    ]
