"""Gaussian process regression on mixtures, with a length scale for every domain.

The kernel is Matern's with smoothness 5/2 in a feature of each share: ln(share + offset), or the square root, in which
straight distance is Hellinger's. Hyperparameters are one maximum a posteriori a target: weak priors keep the many
length scales within reason when runs are few. The evidence and its gradient are written out here, as scikit-learn's
GaussianProcessRegressor, which the tests compare with, needs several times as long at 500 runs: it builds the whole
matrix of every derivative.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from regressors.estimators.base import DifferentiableRegressor
from regressors.law import Array
from regressors.laws.mixing import TRACE

JITTER = 1e-8  # of the amplitude, so that runs of one mixture don't make the kernel singular
MAX_Z = 4.0  # a hyperparameter stays within so many prior widths of its centre; further out, sums lose their digits
MAX_ITERATIONS = 200

# Priors on the logs of hyperparameters, standard normal in units of these widths. Losses are standardised first. The
# centres were chosen by held-out error on training rows of one published table and by cross-validation on two others.
LENGTH = 2.0  # centre, in units of a feature's spread times the root of twice the number of domains
OFFSET = 0.01  # centre, a share
AMPLITUDE_SD = 2.0
NOISE_SD = 2.0
LENGTH_SD = 1.0
OFFSET_SD = 1.0  # of the offset that all domains share, and of each domain's own departure from it


@dataclass(frozen=True)
class Hyper:
    """Hyperparameters of one target, whose losses have mean 0 and variance 1."""

    amplitude: float  # variance of the smooth part
    noise: float  # variance of the rest
    length: Array  # (n_domains,) in units of the feature
    offset: Array  # (n_domains,) share that is added before the logarithm; unused by the square root


class Features:
    """Features of shares that the kernel takes: `log` with offsets that are fitted, or `sqrt`."""

    def __init__(self, name: str):
        if name not in ("log", "sqrt"):
            raise ValueError(f"features = {name!r}: choose log or sqrt")
        self.log = name == "log"

    def of(self, W: Array, offset: Array) -> Array:
        """Features, (n_runs, n_domains), of shares W; offset (n_domains,)."""
        return np.log(W + offset) if self.log else np.sqrt(W + TRACE)

    def slope(self, W: Array, offset: Array) -> Array:
        """d feature / d share."""
        return 1 / (W + offset) if self.log else 0.5 / np.sqrt(W + TRACE)


def matern(square: Array) -> tuple[Array, Array]:
    """The kernel, 1 at distance 0, and its derivative by the squared distance."""
    reach = np.sqrt(5 * square)
    decay = np.exp(-reach)
    return (1 + reach + reach**2 / 3) * decay, -5 / 6 * (1 + reach) * decay


def squared_distances(A: Array, B: Array) -> Array:
    """(n, m) between the rows of A (n, d) and of B (m, d)."""
    return np.maximum((A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T, 0)


class Evidence:
    """Minus the log posterior of the hyperparameters of one target, up to a constant, with its gradient.

    It moves z, standard normal a priori; the hyperparameters' logs are centre + spread @ z, so that the offsets share
    one part. W (n_runs, n_domains); y (n_runs,) of mean 0 and variance 1. amplitude, noise: centres of their priors.
    """

    def __init__(self, features: Features, W: Array, y: Array, *, amplitude: float, noise: float):
        self.features, self.W, self.y = features, W, y
        domains = W.shape[1]
        start = features.of(W, np.full(domains, OFFSET))
        unit = np.sqrt(start.var(axis=0).mean()) or 1.0
        length = LENGTH * unit * np.sqrt(2 * domains)
        rows = [[np.log(amplitude), np.log(noise)], np.full(domains, np.log(length)), np.full(domains, np.log(OFFSET))]
        self.centre = np.concatenate(rows)
        sd = np.concatenate([[AMPLITUDE_SD, NOISE_SD], np.full(domains, LENGTH_SD), np.full(domains, OFFSET_SD)])
        together = np.concatenate([np.zeros(2 + domains), np.full(domains, OFFSET_SD)])
        if features.log:
            self.spread = np.column_stack([np.diag(sd), together])
        else:  # offsets stay where they are: they aren't used
            self.spread = np.diag(sd)[:, : 2 + domains]

    def hyper(self, z: Array) -> Hyper:
        amplitude, noise, *rest = np.exp(self.centre + self.spread @ z)
        length, offset = np.split(np.array(rest), 2)
        return Hyper(float(amplitude), float(noise), length, offset)

    def __call__(self, z: Array) -> tuple[float, Array]:
        from scipy.linalg import cholesky, get_lapack_funcs

        hyper = self.hyper(z)
        X = self.features.of(self.W, hyper.offset) / hyper.length
        kernel, bend = matern(squared_distances(X, X))
        lower = cholesky(covariance(kernel, hyper), lower=True, check_finite=False)
        (invert,) = get_lapack_funcs(("potri",), (lower,))
        inverse = invert(lower, lower=1)[0]
        inverse = inverse + np.tril(inverse, -1).T  # LAPACK fills one triangle
        alpha = inverse @ self.y
        value = 0.5 * self.y @ alpha + np.log(np.diag(lower)).sum()
        pull = np.outer(alpha, alpha) - inverse  # -2 d value / d covariance
        bend *= hyper.amplitude * pull
        mass, moved = bend.sum(axis=1), bend @ X
        # sums over pairs of runs of bend times differences, squared or mixed, without n_runs^2 x n_domains numbers
        by_length = 2 * (mass @ X**2 - (X * moved).sum(axis=0))
        V = self.features.slope(self.W, hyper.offset) * hyper.offset / hyper.length
        by_offset = -2 * (mass @ (X * V) - (V * moved).sum(axis=0))
        ridge = np.trace(pull)
        by_amplitude = -0.5 * hyper.amplitude * ((pull * kernel).sum() + JITTER * ridge)
        slopes = np.concatenate([[by_amplitude, -0.5 * hyper.noise * ridge], by_length, by_offset])
        return float(value + 0.5 * z @ z), slopes @ self.spread + z


def covariance(kernel: Array, hyper: Hyper) -> Array:
    """Of the fitted runs' losses, (n_runs, n_runs)."""
    out = hyper.amplitude * kernel
    out[np.diag_indices(len(out))] += hyper.noise + JITTER * hyper.amplitude
    return out


class GaussianProcessRegressor(DifferentiableRegressor):
    """A Gaussian process on the mixture, one a target (Rasmussen & Williams 2006).

    features: `log` or `sqrt` of shares. amplitude, noise: where the variances of the smooth part and of the rest start,
    as shares of the variance of losses. max_runs: of more, so many random ones are fitted, as time grows with the
    cube; random_state draws them.
    After fit: hyper_ [n_targets], alpha_ (n_targets, n_runs), runs_ (n_runs, n_domains), converged_ (n_targets,).
    """

    stored_name = "GaussianProcess"

    def __init__(self, features="log", *, amplitude=4.0, noise=0.03, max_runs=600, random_state=None):
        self.features = features
        self.amplitude = amplitude
        self.noise = noise
        self.max_runs = max_runs
        self.random_state = random_state

    def _fit(self, W: Array, Y: Array) -> None:
        if len(W) > self.max_runs:
            kept = np.sort(check_random_state(self.random_state).permutation(len(W))[: self.max_runs])
            kept = np.union1d(kept, np.isfinite(Y).argmax(axis=0))  # no target is left without a loss
            W, Y = W[kept], Y[kept]
        self.runs_ = W
        self.hyper_, converged = [], []
        self.mean_, self.spread_ = np.nanmean(Y, axis=0), np.nanstd(Y, axis=0)
        self.spread_[self.spread_ == 0] = 1.0
        self.alpha_ = np.zeros((Y.shape[1], len(W)))
        for k, y in enumerate(Y.T):
            known = np.isfinite(y)
            hyper, alpha, arrived = self._fit_one(W[known], (y[known] - self.mean_[k]) / self.spread_[k])
            self.hyper_.append(hyper)
            self.alpha_[k, known] = alpha
            converged.append(arrived)
        self.converged_ = np.array(converged)

    def _fit_one(self, W: Array, y: Array) -> tuple[Hyper, Array, bool]:
        from scipy.linalg import cho_factor, cho_solve
        from scipy.optimize import minimize

        features = Features(self.features)
        evidence = Evidence(features, W, y, amplitude=self.amplitude, noise=self.noise)
        size = evidence.spread.shape[1]
        end = minimize(
            evidence,
            np.zeros(size),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-MAX_Z, MAX_Z)] * size,
            options={"maxiter": MAX_ITERATIONS},
        )
        hyper = evidence.hyper(end.x)
        X = features.of(W, hyper.offset) / hyper.length
        kernel, _ = matern(squared_distances(X, X))
        return hyper, cho_solve(cho_factor(covariance(kernel, hyper)), y), bool(end.success)

    def _predict(self, W: Array) -> Array:
        features = Features(self.features)
        out = np.empty((len(W), len(self.hyper_)))
        for k, hyper in enumerate(self.hyper_):
            X, runs = (features.of(rows, hyper.offset) / hyper.length for rows in (W, self.runs_))
            kernel, _ = matern(squared_distances(X, runs))
            out[:, k] = self.mean_[k] + self.spread_[k] * hyper.amplitude * (kernel @ self.alpha_[k])
        return out

    def _slopes(self, W: Array) -> Array:
        features = Features(self.features)
        out = np.empty((len(W), len(self.hyper_), W.shape[1]))
        for k, hyper in enumerate(self.hyper_):
            X, runs = (features.of(rows, hyper.offset) / hyper.length for rows in (W, self.runs_))
            _, bend = matern(squared_distances(X, runs))
            pull = 2 * self.spread_[k] * hyper.amplitude * bend * self.alpha_[k]
            by_feature = (X * pull.sum(axis=1)[:, None] - pull @ runs) / hyper.length
            out[:, k] = by_feature * features.slope(W, hyper.offset)
        return out

    def _learned(self) -> dict[str, Any]:
        hypers = [
            {"amplitude": h.amplitude, "noise": h.noise, "length": h.length.tolist(), "offset": h.offset.tolist()}
            for h in self.hyper_
        ]
        return {"hyper": hypers, **{name: getattr(self, f"{name}_").tolist() for name in ARRAYS}}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        for name in ARRAYS:
            setattr(self, f"{name}_", np.array(learned[name]))
        self.hyper_ = [
            Hyper(h["amplitude"], h["noise"], np.array(h["length"]), np.array(h["offset"])) for h in learned["hyper"]
        ]
        self.n_targets_ = len(self.hyper_)


ARRAYS = ("runs", "mean", "spread", "alpha", "converged")
