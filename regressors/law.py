"""What a law is: a pure formula, its parameters, its source, and where it departs from the source.

A law says nothing about how it is fitted; `regressors.fit` fits every law with one engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
    """A normal prior on the unconstrained scale: on ln(value - low) where a parameter has a lower bound."""

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
    copies: int | None = None  # None: no such axis

    def shape(self, domains: int) -> tuple[int, ...]:
        """The parameter's own axes."""
        rows = () if self.copies is None else (self.copies,)
        return (*rows, domains) if self.per_domain else rows


@dataclass(frozen=True)
class Law:
    """Loss as a function of the mixture.

    formula(w, **values): w (n_runs, n_domains) shares; each value has any leading axes before its own; returns
    the leading axes with n_runs last, nats/token. It is written with analytic functions only, so that it takes
    complex numbers: derivatives come from the complex step, exact to rounding.
    jacobian(w, **values) -> (loss, {name: d loss / d value, (..., n_runs, *own axes)}): optional, the same
    derivatives by hand, for speed. A test compares it with the complex step.
    """

    name: str
    formula: Callable[..., Array]
    params: tuple[Param, ...]
    source: str
    departs: str
    jacobian: Callable[..., tuple[Array, dict[str, Array]]] | None = None
