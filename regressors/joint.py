"""Loss from mixture, parameters and training tokens together, for models larger than any that was trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from regressors.base import MixtureRegressor
from regressors.descent import State, descend, finish
from regressors.fit import estimate_noise, in_units, pose, settle_noise
from regressors.law import Array, Law, Param
from regressors.laws.joint import BENT, JOINT_EFFECTIVE_DATA
from regressors.laws.joint_published import (
    DCPT,
    EXPONENTIAL_CHINCHILLA,
    JOINT_ADDITIVE,
    JOINT_BIMIX,
    JOINT_FULL,
    JOINT_LOG_LINEAR,
)
from regressors.origins import Trial, best_strength, origins, size_bins
from regressors.posterior import Criterion, Posterior

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
EXPONENTS = ("alpha", "beta")
# whose priors decide what is predicted of larger sizes and of more tokens: each kind of origin judges its own
DECIDES = {"size": ("E", "alpha"), "tokens": ("beta",)}
STRENGTHS = (1.0, 2.0, 0.5, 0.25, 0.0)
HELD = 1e-6  # sd of a prior that nothing moves
ROUGH = 1e-3  # of the objective: where one way down gives over to another


@dataclass(frozen=True)
class Exponent:
    """What is known of one exponent; the prior and the posterior are normal on its log."""

    name: str
    value: tuple[float, ...]  # one a target, or one for all where targets share it
    sd: tuple[float, ...]  # of ln value, after the runs
    prior: float  # centre before the runs
    prior_sd: float  # of ln value, before the runs; inf: no prior


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
    ):
        self.law = law
        self.strength = strength
        self.shared = shared
        self.rows_a_run = rows_a_run
        self.huber = huber

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
        domains = self.n_features_in_ - 2
        w = X[:, self.order_ < domains]
        # one more parameter and one more token change nothing but a 0, which has no logarithm
        counts = {name: X[:, self.order_ == domains + k][:, 0] + 1 for k, name in enumerate(("params", "tokens"))}
        return {"w": w if domains else np.ones((len(X), 1)), **counts}

    def _law(self) -> Law:
        law = self.law
        if not isinstance(law, Law):
            if law not in JOINT_LAWS:
                raise ValueError(f"no joint law is called {law!r}: choose from {sorted(JOINT_LAWS)}")
            law = JOINT_LAWS[law]
        if self.n_features_in_ < 2:
            raise ValueError(f"n_features = {self.n_features_in_}: columns for parameters and tokens are missing")
        return BENT if law is JOINT_EFFECTIVE_DATA and self.n_features_in_ <= 3 else law

    def at(self, params: float, tokens: float) -> "AtScale":
        """A predictor from shares alone, for models of so many parameters after so many training tokens."""
        check_is_fitted(self)
        return AtScale(self, params=params, tokens=tokens)

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


class AtScale:
    """A fitted joint law at one size and one token count: a predictor of loss from shares, to search with."""

    def __init__(self, joint: JointRegressor, *, params: float, tokens: float):
        self.joint = joint
        self.params = float(params)
        self.tokens = float(tokens)

    def _whole(self, W: Array) -> Array:
        W = np.asarray(W)
        return np.column_stack([W, np.full(len(W), self.params), np.full(len(W), self.tokens)])

    def predict(self, W: Array) -> Array:
        """Loss at shares W (n_points, n_domains): (n_points,) or (n_points, n_targets). nats/token."""
        return self.joint.predict(self._whole(W))

    def gradient(self, W: Array) -> Array:
        """Exact d loss / d share at W (n_points, n_domains): (n_points, n_domains), or (n_points, n_targets, n_domains)
        after a fit to 2-D Y. nats/token per unit of share, each domain by itself, not along the simplex."""
        joint, domains = self.joint, self.joint.n_features_in_ - 2
        X = joint._checked_shares(self._whole(W), reset=False)
        slopes = np.empty((len(X), len(joint.noise_), domains))
        for k in range(domains):
            moved = X.astype(complex)
            moved[:, k] += 1e-30j
            slopes[..., k] = np.imag(joint._predict(moved[:, joint.order_])) / 1e-30
        return slopes[:, 0] if joint.flat_ else slopes

    def to_dict(self) -> dict[str, Any]:
        """JSON-able numbers and text."""
        return {
            "estimator": "AtScale",
            "params": self.params,
            "tokens": self.tokens,
            "joint": self.joint.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave."""
        joint = JointRegressor.from_dict(stored["joint"])
        return cls(joint, params=stored["params"], tokens=stored["tokens"])


@dataclass(frozen=True)
class Joint:
    """Where the fit of a joint law ended."""

    values: dict[str, Array]  # natural parameters, (n_targets, *own axes)
    units: dict[str, float]
    noise: Array  # (n_targets,)
    converged: Array  # (n_targets,) bool
    exponents: list[Exponent]

    def predict(self, law: Law, inputs: Mapping[str, Array]) -> Array:
        return law.formula(*in_units(law, inputs, self.units), **self.values).T


def run_weights(inputs: Mapping[str, Array], rows_a_run: float) -> Array:
    """How much each row counts, (n_rows,): the rows of one mixture and size count as rows_a_run together at most."""
    runs = np.column_stack([inputs["w"], inputs["params"]])
    _, run, size = np.unique(runs, axis=0, return_inverse=True, return_counts=True)
    return np.minimum(1.0, rows_a_run / size[run.reshape(-1)])


def scaled(law: Law, strength: Mapping[str, float]) -> Law:
    """The law with the priors that each kind of DECIDES names so many times as narrow; 0: without."""
    times = {name: strength[kind] for kind, names in DECIDES.items() for name in names}

    def with_strength(param: Param) -> Param:
        sd = param.prior.sd
        if param.name not in times or callable(sd):
            return param
        return replace(param, prior=replace(param.prior, sd=sd / times[param.name] if times[param.name] else inf))

    return replace(law, params=tuple(with_strength(p) for p in law.params))


def blinded(law: Law, params: Array) -> Law:
    """The law with the size's exponent held at its prior's centre, where the runs have fewer than three sizes.

    Two sizes give a size's amplitude and what is left at infinite size, no exponent. What a fit makes of one all the
    same comes from where the law errs, in young checkpoints above all. Without a prior there is nothing to hold to.
    """
    if size_bins(params).max() >= 2:
        return law

    def held(param: Param) -> Param:
        if param.name != "alpha" or param.prior.sd == inf:
            return param
        return replace(param, prior=replace(param.prior, sd=HELD))

    return replace(law, params=tuple(held(p) for p in law.params))


def fit_joint(
    law: Law,
    inputs: Mapping[str, Array],
    Y: Array,
    criterion: Criterion,
    weights: Array,
    *,
    shared: bool,
    begin: Joint | None = None,
) -> Joint:
    """Fits a law to every column of Y; where exponents are shared, twice: the second time at their common values.

    begin: another fit of the law, from which to start.
    """
    posterior, units = pose(blinded(law, inputs["params"]), inputs, Y, criterion=criterion, weights=weights)
    targets = np.arange(Y.shape[1])
    z = np.zeros((len(targets), posterior.space.size))
    if begin is not None:
        z = posterior.space.z_of(begin.values, targets)
        posterior.noise = begin.noise.copy()
    z = settle_noise(posterior, z)
    ends = reach(posterior, z)
    common, precision = pooled(posterior, ends.z, shared=shared)
    if shared and len(targets) > 1:
        where = exponent_places(posterior)
        z = ends.z.copy()
        z[:, where] = common
        held = np.zeros(z.shape, dtype=bool)
        held[:, where] = True
        z = descend(posterior, z, targets, held=held, tolerance=ROUGH).z
        posterior.noise, _ = estimate_noise(posterior, z, targets)
        ends = reach(posterior, z, held)
    values = posterior.space.values(ends.z, targets)
    return Joint(
        values=values,
        units=units,
        noise=posterior.noise,
        converged=ends.converged,
        exponents=described(law, posterior, values, precision, shared=shared),
    )


def reach(posterior: Posterior, z: Array, held: Array | None = None) -> State:
    """To the minimum from near it: reweighted steps crawl along the long flat valleys of laws like these."""
    targets = np.arange(len(z))
    near = descend(posterior, z, targets, tolerance=ROUGH, held=held)
    return finish(posterior, near.z, targets, tolerance=1e-6, held=held)


def exponent_places(posterior: Posterior) -> Array:
    """Where the exponents stand in the engine's parameters."""
    return np.array([posterior.space.slices[name].start for name in EXPONENTS])


def pooled(posterior: Posterior, z: Array, *, shared: bool) -> tuple[Array, Array]:
    """The exponents' common value in units of their priors, (2,), and their precision, (2, 2) or (n_targets, 2, 2).

    Each target's posterior of its exponents, all other parameters adapting to them, is taken as normal. Losses
    of the same runs err alike, so the targets' evidence is averaged and not added up.
    """
    targets, where = np.arange(len(z)), exponent_places(posterior)
    _, curvature, _ = posterior.model(z, targets)
    others = np.setdiff1d(np.arange(posterior.space.size), where)
    cross = curvature[:, where[:, None], others]
    inner = np.linalg.pinv(curvature[:, others[:, None], others], hermitian=True)
    precision = curvature[:, where[:, None], where] - cross @ inner @ cross.transpose(0, 2, 1)
    common = precision.mean(axis=0)
    pull = np.einsum("tij,tj->ti", precision, z[:, where]).mean(axis=0)
    return np.linalg.lstsq(common, pull, rcond=None)[0], common if shared else precision


def described(
    law: Law, posterior: Posterior, values: dict[str, Array], precision: Array, *, shared: bool
) -> list[Exponent]:
    """How well the exponents are identified; the law is the one that nothing was blinded in."""
    spread = np.sqrt(np.maximum(np.einsum("...ii->...i", np.linalg.pinv(precision, hermitian=True)), 0))
    spread = np.atleast_2d(spread)  # in units of the priors
    kept = slice(0, 1) if shared else slice(None)
    found = []
    for k, (name, where) in enumerate(zip(EXPONENTS, exponent_places(posterior), strict=True)):
        prior_sd = next(float(p.prior.sd) for p in law.params if p.name == name and not callable(p.prior.sd))
        sd = spread[:, k] * (prior_sd if np.isfinite(prior_sd) else 1.0)
        prior = float(np.exp(posterior.space.centre[0, where]))
        found.append(Exponent(name, tuple(values[name][kept].tolist()), tuple(sd.tolist()), prior, prior_sd))
    return found
