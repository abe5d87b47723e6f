"""Laws and baselines of continued pretraining as scikit-learn estimators: loss against size, tokens and a share.

What a planner may rely on, for `ContinualRegressor` here and `ContinualEnsembleRegressor`, the default:

- X is (n, 3): parameters; training tokens since the checkpoint that is continued; r, the share of those tokens from the
  loss's own side (the domain's share for a domain loss, the general share 1 - r_d for the general loss). y is (n,)
  nats/token. One estimator a loss. Checkpoints may be rows as well as final losses, if the learning rate of both
  makes them comparable.
- Rows with 0 tokens hold the loss before continuing, one a size or more; their share may be nan. They are no rows of
  D-CPT, which is infinite there; laws that begin at the start need them. `start_at(params)` gives them back.
- `predict(X)` (n_points,) nats/token; at 0 tokens the start. `draws(X, n)` (n, n_points): one row is one bootstrap draw
  at all points, so any function of predictions (a crossing, an optimum, a front) has an interval from its values over
  rows. Give two losses' estimators seeds of their own.
- What all runs have in common, one size or one token count, can't be moved: `predict` refuses other values, and
  `cautions_` says so, as it says where the loss rises with its own share.
- `outside(X)` (n_points,) bool: outside what was trained. `to_dict`, `from_dict`: JSON, the runs included, so that a
  stored fit can still draw.

`regressors.evaluation.critical_share` reads shares off such predictions: the replay that costs nothing.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from regressors.estimators.continual_base import BaseContinualRegressor
from regressors.estimators.continual_baselines import interpolation, persistence
from regressors.evaluation.critical_share import falls_with_share
from regressors.fitting.inference import InferenceMixin
from regressors.fitting.levenberg_marquardt import levenberg_marquardt
from regressors.fitting.posterior import Criterion
from regressors.fitting.solve import Fit, build_posterior, in_units, solve
from regressors.law import Array, Law
from regressors.laws.continual import CONTINUAL_LAWS, DCPT, INPUTS

BASELINES = ("persistence", "interpolation", "trend")
FIT_NUMBERS = ("noise", "objective", "used", "agreeing", "converged")
TOLERANCE = 1e-3  # of the objective: a draw's refit needs no more digits than that


def early_signs(tokens: Array, loss: Array) -> tuple[float, float]:
    """k1 and k2 of the cross-domain law, from the first checkpoints on one domain: about 1 % of a whole study's cost.

    tokens (n,), rising from 0; loss (n,) nats/token. k1 is the loss before continuing, k2 how much of it is lost by the
    e-fold of tokens between the first and the last of these checkpoints, kept above 0. Compare k2 only between domains
    that have the same token counts and share. Raises ValueError for fewer than 3 checkpoints or another beginning.
    """
    tokens, loss = np.asarray(tokens, dtype=float), np.asarray(loss, dtype=float)
    if len(tokens) < 3 or len(loss) != len(tokens) or tokens[0] != 0 or (np.diff(tokens) <= 0).any():
        raise ValueError("early signs need 3 checkpoints or more: 0 tokens and two later ones, tokens rising")
    fall = -np.polyfit(np.log(tokens[1:]), loss[1:], 1)[0]
    return float(loss[0]), float(max(fall, 1e-3 * loss[0]))


class ContinualRegressor(InferenceMixin, BaseContinualRegressor):
    """One law of continued pretraining, or a baseline, fitted to one loss.

    law: a name in `CONTINUAL_LAWS`, a Law of params, tokens, r (and start, the loss before continuing), or a baseline:
    "persistence", the last loss seen at the nearest trained size and share; "interpolation" in ln tokens and between
    shares, held after the last checkpoint; "trend", the same with the last checkpoints' line in ln tokens going on.
    carry: what the law misses at the trained runs, interpolated between them and held outside, is added: predictions at
    the fitted rows are then the measured losses. n_starts: how many starts the fit gets. huber: residuals beyond so
    many noise levels count linearly. random_state: draws the starts after the first.
    After fit: values_ {parameter: number} as the law's source writes them, noise_ nats/token, start_, cautions_; the
    fit's inference (`identify`, `profile`, `bootstrap`) is that of every law.
    """

    known_laws = CONTINUAL_LAWS

    def __init__(self, law="d-cpt", *, carry=False, n_starts=2, huber=2.0, random_state=0):
        self.law = law
        self.carry = carry
        self.n_starts = n_starts
        self.huber = huber  # in noise levels
        self.random_state = random_state

    def _learn(self) -> None:
        law = self._fitted_law()
        if law is None:
            return
        if self.carry and law.inputs[3:] not in ((), ("start",)):
            raise ValueError(f"carry = True: runs of {law.name!r} differ in more than size, tokens and share")
        self._posterior, self.units_ = build_posterior(
            law, self._inputs(self.X_), self.y_[:, None], criterion=Criterion(huber=self.huber)
        )
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        self._found = solve(self._posterior, self.units_, n_starts=self.n_starts, rng=rng)
        self._set_values(law)

    def _set_values(self, law: Law) -> None:
        scaled = self._found.values
        published = law.published(scaled, self.units_) if law.published else scaled
        self.values_ = {name: float(value[0]) for name, value in published.items()}
        self.noise_ = float(self._found.noise[0])

    def _predicted(self, X: Array) -> Array:
        law = self._fitted_law()
        if law is None:
            return self._read(X) @ self.y_
        out = self._found.predict(law, self._inputs(X))[:, 0]
        if self.carry:
            missed = self.y_ - self._found.predict(law, self._inputs(self.X_))[:, 0]
            out = out + interpolation(self.X_, X, extend=False) @ missed
        return out

    def _refitted(self, Y: Array, X: Array) -> Array:
        law = self._fitted_law()
        if law is None:
            return self._read(X) @ Y
        values = self._values_of(law, Y)
        out = law.formula(*in_units(law, self._inputs(X), self.units_), **values).T
        if self.carry:
            missed = Y - law.formula(*in_units(law, self._inputs(self.X_), self.units_), **values).T
            out = out + interpolation(self.X_, X, extend=False) @ missed
        return out

    def _values_of(self, law: Law, Y: Array) -> dict[str, Array]:
        """The law's values fitted to each column of Y, from the fit's own optimum and at its noise level."""
        posterior, _ = build_posterior(law, self._inputs(self.X_), Y, criterion=Criterion(huber=self.huber))
        every = np.arange(Y.shape[1])
        own = {name: np.repeat(value, len(every), axis=0) for name, value in self._found.values.items()}
        posterior.noise = np.repeat(self._found.noise, len(every))
        z = levenberg_marquardt(posterior, posterior.space.z_of(own, every), every, tolerance=TOLERANCE).z
        return posterior.space.values(z, every)

    def _read(self, X: Array) -> Array:
        """A baseline's reading as a matrix, (n_points, n_rows)."""
        if self.law == "persistence":
            return persistence(self.X_, X)
        return interpolation(self.X_, X, trend=self.law == "trend")

    def _smooth(self) -> tuple[Array, float]:
        if self._fitted_law() is None:
            return ContinualRegressor(DCPT.name).fit(self.X_, self.y_)._smooth()
        law = self._posterior.law
        return self._found.predict(law, self._inputs(self.X_))[:, 0], float(self._found.used[0])

    def _cautions(self) -> list[str]:
        return [*super()._cautions(), *self.law_cautions()]

    def law_cautions(self) -> list[str]:
        """What the fitted law itself, without what `carry` adds, says that no such loss should."""
        law = self._fitted_law()
        if law is None:
            return []

        def alone(X: Array) -> Array:
            return self._found.predict(law, self._inputs(X))[:, 0]

        slope = falls_with_share(self.X_, alone)
        return [] if slope.falls else [slope.sentence()]

    def _columns(self) -> tuple[str, ...]:
        law = self._fitted_law()
        return INPUTS if law is None else tuple(name for name in law.inputs if name != "start")

    def _inputs(self, X: Array) -> dict[str, Array]:
        """What the law is given at X (n, n_columns)."""
        law = self._fitted_law()
        given = dict(zip(self._columns(), X.T, strict=True))
        if law is not None and "start" in law.inputs:
            given["start"] = self.start_at(X[:, 0])
            if not np.isfinite(given["start"]).all():
                raise ValueError(
                    f"the law {law.name!r} begins at the loss before continuing: add a row with 0 tokens and that loss"
                )
        return given

    def _fitted_law(self) -> Law | None:
        """The law, None for a baseline."""
        if isinstance(self.law, str) and self.law in BASELINES:
            return None
        return self._law()

    def _learned(self) -> dict[str, Any]:
        if self._fitted_law() is None:
            return {}
        numbers = {name: getattr(self._found, name).tolist() for name in FIT_NUMBERS}
        return {"values": {name: value.tolist() for name, value in self._found.values.items()}, **numbers}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        law = self._fitted_law()
        if law is None:
            return
        self._posterior, self.units_ = build_posterior(
            law, self._inputs(self.X_), self.y_[:, None], criterion=Criterion(huber=self.huber)
        )
        values = {name: np.array(value) for name, value in learned["values"].items()}
        numbers = {name: np.array(learned[name]) for name in FIT_NUMBERS}
        self._posterior.noise = numbers["noise"]
        z = self._posterior.space.z_of(values, np.arange(1))
        self._found = Fit(values=values, units=self.units_, z=z, **numbers)
        self._set_values(law)
