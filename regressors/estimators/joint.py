"""Loss from mixture, parameters and training tokens together, for models larger than any that was trained."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Self

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from regressors.estimators.base import MixtureRegressor, own_order
from regressors.estimators.joint_fit import DECIDES, Exponent, fit_joint, run_weights, scaled
from regressors.evaluation.rolling_origin import Trial, best_strength, origins
from regressors.fitting.posterior import Criterion
from regressors.fitting.solve import in_units
from regressors.law import Array, Law
from regressors.laws.effective_tokens import checked_pools, repetition_aware, unique_shares
from regressors.laws.joint import BENT, JOINT_EFFECTIVE_DATA
from regressors.laws.joint_published import (
    DCPT,
    EXPONENTIAL_CHINCHILLA,
    JOINT_ADDITIVE,
    JOINT_BIMIX,
    JOINT_FULL,
    JOINT_LOG_LINEAR,
)

JOINT_LAWS = {
    law.name: law
    for law in (
        JOINT_EFFECTIVE_DATA,
        JOINT_ADDITIVE,
        JOINT_FULL,
        JOINT_LOG_LINEAR,
        EXPONENTIAL_CHINCHILLA,
        JOINT_BIMIX,
        DCPT,
    )
}
STRENGTHS = (1.0, 2.0, 0.5, 0.25, 0.0)


class JointRegressor(MixtureRegressor):
    """Fits a joint law to runs, or to checkpoints of runs, of several sizes and token counts.

    X is (n_runs, n_domains + 2): shares, then parameters, then training tokens; without a share column, loss depends on
    size and tokens alone.
    law: a name in `JOINT_LAWS`, or a Law of w, params and tokens. strength: how strong the law's priors on the
    irreducible loss and the exponents are: 1 as the law says, 2 twice as narrow, 0 none at all; "auto": those that
    predict the largest size, and the latest checkpoints, best when they're left out. shared: whether all targets have
    the same exponents. rows_a_run: how many rows the checkpoints of one run (rows of the same mixture and size) count
    as together: a law errs alike on all of them, so they aren't so many witnesses. huber: residuals beyond so many
    noise levels count linearly. Residuals are of ln loss unless a loss isn't above 0.
    pools: X is (n_runs, 2 n_domains + 2), with each domain's unique tokens over the run's tokens (at that checkpoint),
    inf for unlimited ones, after the shares; the law is shown effective tokens (`regressors.laws.repeated`) and R* is
    fitted, one a target.
    After fit: values_ {parameter: (n_targets, ...)}, units_ (what parameters and tokens were divided by), noise_
    (n_targets,) a share of the loss (or nats/token), strength_ {"size", "tokens"}, trials_ (the held-out errors behind
    it), exponents_ (how well each is identified), converged_ (n_targets,).
    """

    def __init__(
        self,
        law: Law | str = "joint-effective-data",
        *,
        strength: float | str = "auto",
        shared: bool = True,
        rows_a_run: float = 4.0,
        huber: float = 2.0,
        pools: bool = False,
    ):
        self.law = law
        self.strength = strength
        self.shared = shared
        self.rows_a_run = rows_a_run
        self.huber = huber
        self.pools = pools

    @property
    def _domains(self) -> int:
        return (self.n_features_in_ - 2) // (2 if self.pools else 1)

    def _fit(self, W: Array, Y: Array) -> None:
        law, inputs = self._law(), self._inputs(W)
        known = np.isfinite(Y)
        criterion = Criterion(huber=self.huber, log=bool((Y[known] > 0).all()))
        weights = run_weights(inputs, self.rows_a_run)
        self.trials_ = []
        if self.strength == "auto":
            self.strength_, self.trials_ = self._choose(law, inputs, Y, criterion, weights)
        else:
            self.strength_ = {kind: float(self.strength) for kind in DECIDES}
        found = fit_joint(scaled(law, self.strength_), inputs, Y, criterion, weights, shared=self.shared)
        self.values_, self.units_, self.noise_ = found.values, found.units, found.noise
        self.converged_, self.exponents_ = found.converged, found.exponents

    def _choose(
        self, law: Law, inputs: Mapping[str, Array], Y: Array, criterion: Criterion, weights: Array
    ) -> tuple[dict[str, float], list[Trial]]:
        chosen, trials = dict.fromkeys(DECIDES, 1.0), []
        for split in origins(inputs["params"], inputs["tokens"]):
            if not np.isfinite(Y[split.fitted]).any(axis=0).all():
                continue
            part = {name: value[split.fitted] for name, value in inputs.items()}
            begin = None  # where the first strength ends, the others start
            for strength in STRENGTHS:
                found = fit_joint(
                    scaled(law, chosen | {split.kind: strength}),
                    part,
                    Y[split.fitted],
                    criterion,
                    weights[split.fitted],
                    shared=self.shared,
                    begin=begin,
                )
                begin = begin or found
                trials.append(split.trial(strength, found.predict(law, inputs), Y, log_loss=criterion.log))
            chosen[split.kind] = best_strength([t for t in trials if t.kind == split.kind])
        return chosen, trials

    def _predict(self, W: Array) -> Array:
        law = self._law()
        return law.formula(*in_units(law, self._inputs(W), self.units_), **self.values_).T

    def _inputs(self, X: Array) -> dict[str, Array]:
        """What the law is given; X's columns are in the fit's own order, in which domains keep theirs."""
        domains, last = self._domains, self.n_features_in_ - 2
        w = X[:, self.order_ < domains]
        # one more parameter and one more token change nothing but a 0, which has no logarithm
        counts = {name: X[:, self.order_ == last + k][:, 0] + 1 for k, name in enumerate(("params", "tokens"))}
        if self.pools:
            counts["unique"] = X[:, (self.order_ >= domains) & (self.order_ < last)]
        return {"w": w if domains else np.ones((len(X), 1)), **counts}

    def _own_order(self, W: Array) -> Array:
        if not self.pools:
            return super()._own_order(W)
        domains = self._domains
        order = own_order(np.vstack([W[:, :domains], W[:, domains : 2 * domains]]))
        return np.concatenate([order, domains + order, [2 * domains, 2 * domains + 1]])

    def _checked_shares(self, W: Any, *, reset: bool) -> Array:
        if not self.pools:
            return super()._checked_shares(W, reset=reset)
        W = np.array(W, dtype=float)
        if W.ndim == 2 and (W.shape[1] < 4 or W.shape[1] % 2):
            raise ValueError(f"n_features = {W.shape[1]}: shares, unique shares, parameters and tokens are 2 n + 2")
        return super()._checked_shares(checked_pools(W, slice((W.shape[-1] - 2) // 2, -2)), reset=reset)

    def _law(self) -> Law:
        law = self.law
        if not isinstance(law, Law):
            if law not in JOINT_LAWS:
                raise ValueError(f"no joint law is called {law!r}: choose from {sorted(JOINT_LAWS)}")
            law = JOINT_LAWS[law]
        if self.n_features_in_ < 2:
            raise ValueError(f"n_features = {self.n_features_in_}: columns for parameters and tokens are missing")
        if self.pools:
            return repetition_aware(law)
        return BENT if law is JOINT_EFFECTIVE_DATA and self.n_features_in_ <= 3 else law

    def at(self, params: float, tokens: float, unique: Sequence[float | None] | Array | None = None) -> "AtScale":
        """A predictor from shares alone, for models of so many parameters after so many training tokens.

        unique: with pools, each domain's unique tokens over those training tokens (n_domains,), None or inf for
        unlimited ones; None: all are unlimited.
        """
        check_is_fitted(self)
        return AtScale(self, params=params, tokens=tokens, unique=unique)

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator as JSON-able numbers and text; its law must be one of `JOINT_LAWS`, by name."""
        name = self.law.name if isinstance(self.law, Law) else self.law
        if isinstance(self.law, Law) and JOINT_LAWS.get(name) is not self.law:
            raise ValueError(f"only laws of JOINT_LAWS can be stored, {name!r} is another: its formula is code")
        out = super().to_dict()
        out["options"]["law"] = name
        return out

    def _learned(self) -> dict[str, Any]:
        return {
            "values": {name: value.tolist() for name, value in self.values_.items()},
            "units": self.units_,
            "noise": self.noise_.tolist(),
            "converged": self.converged_.tolist(),
            "strength": self.strength_,
            # an error that is no number is null in JSON
            "trials": [{**vars(t), "error": t.error if np.isfinite(t.error) else None} for t in self.trials_],
            "exponents": [
                {**vars(e), "prior_sd": e.prior_sd if np.isfinite(e.prior_sd) else None} for e in self.exponents_
            ],
        }

    def _restore(self, learned: dict[str, Any]) -> None:
        self.values_ = {name: np.array(value) for name, value in learned["values"].items()}
        self.units_, self.strength_ = learned["units"], learned["strength"]
        self.trials_ = [
            Trial(**{**trial, "error": inf if trial["error"] is None else trial["error"]})
            for trial in learned["trials"]
        ]
        self.noise_, self.converged_ = np.array(learned["noise"]), np.array(learned["converged"])
        self.exponents_ = [
            Exponent(
                name=e["name"],
                value=tuple(e["value"]),
                sd=tuple(e["sd"]),
                prior=e["prior"],
                prior_sd=inf if e["prior_sd"] is None else e["prior_sd"],
            )
            for e in learned["exponents"]
        ]
        self.n_targets_ = len(self.noise_)


def _has_pools(predictor: "AtScale") -> bool:
    return predictor.unique is not None


class AtScale:
    """A fitted joint law at one size and one token count: a predictor of loss from shares, to search with.

    unique: with pools, unique tokens over the training tokens, inf where unlimited, (n_domains,); else None.
    """

    def __init__(
        self,
        joint: JointRegressor,
        *,
        params: float,
        tokens: float,
        unique: Sequence[float | None] | Array | None = None,
    ):
        self.joint = joint
        self.params = float(params)
        self.tokens = float(tokens)
        domains = joint._domains
        if unique is not None and not joint.pools:
            raise ValueError("unique: this fit was told no pools")
        told = [None] * domains if unique is None else list(unique)
        self.unique = unique_shares(told, domains) if joint.pools else None

    def _whole(self, W: Array) -> Array:
        W = np.asarray(W)
        pools = [] if self.unique is None else [np.broadcast_to(self.unique, W.shape)]
        return np.column_stack([W, *pools, np.full(len(W), self.params), np.full(len(W), self.tokens)])

    def predict(self, W: Array) -> Array:
        """Loss at shares W (n_points, n_domains): (n_points,) or (n_points, n_targets). nats/token."""
        return self.joint.predict(self._whole(W))

    def gradient(self, W: Array) -> Array:
        """Exact d loss / d share at W (n_points, n_domains): (n_points, n_domains), or (n_points, n_targets, n_domains)
        after a fit to 2-D Y. nats/token per unit of share, each domain by itself, not along the simplex."""
        return self._slopes(W, 0)

    @available_if(_has_pools)
    def unique_gradient(self, W: Array) -> Array:
        """Exact d loss / d unique tokens over the training tokens, of the same shape. Only a fit with pools has it."""
        return self._slopes(W, self.joint._domains)

    def _slopes(self, W: Array, first: int) -> Array:
        """The slopes by n_domains columns of X from the first on."""
        joint = self.joint
        X = joint._checked_shares(self._whole(W), reset=False)
        slopes = np.empty((len(X), len(joint.noise_), joint._domains))
        for k in range(joint._domains):
            moved = X.astype(complex)
            moved[:, first + k] += 1e-30j
            slopes[..., k] = np.imag(joint._predict(moved[:, joint.order_])) / 1e-30
        return slopes[:, 0] if joint.flat_ else slopes

    def to_dict(self) -> dict[str, Any]:
        """JSON-able numbers and text."""
        return {
            "estimator": "AtScale",
            "params": self.params,
            "tokens": self.tokens,
            "unique": None if self.unique is None else [float(u) if np.isfinite(u) else None for u in self.unique],
            "joint": self.joint.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave."""
        joint = JointRegressor.from_dict(stored["joint"])
        return cls(joint, params=stored["params"], tokens=stored["tokens"], unique=stored.get("unique"))
