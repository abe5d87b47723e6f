"""Baselines of continued pretraining: persistence, interpolation and trend of the measured curves.

Every reading is linear in the measured losses, so it is a matrix: its rows belong to points, its columns to runs' rows.
X is (n, 3): parameters, tokens since the checkpoint that was continued (above 0), and a share of 0 to 1.
"""

import numpy as np

from regressors.law import Array

OFFSET = 0.1  # shares are read on the scale ln(share + OFFSET): loss changes fastest where little is left of a side
TREND_ROWS = 3  # a curve's last checkpoints, whose straight line in ln tokens goes on


def persistence(X: Array, points: Array) -> Array:
    """The last loss seen at the nearest size and share, no later than the point: (n_points, n_rows)."""
    out = np.zeros((len(points), len(X)))
    for i, (params, tokens, share) in enumerate(points):
        size = _nearest(np.log(X[:, 0]), np.log(params))
        run = np.flatnonzero(size)[_nearest(_position(X[size, 2]), _position(share))]
        earlier = run[X[run, 1] <= tokens * (1 + 1e-9)]
        run = earlier if len(earlier) else run
        seen = _nearest(np.log(X[run, 1]), np.log(tokens))
        out[i, run[seen]] = 1 / seen.sum()
    return out


def interpolation(X: Array, points: Array, *, trend: bool = False, extend: bool = True) -> Array:
    """Linear in ln tokens along each run, then between shares, then in ln parameters between sizes: (n_points, n_rows).

    Before a run's first and after its last checkpoint the loss is held, or with `trend` goes on in a straight line of
    ln tokens. Outside the trained shares the line of the last two goes on, or with extend=False the loss is held; it is
    always held outside the trained sizes.
    """
    sizes = np.unique(X[:, 0])
    of_size = _between(np.log(sizes), np.log(points[:, 0]), extend=False)
    out = np.zeros((len(points), len(X)))
    for k, size in enumerate(sizes):
        rows = np.flatnonzero(X[:, 0] == size)
        shares = np.unique(X[rows, 2])
        of_share = _between(_position(shares), _position(points[:, 2]), extend=extend)
        for j, share in enumerate(shares):
            run = rows[X[rows, 2] == share]
            within = _checkpoint_weights(np.log(X[run, 1]), np.log(points[:, 1]), trend=trend)
            out[:, run] = (of_size[:, k] * of_share[:, j])[:, None] * within
    return out


def _position(share: Array | float) -> Array:
    return np.log(share + OFFSET)


def _nearest(places: Array, place: Array | float) -> Array:
    """Which of the places are nearest, bool."""
    gap = np.abs(places - place)
    return gap <= gap.min() + 1e-9


def _checkpoint_weights(rows: Array, points: Array, *, trend: bool) -> Array:
    """Weights (n_points, n_rows) of one run's checkpoints, which may be repeated, at ln tokens."""
    places, where, count = np.unique(rows, return_inverse=True, return_counts=True)
    weights = _between(places, points, extend=False)
    late = points > places[-1]
    if trend and late.any() and len(places) > 1:
        last = places[-TREND_ROWS:]
        basis = np.column_stack([np.ones(len(last)), last])
        line = np.column_stack([np.ones(late.sum()), points[late]]) @ np.linalg.pinv(basis)
        weights[late] = 0
        weights[np.ix_(np.flatnonzero(late), np.arange(len(places) - len(last), len(places)))] = line
    where = where.reshape(-1)
    return weights[:, where] / count[where]


def _between(places: Array, points: Array, *, extend: bool) -> Array:
    """Weights (n_points, n_places) of linear interpolation; outside the line goes on, or the end is held."""
    out = np.zeros((len(points), len(places)))
    if len(places) == 1:
        out[:] = 1
        return out
    right = np.clip(np.searchsorted(places, points), 1, len(places) - 1)
    part = (points - places[right - 1]) / (places[right] - places[right - 1])
    part = part if extend else np.clip(part, 0.0, 1.0)
    rows = np.arange(len(points))
    out[rows, right - 1] = 1 - part
    out[rows, right] = part
    return out
