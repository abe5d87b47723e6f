"""What repeated text is worth: tokens of a domain as the fresh tokens that would teach as much.

R* = 15.39 is the published constant of the data-constrained law (Muennighoff et al. 2023, arXiv:2305.16264), fitted to
English web text at up to 9B parameters. It is barely identified there, and is used here as a default, not as a truth.
"""

from collections.abc import Sequence

import numpy as np

from regressors.law import Array

UNLIMITED = 1e30  # unique tokens over a run's tokens: stands for inf, which scikit-learn refuses
R_STAR = 15.387756  # epochs beyond the first; the larger, the longer repetition stays worth something


def unique_shares(unique: Sequence[float | None], domains: int) -> Array:
    """unique as numbers, (n_domains,): a domain's unique tokens over the run's tokens; None: unlimited.

    Raises ValueError for another number of domains, or a share that isn't above 0.
    """
    numbers = np.array([np.inf if u is None else float(u) for u in unique])
    if len(numbers) != domains:
        raise ValueError(f"unique has {len(numbers)} shares for {domains} domains")
    if not (numbers > 0).all():
        raise ValueError("unique: a domain's unique tokens must be above 0; None for unlimited")
    return numbers


def checked_pools(X: Array, columns: slice) -> Array:
    """X (n_runs, n_features) with its columns of unique shares finite; an X that isn't of two axes as it is.

    Raises ValueError for a share that isn't above 0.
    """
    if X.ndim == 2:
        X[:, columns] = np.minimum(X[:, columns], UNLIMITED)  # nan stays, and is refused elsewhere
        if (X[:, columns] <= 0).any():
            raise ValueError("unique: a domain's unique tokens must be above 0; inf for unlimited")
    return X


def effective_shares(W: Array, unique: Array, r_star: float | Array) -> Array:
    """Shares of effective tokens, (n_runs, n_domains): u (1 + R* (1 - exp(-(w/u - 1) / R*))) beyond the first pass.

    W: shares of training tokens (n_runs, n_domains); unique: u, shares as well, (n_domains,) or (n_runs, n_domains),
    inf where text is unlimited; r_star: R*, a number or anything that broadcasts. All of them real or complex. Values
    and first derivatives are continuous where repetition begins: there it is worth what new text is.
    """
    u = np.where(np.isfinite(unique), unique, 1.0)
    repeated = np.real(W) > np.real(unique)
    extra = np.where(repeated, W / u - 1, 0.0)
    return np.where(repeated, u * (1 - r_star * np.expm1(-extra / r_star)), W)
