"""Mixture laws as scikit-learn estimators: robust maximum a posteriori, best of several starts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from regressors.estimators.base import DifferentiableRegressor, complex_gradient
from regressors.fitting.inference import InferenceMixin
from regressors.fitting.posterior import Criterion, Posterior
from regressors.fitting.solve import Fit, build_posterior, in_units, solve
from regressors.law import Array
from regressors.laws import LAWS
from regressors.laws.effective_tokens import R_STAR, effective_shares, unique_shares


class LawRegressor(InferenceMixin, DifferentiableRegressor):
    """One mixture law, fitted to finished runs by robust maximum a posteriori, best of several starts.

    law: a name in `LAWS`, or a Law. n_starts: how many starts each target gets. huber: residuals beyond so many noise
    levels count linearly. shared: runs that went wrong for many targets at once count less for all of them
    (`regressors.fitting.run_noise`). random_state: draws the starts after the first.
    unique: each domain's unique tokens over a run's tokens (n_domains,), None for an unlimited one: the law then sees
    effective tokens, ever fewer a token once text is repeated (`regressors.laws.effective_tokens`). r_star: how fast.
    After fit: values_ {parameter: (n_targets, ...)}, noise_ (n_targets,) nats/token, objective_, used_, agreeing_
    (share of starts that reached the optimum) and converged_, each (n_targets,).
    """

    known_laws = LAWS

    def __init__(
        self, law="effective-data", *, unique=None, r_star=R_STAR, n_starts=2, huber=2.0, shared=True, random_state=None
    ):
        self.law = law
        self.unique = unique
        self.r_star = r_star  # epochs
        self.n_starts = n_starts
        self.huber = huber  # in noise levels, so that nats/token and bits/byte give one answer
        self.shared = shared
        self.random_state = random_state

    def _fit(self, W: Array, Y: Array) -> None:
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        criterion = Criterion(huber=self.huber)
        posterior, units = build_posterior(self._law(), self._seen(W), Y, criterion=criterion)
        self._set_fit(posterior, solve(posterior, units, n_starts=self.n_starts, rng=rng, shared=self.shared))

    def _set_fit(self, posterior: Posterior, found: Fit) -> None:
        self._posterior, self._found = posterior, found
        self.values_ = found.values
        self.noise_, self.objective_, self.used_ = found.noise, found.objective, found.used
        self.agreeing_, self.converged_ = found.agreeing, found.converged

    def _predict(self, W: Array) -> Array:
        law = self._law()
        return law.formula(*in_units(law, self._seen(W), {}), **self.values_).T

    def _seen(self, W: Array) -> Array | dict[str, Array]:
        """What the law is shown of shares W, in the fit's own order of domains."""
        if self.unique is None:
            return W
        unique = unique_shares(self.unique, W.shape[1])[self.order_]
        return effective_shares(W, unique, self.r_star)

    def _slopes(self, W: Array) -> Array:
        return complex_gradient(self._predict, W, range(W.shape[1]))

    def _learned(self) -> dict[str, Any]:
        numbers = {name: getattr(self, f"{name}_").tolist() for name in FIT_NUMBERS}
        return {"values": {name: value.tolist() for name, value in self.values_.items()}, **numbers}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.values_ = {name: np.array(value) for name, value in learned["values"].items()}
        for name in FIT_NUMBERS:
            setattr(self, f"{name}_", np.array(learned[name]))
        self.n_targets_ = len(self.noise_)


FIT_NUMBERS = ("noise", "objective", "used", "agreeing", "converged")


class EpochLawRegressor(LawRegressor):
    """A law of the epochs of each domain's text, in place of its share.

    unique: each domain's unique tokens over a run's tokens (n_domains,); a domain with None counts as one that holds a
    whole run's tokens. Without unique, all domains count as holding as much, and one run's tokens together.
    """

    def __init__(self, law="epoch-aware", *, unique=None, n_starts=2, huber=2.0, shared=True, random_state=None):
        super().__init__(law, unique=unique, n_starts=n_starts, huber=huber, shared=shared, random_state=random_state)

    def _seen(self, W: Array) -> Array:
        domains = W.shape[1]
        if self.unique is None:
            return W * domains
        unique = unique_shares(self.unique, domains)[self.order_]
        return W / np.where(np.isfinite(unique), unique, 1.0)
