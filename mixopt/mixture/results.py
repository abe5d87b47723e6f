"""Results of a mixture study as records: predictor selection, recommendation, verification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Self

from mixopt.formatting import counted, known, listed, signed
from mixopt.report.document import Warning, with_codes
from mixopt.runs.objective import TARGET
from mixopt.search.certificate import Certificate
from mixopt.search.shadow_prices import ShadowPrices
from mixopt.serialization import Json, Record, nan_to_null

Number = int | float | None  # None: not known


class Lenient(Record):
    """A record of a file that an older mixopt may have written: what is missing or null has its default."""

    @classmethod
    def from_json(cls, value: Json) -> Self:
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        return super().from_json({key: inner for key, inner in value.items() if inner is not None})

    def to_json(self) -> Json:
        return nan_to_null(super().to_json())


# fits/selection.json


class HeldOutScores(Record):
    """Scores of held-out predictions, nats/token; None where there are too few mixtures.

    rmse_se: the standard error of rmse. regret, regret5: given up by training the one mixture predicted best, or the
    best five. coverage80: the share of runs inside intervals of 80%.
    """

    spearman: Number = None
    rmse: Number = None
    rmse_se: Number = None
    regret: Number = None
    regret5: Number = None
    coverage80: Number = None


class Score(HeldOutScores):
    """Of one predictor on one loss. seconds: of one fit to all losses."""

    predictor: str = ""
    target: str = TARGET
    seconds: Number = None


class NestedScore(HeldOutScores):
    """What choosing by the same rule scores on folds that take no part in the choice. chosen: folds by predictor."""

    chosen: dict[str, int] = field(default_factory=dict)


class HeldOutRuns(Record):
    """Losses of the judged runs, nats/token: measured by loss, and held-out predictions by predictor and loss."""

    run_id: list[str] = field(default_factory=list)
    role: list[str] = field(default_factory=list)
    measured: dict[str, list[Number]] = field(default_factory=dict)
    predicted: dict[str, dict[str, list[Number]]] = field(default_factory=dict)


class Noise(Record):
    """Standard deviation between runs of one mixture (sd) and between mixtures (signal_sd) of one loss, nats/token."""

    target: str
    sd: Number = None
    signal_sd: Number = None
    signal_to_noise: Number = None
    repeats: Number = None


class LeftOut(Record):
    run_id: str
    reason: str


class RStar(Record):
    """R* on one validation set. low, high: None where open. identified: whether the runs say more than the prior."""

    value: Number = None
    low: Number = None
    high: Number = None
    identified: bool | None = None


class RStarEvidence(Record):
    level: float
    prior: dict[str, float]
    by_text: dict[str, RStar]


class HeldOutErrors(Record):
    """Held-out errors, nats/token, of a predictor that sees repetition and of one that doesn't."""

    with_: Number = None
    without: Number = None


class RepetitionEvidence(Record):
    """Whether seeing repetition predicts held-out runs of other pools better; None: not judged.

    aware, plain: the predictor that sees repetition and the one that doesn't. runs: how many were judged on.
    """

    aware: str | None = None
    plain: str | None = None
    runs: Number = None
    with_: Number = None
    without: Number = None
    earned: bool | None = None
    why: str | None = None
    by_text: dict[str, HeldOutErrors] = field(default_factory=dict)
    r_star: RStarEvidence | None = None


class Selection(Lenient):
    """Scores of all predictors, the chosen one, held-out predictions and noise."""

    folds: Number = None
    mixtures: Number = None
    runs: Number = None
    chosen: str = ""
    why: str = ""
    floor: Number = None  # noise of the target, nats/token
    nested: NestedScore | None = None  # None: there was nothing to choose from
    scores: list[Score] = field(default_factory=list)
    held_out: HeldOutRuns = field(default_factory=HeldOutRuns)
    noise: list[Noise] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repetition: RepetitionEvidence | None = None

    def noise_of(self, target: str = TARGET) -> Noise:
        return next((row for row in self.noise if row.target == target), Noise(target))


# recommendation.json


MAX_RISE = 0.1  # of a validation set's loss over that of the natural mixture, beyond which it is a warning
MAX_NAMED = 5  # validation sets in a warning


class Objective(Record):
    weights: dict[str, float] = field(default_factory=dict)  # by validation set
    unit: str = "nats/token"


class Scale(Record):
    """Non-embedding parameters and training tokens of a run."""

    params: Number = None
    tokens: Number = None


class Domain(Record):
    """A domain's share in each mixture, and its tokens and epochs in the full run under the recommended one.

    pool: unique tokens of the full run; min, max: limits of its share.
    """

    domain: str
    recommended: Number = None
    natural: Number = None
    uniform: Number = None
    smallest_rung: Number = None
    best_measured: Number = None
    tokens: Number = None
    epochs: Number = None
    pool: Number = None
    min: Number = None
    max: Number = None


class Prediction(Record):
    """Predicted objective of one mixture, nats/token, and the interval that a run of it should fall in."""

    loss: Number = None
    low: Number = None
    high: Number = None

    @property
    def bounded(self) -> bool:
        return known(self.low) and known(self.high)


class MeasuredPrediction(Prediction):
    measured: Number = None
    run_id: str = "unnamed"


class Predictions(Record):
    """None: the mixture is not known."""

    recommended: Prediction | None = None
    natural: Prediction | None = None
    uniform: Prediction | None = None
    best_measured: MeasuredPrediction | None = None

    def of(self, mixture: str) -> Prediction:
        return getattr(self, mixture, None) or Prediction()


class Gain(Record):
    """How much lower the recommended mixture's loss is predicted than that of the mixture `over`, nats/token."""

    over: str = ""
    loss: Number = None
    low: Number = None
    high: Number = None


class FullPrediction(Prediction):
    """Predicted objective of one mixture in the full run, and its range over what the runs don't decide.

    checked: whether ranges at this distance held what they should of held-out runs: only then it is an interval.
    bits_per_byte: the objective by the proxies' tokenizer.
    """

    bits_per_byte: Number = None
    checked: bool = False


class FullPredictions(Record):
    """By mixture; smallest_rung: the one that proxies of the smallest size alone would have recommended."""

    recommended: FullPrediction | None = None
    natural: FullPrediction | None = None
    uniform: FullPrediction | None = None
    smallest_rung: FullPrediction | None = None

    def of(self, mixture: str) -> FullPrediction:
        return getattr(self, mixture, None) or FullPrediction()


class RungBest(Scale):
    """One size of proxies at its most tokens: how many runs, and the best mixture there."""

    runs: int = 0
    best: dict[str, float] = field(default_factory=dict)


class HeldOutRung(Scale):
    """The largest rung predicted from the smaller ones: `beyond` times their parameters and tokens.

    error: mean relative error over runs and validation sets; target_error: of the objective; difference_error: mean
    error of differences between two runs, nats/token; inside: the share of losses in their 80% ranges before
    they were widened; widening, gain_widening: factors on the ranges of losses and gains that the errors ask for.
    """

    beyond: Scale = field(default_factory=Scale)
    runs: int = 0
    error: Number = None
    target_error: Number = None
    difference_error: Number = None
    inside: Number = None
    widening: float = 1.0
    gain_widening: float = 1.0


class FullRun(Scale):
    """The full run, and what a ladder of proxies predicts of it; predicted is None without one.

    gains: how much lower the recommended mixture's loss is than each other's. beyond: times the largest rung.
    """

    predicted: FullPredictions | None = None
    gains: dict[str, Gain] = field(default_factory=dict)
    beyond: Scale | None = None
    held_out: HeldOutRung | None = None
    rungs: list[RungBest] = field(default_factory=list)


class Interval(Record):
    level: Number = None
    method: str = ""


class ExpectedOptimism(Record):
    """How much higher than predicted the recommended mixture's loss is to be expected, nats/token."""

    loss: Number = None
    standard_error: Number = None
    method: str = ""


class NearestRun(Record):
    run_id: str = "unnamed"
    distance: Number = None  # total variation


class SearchResult(Record):
    """How the mixture was found; losses in nats/token."""

    sampler: str = ""
    trials: Number = None
    seeded: Number = None
    found: Number = None
    polished: Number = None
    polish_gain: Number = None
    agreeing_starts: Number = None
    starts: Number = None
    inside_hull: bool | None = None
    nearest_run: NearestRun | None = None
    certificate: Certificate | None = None


class Effect(Record):
    """Predicted objective, nats/token, over one domain's share, the others in proportion."""

    weight: list[Number] = field(default_factory=list)
    loss: list[Number] = field(default_factory=list)


class Recommendation(Lenient):
    """The best mixture, what it is predicted to give, how sure that is, and what limits it."""

    mixopt: str = ""
    study: str = "study"
    seed: int | None = None
    target: Objective = field(default_factory=Objective)
    full: FullRun = field(default_factory=FullRun)
    proxy: Scale = field(default_factory=Scale)
    predictor: str = ""
    domains: list[Domain] = field(default_factory=list)
    predicted: Predictions = field(default_factory=Predictions)
    gain: Gain = field(default_factory=Gain)
    by_text: dict[str, dict[str, Number]] = field(default_factory=dict)  # predicted loss by validation set and mixture
    interval: Interval = field(default_factory=Interval)
    optimism: ExpectedOptimism = field(default_factory=ExpectedOptimism)
    search: SearchResult | None = None
    shadow_prices: ShadowPrices | None = None
    effects: dict[str, Effect] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    warning_codes: list[str] = field(default_factory=list)  # in the same order
    stamp: str = ""  # the cache key

    @property
    def limitations(self) -> list[Warning]:
        """What the answer costs on single validation sets first: it follows from `by_text`, and isn't stored."""
        return [*self._much_worse(), *with_codes(self.warnings, self.warning_codes)]

    def _much_worse(self) -> Iterator[Warning]:
        other = "natural" if self.predicted.natural else "uniform"
        rises: list[tuple[float, str]] = []
        for text, row in self.by_text.items():
            ours, theirs = row.get("recommended"), row.get(other)
            if known(ours) and known(theirs) and ours > (1 + MAX_RISE) * theirs:
                rise = ours / theirs - 1
                rises.append((rise, f"{text} {signed(ours - theirs, 2)} nats/token ({rise:.0%})"))
        if rises:
            named = [text for _, text in sorted(rises, reverse=True)]
            if len(named) > MAX_NAMED:
                named[MAX_NAMED:] = [f"{len(named) - MAX_NAMED} more"]
            yield Warning(
                "much-worse",
                f"The loss on {counted(len(rises), 'validation set')} is predicted more than {MAX_RISE:.0%} above the "
                f"{other} mixture's: {listed(named)}. If these matter, add them to the target.",
            )

    @property
    def ranked(self) -> list[Domain]:
        """Domains, the largest recommended share first."""
        return sorted(self.domains, key=lambda row: (-(row.recommended or 0.0), row.domain))

    def shares(self, mixture: str) -> dict[str, float]:
        """By domain, of "recommended", "natural", "uniform" or "best_measured"."""
        return {row.domain: value for row in self.ranked if known(value := getattr(row, mixture))}


# verify.json


class PairedGain(Record):
    """Mean over pairs of runs of one seed, and its standard error, nats/token."""

    mean: float
    standard_error: float


class VerifiedSize(Record):
    """Measured objective, nats/token, of every run by group (recommended, natural, uniform), at one size.

    gains: how much lower the recommended mixture's is than the other's; None where too few runs finished. predicted: by
    the law of the ladder, for a size above its largest rung.
    """

    params: Number = None
    tokens: Number = None
    params_scale: Number = None
    arms: dict[str, list[Number]] = field(default_factory=dict)
    gains: dict[str, PairedGain | None] = field(default_factory=dict)
    predicted: FullRun | None = None


class Verification(Lenient):
    """conclusions: a sentence for each of sizes. of: the stamp of the recommendation that was trained."""

    target: dict[str, float] = field(default_factory=dict)
    sizes: list[VerifiedSize] = field(default_factory=list)
    conclusions: list[str] = field(default_factory=list)
    of: str = ""
