"""Made runs of continued pretraining, by laws with known values."""

import numpy as np

from regressors.laws.continual import dcpt, shift

N = 7e7
SHARES = (0.125, 0.25, 0.3, 0.4, 0.5)
DOMAIN = {"E": 0.6, "A": 0.2, "alpha": 0.3, "B": 0.35, "eta": 0.25, "beta": 0.2, "C": 0.6, "eps": 0.5, "gamma": 0.6}
RISING = {"S": 0.2, "alpha": 0.3, "kappa": 3.0, "tau": 0.3, "G": 0.2, "zeta": 0.0, "eta": 0.3, "T": 1.0, "beta": 0.3}


def arrays(values):
    return {name: np.asarray(value) for name, value in values.items()}


def grid(*, sizes=(N,), shares=SHARES, checkpoints=8):
    """X (n, 3) of runs of every size and share, and their checkpoints from 1e9 tokens on."""
    return np.array([(n, 1e9 * k, r) for n in sizes for r in shares for k in range(1, checkpoints + 1)])


def domain_runs(*, noise=0.0, seed=0, start=True, **options):
    """A loss that falls with its share and with tokens, by D-CPT, tokens in units of 4e9."""
    X = grid(**options)
    y = dcpt(X[:, 0] / N, X[:, 1] / 4e9, X[:, 2], **arrays(DOMAIN))
    return with_start(X, y, noise, seed, 2.4 if start else None)


def general_runs(*, noise=0.0, seed=0, **options):
    """A loss that rises first, the more the smaller its share, and then falls, from 2.8."""
    X = grid(**options)
    y = shift(X[:, 0] / N, X[:, 1] / 4e9, X[:, 2], np.full(len(X), 2.8), **arrays(RISING))
    return with_start(X, y, noise, seed, 2.8)


def with_start(X, y, noise, seed, start):
    y = y + noise * np.random.default_rng(seed).standard_normal(len(y))
    if start is None:
        return X, y
    begins = np.column_stack(
        [np.unique(X[:, 0]), np.zeros(len(np.unique(X[:, 0]))), np.full(len(np.unique(X[:, 0])), np.nan)]
    )
    return np.vstack([X, begins]), np.append(y, np.full(len(begins), start))
