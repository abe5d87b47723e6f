"""Laws as data: a pure formula, its parameters, its source, and where it departs from the source.

A law says nothing about how it is fitted; `regressors.fitting` fits every law alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
Values = Mapping[str, Array]


@dataclass(frozen=True)
class Scale:
    """What a prior may know of the data: orders of magnitude, (n_targets,) each but for the count of domains."""

    domains: int
    low: Array  # lowest loss of a finished run, nats/token, kept positive
    mean: Array  # mean loss, nats/token
    spread: Array  # standard deviation of the loss across runs, nats/token, kept positive


@dataclass(frozen=True)
class Prior:
    """A normal prior on the unconstrained scale: on ln(value - low) where a parameter has a lower bound, on the logit
    of its place between the bounds where it has two.

    An sd of inf says nothing: the centre is then only where a descent starts.
    """

    centre: float | Callable[[Scale], Array]
    sd: float | Callable[[Scale], Array]


@dataclass(frozen=True)
class Param:
    """One parameter of a law: a number, a row over domains, or (copies, domains) where the law has several rows."""

    name: str
    unit: str
    prior: Prior
    per_domain: bool = False
    low: float | None = None  # None: any real number; else value = low + exp(unconstrained)
    high: float | None = None  # with low: value = low + (high - low) / (1 + exp(-unconstrained))
    copies: int | None = None  # None: no such axis
    amplitude: bool = False  # the loss is linear in all amplitudes together, none below 0
    grid: tuple[float, float] | None = None  # range over which starts of a shape parameter are laid, in logs

    def shape(self, domains: int) -> tuple[int, ...]:
        """The parameter's own axes."""
        rows = () if self.copies is None else (self.copies,)
        return (*rows, domains) if self.per_domain else rows


@dataclass(frozen=True)
class Law:
    """Loss as a function of what a run was: its mixture, its size, its tokens.

    inputs: what the formula takes, in order. "w" is (n_runs, n_domains) shares; every other input is a number a run,
    (n_runs,), that the fit gives in units of its geometric mean over the fitted runs, so that amplitudes are nats/token
    at a typical run.
    units: inputs measured otherwise: name -> a number that they are divided by, 1 for as they are (which may have
    further axes), or the name of an input whose unit they share.
    formula(*inputs, **values): each value has any leading axes before its own; returns the leading axes with n_runs
    last, nats/token. It is written with analytic functions only, so that it takes complex numbers: derivatives come
    from the complex step, exact to rounding.
    jacobian(*inputs, **values) -> (loss, {name: d loss / d value, (..., n_runs, *own axes)}): optional, the same
    derivatives by hand, for speed. A test compares it with the complex step.
    published(values, units): optional, the values as the source writes them, for inputs that aren't in units.
    starts_from: optional, a law of the same inputs whose grid gives the starts, and its values in terms of this one's,
    each (...): for a law that isn't linear in its amplitudes.
    """

    name: str
    formula: Callable[..., Array]
    params: tuple[Param, ...]
    source: str
    departs: str
    jacobian: Callable[..., tuple[Array, dict[str, Array]]] | None = None
    inputs: tuple[str, ...] = ("w",)
    published: Callable[[Values, Mapping[str, float]], dict[str, Array]] | None = None
    units: Mapping[str, float | str] = field(default_factory=dict)
    starts_from: tuple["Law", Callable[[Values], dict[str, Array]]] | None = None
