"""Joint laws of mixture, parameters and training tokens, for models larger than any that was trained."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from math import inf
from typing import Any, Self

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from regressors.estimators.base import AtFixedInputs, MixtureRegressor, check_stored, own_order
from regressors.estimators.joint_fit import DECIDES, Exponent, fit_joint, late_weights, run_weights, scaled
from regressors.estimators.joint_residuals import Residuals
from regressors.evaluation.cross_validation import Split, by_length, by_size, size_bins
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
LATE = 0.5  # checkpoints beyond this share of their size's largest token count are held out together
MAX_RATIO = 0.75  # of the error at strength 1: one size or a few checkpoints are a noisy judge, so a change has to pay


@dataclass(frozen=True)
class Trial:
    """How well priors of one strength predicted what one split leaves out."""

    kind: str
    strength: float
    error: float  # mean, a share of the loss (or nats/token); inf where a prediction isn't a number


class JointRegressor(MixtureRegressor):
    """A joint law, fitted to runs, or to checkpoints of runs, of several sizes and token counts.

    X is (n_runs, n_domains + 2): shares, then parameters, then training tokens; without a share column, loss depends on
    size and tokens alone.
    law: a name in `JOINT_LAWS`, or a Law of w, params and tokens. strength: how strong the law's priors on the
    irreducible loss and the exponents are: 1 as the law says, 2 twice as narrow, 0 none at all; "auto": those that
    predict the largest size, and the latest checkpoints, best when they're left out. shared: whether all targets have
    the same exponents. rows_a_run: how many rows the checkpoints of one run (rows of the same mixture and size) count
    as together: a law errs alike on all of them, so they aren't so many witnesses. huber: residuals beyond so many
    noise levels count linearly. Residuals are of ln loss unless a loss isn't above 0.
    pools: X is (n_runs, 2 n_domains + 2), with each domain's unique tokens over the run's tokens (at that checkpoint),
    inf for unlimited ones, after the shares; the law is shown effective tokens (`regressors.laws.effective_tokens`)
    and R* is fitted, one a target. residuals: what the law misses in the runs is predicted to persist
    (`regressors.estimators.joint_residuals`). Of one run's rows, later ones count more, in proportion to their tokens.
    After fit: values_ {parameter: (n_targets, ...)}, units_ (what parameters and tokens were divided by), noise_
    (n_targets,) a share of the loss (or nats/token), strength_ {"size", "tokens"}, trials_ (the held-out errors behind
    it), exponents_ (how well each is identified), converged_ (n_targets,), residuals_ (None without).
    """

    known_laws = JOINT_LAWS

    def __init__(
        self,
        law: Law | str = "joint-effective-data",
        *,
        strength: float | str = "auto",
        shared: bool = True,
        rows_a_run: float = 4.0,
        huber: float = 2.0,
        pools: bool = False,
        residuals: bool = False,
    ):
        self.law = law
        self.strength = strength
        self.shared = shared
        self.rows_a_run = rows_a_run
        self.huber = huber
        self.pools = pools
        self.residuals = residuals

    @property
    def _domains(self) -> int:
        return (self.n_features_in_ - 2) // (2 if self.pools else 1)

    def _fit(self, W: Array, Y: Array) -> None:
        law, inputs = self._law(), self._inputs(W)
        known = np.isfinite(Y)
        criterion = Criterion(huber=self.huber, log=bool((Y[known] > 0).all()))
        weights = late_weights(inputs, run_weights(inputs, self.rows_a_run))
        self.trials_ = []
        if self.strength == "auto":
            self.strength_, self.trials_ = self._choose(law, inputs, Y, criterion, weights)
        else:
            self.strength_ = {kind: float(self.strength) for kind in DECIDES}
        found = fit_joint(scaled(law, self.strength_), inputs, Y, criterion, weights, shared=self.shared)
        self.values_, self.units_, self.noise_ = found.values, found.units, found.noise
        self.converged_, self.exponents_ = found.converged, found.exponents
        self.residuals_ = None
        if self.residuals:
            self.log_, fitted = criterion.log, found.predict(law, inputs)
            self.residuals_ = Residuals.fit(inputs, np.log(Y / fitted) if self.log_ else Y - fitted)

    def _choose(
        self, law: Law, inputs: Mapping[str, Array], Y: Array, criterion: Criterion, weights: Array
    ) -> tuple[dict[str, float], list[Trial]]:
        chosen, trials = dict.fromkeys(DECIDES, 1.0), []
        for split in splits_of(inputs["params"], inputs["tokens"]):
            if not np.isfinite(Y[split.fitted]).any(axis=0).all():
                continue
            part = {name: value[split.fitted] for name, value in inputs.items()}
            first = None  # where the first strength ends, the others start
            for strength in STRENGTHS:
                found = fit_joint(
                    scaled(law, chosen | {split.kind: strength}),
                    part,
                    Y[split.fitted],
                    criterion,
                    weights[split.fitted],
                    shared=self.shared,
                    first=first,
                )
                first = first or found
                error = held_out_error(split, found.predict(law, inputs), Y, log_loss=criterion.log)
                trials.append(Trial(split.kind, strength, error))
            chosen[split.kind] = best_strength([t for t in trials if t.kind == split.kind])
        return chosen, trials

    def _predict(self, W: Array) -> Array:
        law, inputs = self._law(), self._inputs(W)
        losses = law.formula(*in_units(law, inputs, self.units_), **self.values_).T
        if self.residuals_ is None:
            return losses
        off = self.residuals_.predict(inputs)
        return losses * np.exp(off) if self.log_ else losses + off

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
        law = super()._law()
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

    def of_law_alone(self) -> Self:
        """The fit without its residuals."""
        out = copy(self)
        out.residuals_ = None
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
        } | ({} if self.residuals_ is None else {"residuals": self.residuals_.to_dict(), "log": self.log_})

    def _restore(self, learned: Mapping[str, Any]) -> None:
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
        self.log_, stored = learned.get("log", True), learned.get("residuals")
        self.residuals_ = None if stored is None else Residuals.from_dict(stored)


def splits_of(params: Array, tokens: Array) -> list[Split]:
    """Rolling origins that runs of such sizes and token counts, (n_runs,) each, allow: the later half of the token
    counts of every size, and the largest of three sizes or more; with two, a fit to one couldn't know what size does.

    Folds at random would judge interpolation, which hardly depends on exponents.
    """
    size = size_bins(params)
    return [*by_length(tokens, cuts=(LATE,), within=size), *by_size(size)]


def held_out_error(split: Split, predicted: Array, Y: Array, *, log_loss: bool) -> float:
    """Mean absolute error, of ln loss or of loss, of predictions for all runs, (n_runs, n_targets), at those left out.

    Y alike, nan where missing. inf where a prediction isn't a number.
    """
    predicted, measured = predicted[split.predicted], Y[split.predicted]
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.log(predicted / measured) if log_loss else predicted - measured
    error = float(np.abs(off[np.isfinite(measured)]).mean())
    return error if np.isfinite(error) else inf


def best_strength(trials: Sequence[Trial]) -> float:
    """The strength of the lowest error; 1 unless another one is clearly better."""
    usual = next(trial for trial in trials if trial.strength == 1)
    best = min(trials, key=lambda trial: trial.error)
    return best.strength if best.error < MAX_RATIO * usual.error else 1.0


def _has_pools(predictor: "AtScale") -> bool:
    return predictor.unique is not None


class AtScale(AtFixedInputs):
    """A fitted joint law at one size and one token count.

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
            raise ValueError("unique: this fit sees no pools")
        given = [None] * domains if unique is None else list(unique)
        self.unique = unique_shares(given, domains) if joint.pools else None
        pools = [] if self.unique is None else self.unique
        super().__init__(joint, np.array([*pools, self.params, self.tokens]), domains)

    @available_if(_has_pools)
    def unique_gradient(self, W: Array) -> Array:
        """Exact d loss / d unique tokens over the training tokens, shaped as `gradient`; only with pools."""
        return self._slopes(W, self._domains)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able numbers and text."""
        return {
            "estimator": "AtScale",
            "params": self.params,
            "tokens": self.tokens,
            "unique": self._stored_unique(),
            "joint": self.joint.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave."""
        check_stored(stored, "AtScale", frozenset({"params", "tokens", "joint"}))
        joint = JointRegressor.from_dict(stored["joint"])
        return cls(joint, params=stored["params"], tokens=stored["tokens"], unique=stored.get("unique"))
