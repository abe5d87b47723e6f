"""Inference of an estimator of a law: standard errors, profile intervals, bootstrap draws of its parameters."""

from collections.abc import Sequence

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from regressors.fitting.posterior import Posterior
from regressors.fitting.solve import Fit
from regressors.fitting.uncertainty import Identified, Profile, bootstrap, identify, profile
from regressors.law import Array


class InferenceMixin:
    """Mixin of estimators that keep the posterior and the fit of their law as `_posterior` and `_found`."""

    _posterior: Posterior
    _found: Fit

    def identify(self) -> Identified:
        """Standard errors, what the runs say nothing about, bounds hit and conditioning, per target."""
        posterior, found = self._posterior_and_fit()
        return identify(posterior, found)

    def profile(self, name: str, *, level: float = 0.8, index: Sequence[int] = ()) -> Profile:
        """The interval of a parameter that the runs don't rule out; see `regressors.fitting.uncertainty.profile`."""
        posterior, found = self._posterior_and_fit()
        return profile(posterior, found, name, level=level, index=index)

    def bootstrap(
        self, draws: int = 200, *, groups: Array | None = None, random_state: int | np.random.RandomState | None = None
    ) -> dict[str, Array]:
        """Parameters refitted to runs drawn again: name -> (n_targets, draws, *own axes).

        groups: (n_runs,) labels; repeats of one mixture share one and are drawn together.
        """
        posterior, found = self._posterior_and_fit()
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
        return bootstrap(posterior, found, draws=draws, rng=rng, groups=groups)

    def _posterior_and_fit(self) -> tuple[Posterior, Fit]:
        why = "%(name)s has no runs: it isn't fitted, or was loaded from its numbers: fit it"
        check_is_fitted(self, "_posterior", msg=why)
        return self._posterior, self._found
