"""Loss surfaces over parameters, tokens and unique tokens, and their slopes. Training is counted as 6 N D FLOPs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from mixopt.runs.extrapolation import FittedScales
from mixopt.serialization import Json, Record

Array = np.ndarray
# (params, tokens, unique) -> nats/token, in their common shape; takes complex numbers, which give exact slopes
Loss = Callable[[Any, Any, Any], Any]

TRAINING, INFERENCE = 6.0, 2.0  # FLOPs a parameter and token
UNLIMITED = 1e30  # unique tokens that no run can repeat; finite, for estimators that refuse infinity
TINY = 1e-20  # step of complex derivatives, in logs: its square is lost in rounding


@dataclass(frozen=True)
class Surface:
    """One form of the answer: a loss, where it comes from, and what the evidence can't tell from it.

    members: the same form with other constants; how far their answers lie apart is its interval.
    allowed: what the members are, in words.
    level: None when all members are as good as the form itself, else the share of members that an interval holds.
    within: the lowest and the highest `params`, `tokens` and `epochs` that the form was fitted to.
    """

    name: str
    loss: Loss
    source: str
    note: str = ""
    members: tuple[Loss, ...] = ()
    allowed: str = ""
    level: float | None = None
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    made: str = "published"  # "published", "refitted" or "runs": whose constants these are
    influence: tuple[Loss, str] | None = None  # the form fitted without the few runs farthest from it; what they are
    fitted: FittedScales | None = None  # of forms fitted to runs: what intervals of the loss go by

    def at(self, loss: Loss) -> "Surface":
        """The same form with a member's constants."""
        return Surface(self.name, loss, self.source)


@dataclass(frozen=True)
class Run:
    """A planned run. inside: whether the optimum lies inside what was searched, not at its end."""

    params: float
    tokens: float
    unique: float
    loss: float
    inside: bool = True

    @property
    def epochs(self) -> float:
        return self.tokens / self.unique

    @property
    def compute(self) -> float:
        """FLOPs of training."""
        return TRAINING * self.params * self.tokens


Interval = list[float] | None  # its ends; None: nothing is uncertain, or nothing is known
Intervals = dict[str, Interval]


class PlannedRun(Record):
    """A run as a plan's JSON holds it. repeats: whether a token is seen twice. unique, epochs: None without a limit."""

    params: float
    tokens: float
    unique: float | None
    epochs: float | None
    compute: float
    loss: float
    repeats: bool
    inside: bool

    @classmethod
    def of(cls, run: Run, **more: Any) -> Self:
        """more: the fields that a subclass adds."""
        limited = run.unique != UNLIMITED
        facts: Json = vars(run) | {"epochs": run.epochs, "repeats": limited and run.epochs > 1} | more
        if not limited:
            facts |= {"unique": None, "epochs": None}
        return cls(compute=run.compute, **facts)


def losses(surface: Surface, params: Any, tokens: Any, unique: Any) -> Array:
    """Nats/token, in the common shape of the counts; inf where the form gives no number."""
    with np.errstate(all="ignore"):
        found = np.asarray(surface.loss(params, tokens, unique), dtype=float)
    return np.where(np.isfinite(found), found, np.inf)


def run_at(surface: Surface, params: float, tokens: float, unique: float, *, inside: bool = True) -> Run:
    return Run(params, tokens, unique, float(losses(surface, params, tokens, unique)), inside)


def slope(surface: Surface, params: Any, tokens: Any, unique: Any, along: tuple[float, float, float]) -> Array:
    """d loss where ln params, ln tokens and ln unique move at these rates, in the common shape of the counts.

    Exact to rounding, by a complex step.
    """
    counts = np.broadcast_arrays(*(np.asarray(count, dtype=float) for count in (params, tokens, unique)))
    moved = [count * (1 + 1j * TINY * rate) for count, rate in zip(counts, along, strict=True)]
    with np.errstate(all="ignore"):
        return np.imag(surface.loss(*moved)) / TINY


BIGGER = (1.0, 0.0, 0.0)
LONGER = (0.0, 1.0, 0.0)  # more tokens of the same text
