"""Results of a fit over scales, as its JSON file holds them: law scores, exponents, predicted mixtures."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from mixopt.search.certificate import Certificate
from mixopt.serialization import Record

HULL_TOLERANCE = 1e-3  # a share of tokens: the rounding of printed weights is not outside the trained mixtures


class Scale(Record):
    """Model parameters and training tokens, or times as many."""

    params: float
    tokens: float


class RollingOrigin(Record):
    """A split by size or by tokens: rows fitted and predicted, the largest count on each side, and their ratio."""

    kind: str  # "size" or "tokens"
    fitted: int
    predicted: int
    up_to: float
    then: float
    beyond: float


class OriginScore(Record):
    """A law's errors on one origin: relative errors of the target loss, as shares; None where nothing is known."""

    error: float | None
    bias: float | None
    spearman: float | None


class LawScore(OriginScore):
    """A law's errors, means over origins: of all, and of those by size and by tokens."""

    law: str
    error_size: float | None
    error_tokens: float | None
    origins: list[OriginScore]


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
    """Shares by domain, the predicted target loss with its range, nats/token, and the distance to what was trained."""

    weights: dict[str, float]
    loss: float
    low: float | None
    high: float | None
    outside: float


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
    epochs: of the best mixture over each domain's pool; None: no limit.
    """

    mixtures: dict[str, PredictedMixture]
    best_measured_run: MeasuredRun | None
    differs: dict[str, float]
    beyond: Scale
    search: SearchResult
    epochs: dict[str, float | None]


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

    warning_codes: those of the warnings, in their order.
    """

    judged: LawScores
    exponents: list[ExponentEstimate]
    priors: list[PriorStrength]
    best: BestMixture
    size: SizeChoice | None
    repetition: KnownRepetition | None
    warnings: list[str]
    warning_codes: list[str] = field(default_factory=list)
