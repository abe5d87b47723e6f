"""Fitting of joint laws: each target's own fit, exponents shared by targets, and how well those are identified."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from regressors.evaluation.cross_validation import size_bins
from regressors.fitting.bfgs import bfgs
from regressors.fitting.levenberg_marquardt import State, levenberg_marquardt
from regressors.fitting.posterior import Criterion, Posterior
from regressors.fitting.solve import build_posterior, estimate_noise, in_units, settle_noise
from regressors.law import Array, Law, Param
from regressors.laws.effective_tokens import UNLIMITED

EXPONENTS = ("alpha", "beta")
# whose priors decide what is predicted of larger sizes and of more tokens: each kind of split judges its own
DECIDES = {"size": ("E", "alpha"), "tokens": ("beta",)}
FIXED_SD = 1e-6  # sd of a prior that nothing moves
ROUGH = 1e-3  # of the objective: where Levenberg-Marquardt hands over to BFGS


@dataclass(frozen=True)
class Exponent:
    """The posterior of one exponent; the prior and the posterior are normal on its log."""

    name: str
    value: tuple[float, ...]  # one a target, or one for all where targets share it
    sd: tuple[float, ...]  # of ln value, after the runs
    prior: float  # centre before the runs
    prior_sd: float  # of ln value, before the runs; inf: no prior


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


def run_of(inputs: Mapping[str, Array]) -> Array:
    """The run of each row, (n_rows,), labels from 0: its mixture, size and pools."""
    runs = np.column_stack([inputs["w"], inputs["params"]])
    if "unique" in inputs:  # a run's checkpoints have the same pools, and so ever smaller unique shares
        unique = inputs["unique"]
        pools = np.log(np.where(unique < UNLIMITED, unique, 1.0) * inputs["tokens"][:, None])
        runs = np.column_stack([runs, np.where(unique < UNLIMITED, np.round(pools, 3), 0.0)])
    return np.unique(runs, axis=0, return_inverse=True)[1].reshape(-1)


def run_weights(inputs: Mapping[str, Array], rows_a_run: float) -> Array:
    """How much each row counts, (n_rows,): all those of one run as rows_a_run at most."""
    run = run_of(inputs)
    return np.minimum(1.0, rows_a_run / np.bincount(run)[run])


def late_weights(inputs: Mapping[str, Array], weights: Array) -> Array:
    """Weights (n_rows,) shared anew within each run, in proportion to tokens, none above 1.

    Young checkpoints hold a transient (warm-up, what every model learns first) that laws don't have: size hardly
    matters there yet, and loss falls faster than any published exponent.
    """
    run = run_of(inputs)
    shares = weights * inputs["tokens"]
    return np.minimum(1.0, shares * (np.bincount(run, weights) / np.bincount(run, shares))[run])


def scaled(law: Law, strength: Mapping[str, float]) -> Law:
    """The law with the priors that each kind of DECIDES names so many times as narrow; 0: without."""
    times = {name: strength[kind] for kind, names in DECIDES.items() for name in names}

    def with_strength(param: Param) -> Param:
        sd = param.prior.sd
        if param.name not in times or callable(sd):
            return param
        return replace(param, prior=replace(param.prior, sd=sd / times[param.name] if times[param.name] else inf))

    return replace(law, params=tuple(with_strength(p) for p in law.params))


def with_fixed_exponent(law: Law, params: Array) -> Law:
    """The law with the size's exponent held at its prior's centre, where the runs have fewer than three sizes.

    Two sizes give a size's amplitude and what is left at infinite size, no exponent. What a fit makes of one all the
    same comes from where the law errs, in young checkpoints above all. Without a prior there is nothing to hold to.
    """
    if size_bins(params).max() >= 2:
        return law

    def held(param: Param) -> Param:
        if param.name != "alpha" or param.prior.sd == inf:
            return param
        return replace(param, prior=replace(param.prior, sd=FIXED_SD))

    return replace(law, params=tuple(held(p) for p in law.params))


def fit_joint(
    law: Law,
    inputs: Mapping[str, Array],
    Y: Array,
    criterion: Criterion,
    weights: Array,
    *,
    shared: bool,
    first: Joint | None = None,
) -> Joint:
    """Fits a law to every column of Y; where exponents are shared, twice: the second time at their common values.

    first: another fit of the law, from which to start.
    """
    posterior, units = build_posterior(
        with_fixed_exponent(law, inputs["params"]), inputs, Y, criterion=criterion, weights=weights
    )
    targets = np.arange(Y.shape[1])
    z = np.zeros((len(targets), posterior.space.size))
    if first is not None:
        z = posterior.space.z_of(first.values, targets)
        posterior.noise = first.noise.copy()
    z = settle_noise(posterior, z)
    ends = minimise(posterior, z)
    common, precision = pooled(posterior, ends.z, shared=shared)
    if shared and len(targets) > 1:
        where = exponent_places(posterior)
        z = ends.z.copy()
        z[:, where] = common
        held = np.zeros(z.shape, dtype=bool)
        held[:, where] = True
        z = levenberg_marquardt(posterior, z, targets, held=held, tolerance=ROUGH).z
        posterior.noise, _ = estimate_noise(posterior, z, targets)
        ends = minimise(posterior, z, held)
    values = posterior.space.values(ends.z, targets)
    return Joint(
        values=values,
        units=units,
        noise=posterior.noise,
        converged=ends.converged,
        exponents=described(law, posterior, values, precision, shared=shared),
    )


def minimise(posterior: Posterior, z: Array, held: Array | None = None) -> State:
    """The minimum, by BFGS in the end: reweighted steps crawl along the long flat valleys of laws like these."""
    targets = np.arange(len(z))
    near = levenberg_marquardt(posterior, z, targets, tolerance=ROUGH, held=held)
    return bfgs(posterior, near.z, targets, tolerance=1e-6, held=held)


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
    """How well the exponents are identified; the law is the one with every exponent free."""
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
