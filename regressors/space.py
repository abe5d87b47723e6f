"""Between a law's natural parameters and the ones that the engine moves: unconstrained, in units of their priors."""

from collections.abc import Callable

import numpy as np

from regressors.law import Array, Law, Scale


class Space:
    """Between a law's natural parameters and z, (..., n_params), standard normal a priori."""

    def __init__(self, law: Law, scale: Scale):
        self.law = law
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
        self.sd = np.concatenate(sds, axis=1)

    def values(self, z: Array, target: Array) -> dict[str, Array]:
        """Natural parameters at z (batch, n_params); target (batch,) says whose prior z is measured in."""
        free = self.centre[target] + self.sd[target] * z
        out = {}
        for param in self.law.params:
            part = free[:, self.slices[param.name]]
            value = part if param.low is None else param.low + np.exp(part)
            out[param.name] = value.reshape(len(z), *param.shape(self.domains))
        return out

    def jacobian(self, w: Array, z: Array, target: Array) -> tuple[Array, Array]:
        """Loss (batch, n_runs) and its derivative by z (batch, n_runs, n_params)."""
        values = self.values(z, target)
        loss, by_name = (self.law.jacobian or complex_step(self.law.formula))(w, **values)
        out = np.empty((*loss.shape, self.size))
        for param in self.law.params:
            where = self.slices[param.name]
            slope = self.sd[target][:, where]
            if param.low is not None:
                slope = slope * (values[param.name].reshape(len(z), -1) - param.low)
            np.multiply(by_name[param.name].reshape(*loss.shape, -1), slope[:, None, :], out=out[..., where])
        return loss, out


def complex_step(formula: Callable[..., Array]) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """The derivatives of an analytic formula, exact to rounding: Im f(x + ih) / h has no cancellation."""
    step = 1e-30

    def jacobian(w: Array, **values: Array) -> tuple[Array, dict[str, Array]]:
        loss = formula(w, **values)
        out = {}
        for name, value in values.items():
            own = value.shape[loss.ndim - 1 :]
            slopes = np.empty((*loss.shape, int(np.prod(own))))
            for k in range(slopes.shape[-1]):
                moved = value.astype(complex)
                moved.reshape(*value.shape[: loss.ndim - 1], -1)[..., k] += 1j * step
                slopes[..., k] = np.imag(formula(w, **{**values, name: moved})) / step
            out[name] = slopes.reshape(*loss.shape, *own)
        return loss, out

    return jacobian
