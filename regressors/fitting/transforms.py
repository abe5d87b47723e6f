"""Reparameterisation: a law's natural parameters, and unconstrained ones in units of their priors."""

from collections.abc import Callable, Sequence

import numpy as np

from regressors.law import Array, Law, Param, Scale

Inputs = Sequence[Array]  # a law's inputs, in its order


class Space:
    """Between a law's natural parameters and z, (..., n_params), standard normal a priori.

    A parameter whose prior says nothing moves in units of 1 and has precision 0, the others have precision 1.
    """

    def __init__(self, law: Law, scale: Scale):
        self.law, self.scale = law, scale
        self.slices: dict[str, slice] = {}
        centres, sds = [], []
        targets = len(scale.mean)
        start = 0
        for param in law.params:
            size = int(np.prod(param.shape(scale.domains)))
            self.slices[param.name] = slice(start, start + size)
            start += size
            for into, number in ((centres, param.prior.centre), (sds, param.prior.sd)):
                value = number(scale) if callable(number) else np.full(targets, number)
                into.append(np.repeat(np.asarray(value, dtype=float)[:, None], size, axis=1))
        self.domains = scale.domains
        self.size = start
        self.centre = np.concatenate(centres, axis=1)
        sd = np.concatenate(sds, axis=1)
        self.precision = np.isfinite(sd).astype(float)  # (n_targets, n_params)
        self.sd = np.where(np.isfinite(sd), sd, 1.0)

    def repeat(self, times: int) -> "Space":
        """The same space for `times` copies of each target, one target's copies side by side."""
        out = object.__new__(Space)
        out.__dict__.update(self.__dict__)
        for name in ("centre", "sd", "precision"):
            setattr(out, name, np.repeat(getattr(self, name), times, axis=0))
        return out

    def values(self, z: Array, target: Array) -> dict[str, Array]:
        """Natural parameters at z (batch, n_params); target (batch,) says whose prior z is measured in."""
        free = self.centre[target] + self.sd[target] * z
        out = {}
        for param in self.law.params:
            part = free[:, self.slices[param.name]]
            out[param.name] = natural(param, part).reshape(len(z), *param.shape(self.domains))
        return out

    def z_of(self, values: dict[str, Array], target: Array) -> Array:
        """The z, (batch, n_params), of natural parameters (batch, *own axes) strictly inside their bounds."""
        out = np.empty((len(target), self.size))
        for param in self.law.params:
            value = np.asarray(values[param.name]).reshape(len(target), -1)
            out[:, self.slices[param.name]] = unconstrained(param, value)
        return (out - self.centre[target]) / self.sd[target]

    def jacobian(self, inputs: Inputs, z: Array, target: Array) -> tuple[Array, Array]:
        """Loss (batch, n_runs) and its derivative by z (batch, n_runs, n_params)."""
        values = self.values(z, target)
        loss, by_name = (self.law.jacobian or complex_step(self.law.formula))(*inputs, **values)
        out = np.empty((*loss.shape, self.size))
        for param in self.law.params:
            where = self.slices[param.name]
            slope = self.sd[target][:, where] * steepness(param, values[param.name].reshape(len(z), -1))
            np.multiply(by_name[param.name].reshape(*loss.shape, -1), slope[:, None, :], out=out[..., where])
        return loss, out


def natural(param: Param, free: Array) -> Array:
    """A parameter's value at its unconstrained one."""
    if param.low is None:
        return free
    if param.high is None:
        return param.low + np.exp(free)
    return param.low + (param.high - param.low) / (1 + np.exp(-free))


def unconstrained(param: Param, value: Array) -> Array:
    """`natural` backwards."""
    if param.low is None:
        return value
    if param.high is None:
        return np.log(value - param.low)
    return np.log((value - param.low) / (param.high - value))


def steepness(param: Param, value: Array) -> Array:
    """d value / d unconstrained."""
    if param.low is None:
        return np.ones_like(value)
    if param.high is None:
        return value - param.low
    return (value - param.low) * (param.high - value) / (param.high - param.low)


def complex_step(formula: Callable[..., Array]) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """The derivatives of an analytic formula, exact to rounding: Im f(x + ih) / h has no cancellation."""
    step = 1e-30

    def jacobian(*inputs: Array, **values: Array) -> tuple[Array, dict[str, Array]]:
        loss = formula(*inputs, **values)
        out = {}
        for name, value in values.items():
            own = value.shape[loss.ndim - 1 :]
            slopes = np.empty((*loss.shape, int(np.prod(own))))
            for k in range(slopes.shape[-1]):
                moved = value.astype(complex)
                moved.reshape(*value.shape[: loss.ndim - 1], -1)[..., k] += 1j * step
                slopes[..., k] = np.imag(formula(*inputs, **{**values, name: moved})) / step
            out[name] = slopes.reshape(*loss.shape, *own)
        return loss, out

    return jacobian
