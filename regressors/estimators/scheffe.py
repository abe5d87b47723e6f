"""Scheffe's quadratic mixture polynomial with a lasso over its terms (arXiv:2608.23922)."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from regressors.estimators.base import DifferentiableRegressor
from regressors.law import Array

PENALTIES = np.logspace(0, -3, 50)  # those tried, as shares of the one that leaves no term
MAX_SWEEPS = 1000  # of coordinate descent; below the chosen penalties it rarely converges in any number
MAX_GAP = 1e-3  # duality gap at convergence, as a share of the losses' variance


class ScheffeRegressor(DifferentiableRegressor):
    """Scheffe-2: each loss is linear in the shares w_i and in their products w_i w_j, few of which count.

    The penalty is chosen by cross-validation over runs; terms are standardised, so that it means the same for all.
    cv: its folds, fewer where there are fewer runs; random_state shuffles runs into them.
    After fit: coef_ (n_targets, n_domains + n_domains (n_domains - 1) / 2) and intercept_ (n_targets,), nats/token;
    converged_ (n_targets,).
    """

    stored_name = "Scheffe"

    def __init__(self, *, cv=5, random_state=None):
        self.cv = cv
        self.random_state = random_state

    def _fit(self, W: Array, Y: Array) -> None:
        X = _terms(W)
        seed = int(check_random_state(self.random_state).randint(2**31))
        self.coef_ = np.zeros((Y.shape[1], X.shape[1]))
        self.intercept_ = np.empty(Y.shape[1])
        self.converged_ = np.ones(Y.shape[1], dtype=bool)
        for k, y in enumerate(Y.T):
            known = np.isfinite(y)
            self.coef_[k], self.converged_[k] = self._lasso(X[known], y[known], seed)
            self.intercept_[k] = y[known].mean() - X[known].mean(axis=0) @ self.coef_[k]

    def _lasso(self, X: Array, y: Array, seed: int) -> tuple[Array, bool]:
        """Coefficients of the terms X (n_runs, n_terms), and whether coordinate descent converged."""
        from sklearn.linear_model import LassoCV
        from sklearn.model_selection import KFold

        spread = X.std(axis=0)
        spread[spread < 1e-12] = np.inf  # a column that doesn't vary gets no coefficient
        X = (X - X.mean(axis=0)) / spread
        y = y - y.mean()
        largest = np.abs(X.T @ y).max() / len(y)
        folds = min(self.cv, len(y))
        if largest == 0 or folds < 2:
            return np.zeros(X.shape[1]), True
        lasso = LassoCV(
            alphas=largest * PENALTIES,
            cv=KFold(folds, shuffle=True, random_state=seed),
            tol=MAX_GAP,
            max_iter=MAX_SWEEPS,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of every penalty tried; the chosen one's is kept
            lasso.fit(X, y)
        return lasso.coef_ / spread, lasso.n_iter_ < MAX_SWEEPS

    def _predict(self, W: Array) -> Array:
        return _terms(W) @ self.coef_.T + self.intercept_

    def _slopes(self, W: Array) -> Array:
        domains = W.shape[1]
        products = np.zeros((len(self.coef_), domains, domains))
        i, j = np.triu_indices(domains, 1)
        products[:, i, j] = products[:, j, i] = self.coef_[:, domains:]
        return self.coef_[:, :domains] + np.einsum("nj,tij->nti", W, products)

    def _learned(self) -> dict[str, Any]:
        return {name: getattr(self, f"{name}_").tolist() for name in ("coef", "intercept", "converged")}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        for name in ("coef", "intercept", "converged"):
            setattr(self, f"{name}_", np.array(learned[name]))
        self.n_targets_ = len(self.intercept_)


def _terms(W: Array) -> Array:
    """Shares and products of two different ones, (n_runs, d + d (d - 1) / 2); the squares are combinations of these."""
    i, j = np.triu_indices(W.shape[1], 1)
    return np.column_stack([W, W[:, i] * W[:, j]])
