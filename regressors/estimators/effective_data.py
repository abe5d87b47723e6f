"""The default predictor: the effective-data law with as many skills as the runs support."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from regressors.estimators.law import LawRegressor
from regressors.fitting.posterior import Criterion, Posterior
from regressors.fitting.solve import Fit, build_posterior, solve
from regressors.law import Array, Law
from regressors.laws import LAWS
from regressors.laws.effective_tokens import R_STAR

MIN_MIXTURES_PER_DOMAIN = 3  # from which on a second skill predicts better (with 2 a domain it's worse)
START_SPREAD = 0.3  # prior widths by which the two skills' starts differ
DECIMALS = 6  # weights that agree this far are one mixture


class EffectiveDataRegressor(LawRegressor):
    """The effective-data law with one skill, or with two once the runs hold 3 different mixtures a domain.

    skills: 1 or 2 in any case; None: by the runs. Everything else is as in `LawRegressor`, to which two skills are the
    law `effective-data-2`; they start from one skill's optimum. One start is enough for predictions; with more,
    agreeing_ shows whether they find another optimum. After fit: skills_.
    """

    def __init__(
        self, *, skills=None, unique=None, r_star=R_STAR, n_starts=1, huber=2.0, shared=True, random_state=None
    ):
        super().__init__(
            unique=unique, r_star=r_star, n_starts=n_starts, huber=huber, shared=shared, random_state=random_state
        )
        self.skills = skills

    def _fit(self, W: Array, Y: Array) -> None:
        if self.skills not in (None, 1, 2):
            raise ValueError(f"skills = {self.skills!r} must be 1, 2 or None")
        self.skills_ = self.skills or supported_skills(W)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        laws = [LAWS["effective-data"], LAWS["effective-data-2"]][: self.skills_]
        criterion = Criterion(huber=self.huber)
        self._set_fit(
            *fit_skills(laws, self._seen(W), Y, criterion, n_starts=self.n_starts, rng=rng, shared=self.shared)
        )

    def _law(self) -> Law:
        return LAWS["effective-data" if self.skills_ == 1 else "effective-data-2"]

    def _learned(self) -> dict[str, Any]:
        return super()._learned() | {"skills": self.skills_}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.skills_ = learned["skills"]
        super()._restore(learned)


def supported_skills(W: Array) -> int:
    """How many skills runs of shares W (n_runs, n_domains) support."""
    distinct = len(np.unique(np.round(W, DECIMALS), axis=0))
    return 2 if distinct >= MIN_MIXTURES_PER_DOMAIN * W.shape[1] else 1


def fit_skills(
    laws: Sequence[Law],
    inputs: Array | Mapping[str, Array],
    Y: Array,
    criterion: Criterion,
    *,
    n_starts: int,
    rng: np.random.Generator,
    shared: bool,
) -> tuple[Posterior, Fit]:
    """Fits the last of one or two laws, the second of which has twice the first one's skills and starts from it."""
    one, units = build_posterior(laws[0], inputs, Y, criterion=criterion)
    found = solve(one, units, n_starts=n_starts if len(laws) == 1 else 1, rng=rng, shared=shared)
    if len(laws) == 1:
        return one, found
    two, units = build_posterior(laws[1], inputs, Y, criterion=criterion)
    two.noise, two.scatter = one.noise.copy(), one.scatter
    first = doubled(one, found.z, two, rng)
    return two, solve(two, units, n_starts=n_starts, rng=rng, shared=shared, first=first)


def doubled(one: Posterior, z: Array, two: Posterior, rng: np.random.Generator) -> Array:
    """One skill's optimum as a start for two: both skills near it, and apart."""
    targets = np.arange(len(z))
    values = one.space.values(z, targets)
    copied = {p.name: p.copies is not None for p in two.law.params}
    both = {name: np.repeat(value, 2, axis=1) if copied[name] else value for name, value in values.items()}
    return two.space.z_of(both, targets) + START_SPREAD * rng.standard_normal((1, two.space.size))
