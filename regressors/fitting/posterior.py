"""The negative log posterior that a fit minimises, per target, over z, unconstrained parameters in units of priors:

    sum_i weight_i huber((loss_i - formula(inputs_i)) / noise) + |z|^2 / 2

or the same with ln loss and ln formula. |z|^2 leaves out parameters without a prior; with none at all it is the plain
robust sum of squares.
"""

from dataclasses import dataclass, replace
from math import inf

import numpy as np

from regressors.fitting.transforms import Inputs, Space
from regressors.law import Array, Law

TINY = 1e-12
FIRST_NOISE = 0.2  # share of the spread; high, so that the first descent stays near the priors


@dataclass(frozen=True)
class Criterion:
    """How residuals count.

    huber: residuals beyond so many noise levels count linearly; inf for least squares. log: residuals are of ln loss.
    noise: a fixed level (nats/token, or of ln loss); None: estimated from the rows. The published sums of
    Huber(d) on log loss are huber=1, noise=d, times d^2; least absolute deviation is their limit at small d.
    """

    huber: float = 2.0
    log: bool = False
    noise: float | None = None

    @property
    def unit(self) -> float:
        """What an objective is multiplied by to be a sum of Huber losses with knee `noise`; 1 where that is fitted."""
        return 1.0 if self.noise is None else self.noise**2


@dataclass(frozen=True)
class Rows:
    """What is fitted: inputs as the law takes them; y and weight (n_targets, n_runs), weight 0 where a loss is
    missing."""

    inputs: Inputs
    y: Array
    weight: Array

    @property
    def runs(self) -> int:
        return self.y.shape[1]


class Posterior:
    """The objective of every target, its slope and its Gauss-Newton model, at one noise level a target.

    scatter: (n_targets, n_runs), a run's own noise level over its target's; 1 unless runs have levels of their own.
    """

    def __init__(self, law: Law, rows: Rows, space: Space, criterion: Criterion, *, spread: Array):
        self.law, self.space, self.criterion, self.spread = law, space, criterion, spread
        self.rows = replace(rows, y=np.log(rows.y)) if criterion.log else rows
        fixed = criterion.noise
        self.noise = FIRST_NOISE * spread if fixed is None else np.full(len(spread), float(fixed))
        self.scatter = np.ones(rows.y.shape)

    def resampled(self, counts: Array) -> "Posterior":
        """The same targets with weights multiplied by counts (n_draws, n_runs): (n_targets * n_draws) targets, the
        draws of one side by side."""
        out = object.__new__(Posterior)
        out.__dict__.update(self.__dict__)
        draws = len(counts)
        weight = (self.rows.weight[:, None, :] * counts[None]).reshape(-1, self.rows.runs)
        out.rows = replace(self.rows, y=np.repeat(self.rows.y, draws, axis=0), weight=weight)
        out.space = self.space.repeat(draws)
        out.noise, out.spread = np.repeat(self.noise, draws), np.repeat(self.spread, draws)
        out.scatter = np.repeat(self.scatter, draws, axis=0)
        return out

    def level(self, target: Array) -> Array:
        """Noise of every run, (batch, n_runs)."""
        return self.noise[target, None] * self.scatter[target]

    def objective(self, z: Array, target: Array) -> Array:
        """(batch,), inf where a step has left the numbers that a float can hold."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss = self.law.formula(*self.rows.inputs, **self.space.values(z, target))
            return self._total(z, target, self._residual(loss, target))

    def slope(self, z: Array, target: Array) -> tuple[Array, Array]:
        """The objective (batch,) and its gradient by z (batch, n_params)."""
        residual, jacobian = self.linearised(z, target)
        knee = self.criterion.huber
        pull = self.rows.weight[target] * np.clip(residual, -knee, knee) / self.level(target)
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = self.space.precision[target] * z - np.matmul(pull[:, None, :], jacobian)[:, 0]
            return self._total(z, target, residual), gradient

    def model(self, z: Array, target: Array) -> tuple[Array, Array, Array]:
        """Downhill direction (batch, p), curvature (batch, p, p), weighted squared residuals times noise^2 (batch,)."""
        residual, jacobian = self.linearised(z, target)
        weight = self.rows.weight[target] * np.minimum(1, self.criterion.huber / np.maximum(np.abs(residual), TINY))
        jacobian *= (np.sqrt(weight) / self.level(target))[..., None]
        precision = self.space.precision[target]
        with np.errstate(over="ignore", invalid="ignore"):
            downhill = np.matmul((np.sqrt(weight) * residual)[:, None, :], jacobian)[:, 0] - precision * z
            curvature = np.matmul(jacobian.transpose(0, 2, 1), jacobian)
            curvature[:, np.arange(self.space.size), np.arange(self.space.size)] += precision
            return downhill, curvature, (weight * residual**2).sum(axis=-1) * self.noise[target] ** 2

    def _residual(self, loss: Array, target: Array) -> Array:
        return (self.rows.y[target] - (np.log(loss) if self.criterion.log else loss)) / self.level(target)

    def _total(self, z: Array, target: Array, residual: Array) -> Array:
        size = np.abs(residual)
        square = np.minimum(size, self.criterion.huber)  # the part that counts squared
        total = (self.rows.weight[target] * square * (size - 0.5 * square)).sum(axis=-1)
        total = total + 0.5 * (self.space.precision[target] * z**2).sum(axis=-1)
        return np.where(np.isfinite(total), total, inf)

    def linearised(self, z: Array, target: Array) -> tuple[Array, Array]:
        """Residuals in noise levels (batch, n_runs), and d fitted / d z (batch, n_runs, n_params)."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss, jacobian = self.space.jacobian(self.rows.inputs, z, target)
            if self.criterion.log:
                jacobian /= loss[..., None]
            return self._residual(loss, target), jacobian
