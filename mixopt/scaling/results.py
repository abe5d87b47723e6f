"""Results of a fit over scales, as its JSON file holds them: law scores, exponents, predicted mixtures."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from mixopt.runs.extrapolation import FittedScales, Interval
from mixopt.runs.extrapolation import Scale as Scale
from mixopt.search.certificate import Certificate
from mixopt.serialization import Record

HULL_TOLERANCE = 1e-3  # a share of tokens: the rounding of printed weights is not outside the trained mixtures


class RollingOrigin(Record):
    """A split by size, by tokens or by both at once: rows fitted and predicted, the largest count on each side (of
    parameters, or of tokens where these alone grow), and their ratio. sizes: how many were fitted."""

    kind: str  # "size", "tokens" or "both"
    fitted: int
    predicted: int
    up_to: float
    then: float
    beyond: float
    sizes: int = 1


class OriginScore(Record):
    """A law's errors on one origin: relative errors of the target loss, as shares; None where nothing is known."""

    error: float | None
    bias: float | None
    spearman: float | None


class LawScore(OriginScore):
    """A law's errors, means over origins: of all, and of those by size, by tokens and by both."""

    law: str
    error_size: float | None
    error_tokens: float | None
    origins: list[OriginScore]
    error_both: float | None = None


class LawScores(Record):
    """Every law's scores, best first, and the choice. spread: relative errors that `spread_level` of all lie within."""

    laws: list[LawScore]
    origins: list[RollingOrigin]
    chosen: str
    why: str
    spread: float | None
    spread_level: float


class ExponentEstimate(Record):
    """An exponent of parameters (alpha) or tokens (beta). narrowed_to: its standard error over the prior's; 1: the runs
    say nothing of it. from_: what decided it, in words."""

    name: str
    value: float
    standard_error: float
    prior: float | None
    prior_standard_error: float | None
    narrowed_to: float | None
    from_: str


class PriorStrength(Record):
    """How strong the priors of exponents are by kind of origin, and the held-out errors by strength that decided it."""

    kind: str  # "size" or "tokens"
    strength: float
    tried: dict[str, float | None]


class PredictedMixture(Record):
    """Shares by domain, the predicted target loss with its interval, nats/token, and the distance to what was trained.

    checked: as in `Interval`.
    """

    weights: dict[str, float]
    loss: float
    low: float | None
    high: float | None
    outside: float
    checked: bool = False


class MeasuredRun(Record):
    run_id: str
    loss: float


class SearchResult(Record):
    """How the best mixture was found."""

    trials: int
    agreeing_starts: int
    starts: int
    certificate: Certificate


class BestMixture(Record):
    """The best mixture at the scale asked for ("best"), beside others by name.

    differs: total variation between the best mixture and each other one. beyond: times the largest trained scale.
    epochs: of the best mixture over each domain's pool; None: no limit. gains: each other one's loss less the best's.
    """

    mixtures: dict[str, PredictedMixture]
    best_measured_run: MeasuredRun | None
    differs: dict[str, float]
    beyond: Scale
    search: SearchResult
    epochs: dict[str, float | None]
    gains: dict[str, Interval] = field(default_factory=dict)


class SizeChoice(Record):
    """Which size a compute budget is best spent on: sizes between `as_good` are within `level`, a share of the loss.

    at_edge: whether the best is the smallest or the largest size that was tried.
    """

    compute: float
    at_edge: bool
    level: float
    as_good: list[float]


class KnownRepetition(Record):
    """R* by validation set, where it is from, and the most epochs over each domain in any run (None: all of 1)."""

    r_star: dict[str, float]
    from_: Literal["runs", "published"]
    most: dict[str, float] | None


class ScaleEvidence(Record):
    """What is known of a fit over scales, and of the best mixture. size, repetition: None where they play no part.

    warning_codes: those of the warnings, in their order. fitted: None where no row has all losses that count.
    """

    judged: LawScores
    exponents: list[ExponentEstimate]
    priors: list[PriorStrength]
    best: BestMixture
    size: SizeChoice | None
    repetition: KnownRepetition | None
    warnings: list[str]
    warning_codes: list[str] = field(default_factory=list)
    fitted: FittedScales | None = None
