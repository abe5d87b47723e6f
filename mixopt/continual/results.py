"""Records of a plan of continued pretraining, its evidence and its measured check, with the keys of their JSON."""

from dataclasses import field

from mixopt.report.document import Warning, with_codes
from mixopt.serialization import Record

LOSSES = ("domain", "general")
Ends = tuple[float, float]
MaybeEnds = tuple[float | None, float | None]

# Losses are nats/token; shares are the domain's, of training tokens; None is unknown.


class Interval(Record):
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> MaybeEnds:
        return self.low, self.high


class Intervals(Record):
    domain: Interval
    general: Interval
    rise: Interval


class Optimum(Record):
    """Intervals of what each draw by itself would choose. none_in: the share of draws that allow nothing."""

    none_in: float
    share_ends: MaybeEnds
    params_ends: MaybeEnds
    tokens_ends: MaybeEnds


class Run(Record):
    """One continuation with its predicted losses.

    passes: epochs over the domain's tokens, None where they are unlimited. rise: of the general loss, a share of its
    start, the loss before continuing. outside: of what was trained.
    """

    params: float | None
    tokens: float | None
    share: float
    general_share: float
    passes: float | None
    domain: float
    general: float
    rise: float
    start: float
    outside: bool


class Choice(Run):
    """A run that could be chosen, with intervals of its losses."""

    ends: Intervals
    chosen: Optimum | None = None


class BestOfSize(Record):
    params: float
    tokens: float
    best: Run | None  # None: no share keeps the tolerance


class Search(Record):
    """Optuna's Pareto front. hypervolume_ratio: to that of the exact grid's front."""

    sampler: str
    trials: int
    hypervolume_ratio: float
    front: list[Run]


class PublishedShare(Record):
    """A critical domain share that others published for a model size."""

    size: str
    share: float
    source: str


class Evidence(Record):
    """How one loss is predicted.

    weights: by law or curve, none where there is one law. held_out: mean absolute errors by kind of held-out test and
    by law or curve. cautions: of the laws.
    """

    column: str
    law: str
    weights: dict[str, float]
    held_out: dict[str, dict[str, float | None]]
    cautions: list[str]


class Repetition(Record):
    """worth: epochs of different tokens that the answer's domain tokens count as."""

    domain_tokens: float
    r_star: float
    worth: float | None


class Curve(Record):
    loss: list[float]
    low: list[float] | None = None
    high: list[float] | None = None


class ShareCurves(Record):
    share: list[float]
    tokens: list[float]
    outside: list[bool]
    domain: Curve
    general: Curve


class TokenLine(Record):
    share: float
    domain: Curve
    general: Curve
    answer: bool


class TokenCurves(Record):
    tokens: list[float]
    outside: list[bool]
    lines: list[TokenLine]  # the answer's first


class Curves(Record):
    share: ShareCurves
    tokens: TokenCurves | None  # None: all runs are as long


class Checkpoint(Record):
    """A trained checkpoint as measured. last: the longest of its run."""

    run: str
    params: float | None
    tokens: float | None
    share: float
    last: bool
    domain: float | None
    general: float | None
    rise: float | None


class TrainedOn(Record):
    params: Ends
    tokens: Ends
    share: Ends
    rows: int
    runs: int


class Plan(Record, kw_only=True):
    """The answer to a question, what else could be chosen, and the evidence.

    answer: the lowest domain loss within the tolerance, None where no share keeps it. sure: the same, kept in `sure_at`
    of the draws. free: the largest domain share whose general loss doesn't rise. trained: the best of the trained
    shares, where the answer is outside them. knows: counts that the runs state. looked_at: domain shares. beyond:
    warnings of extrapolation; notes: of what is assumed; warning_codes: of both, in this order.
    """

    kind: str
    name: str
    given: dict[str, float]
    tolerance: float
    level: float
    sure_at: float
    draws: int
    knows: list[str]
    looked_at: Ends
    trained_on: TrainedOn
    answer: Choice | None
    sure: Choice | None
    free: Choice | None
    least_rise: Choice
    trained: Choice | None
    sizes: list[BestOfSize]
    front: list[Run]
    search: Search | None
    published: list[PublishedShare]
    losses: dict[str, Evidence]
    repetition: Repetition | None
    curves: Curves
    measured: list[Checkpoint]
    beyond: list[str]
    notes: list[str]
    warning_codes: list[str] = field(default_factory=list)

    @property
    def centre(self) -> Choice:
        """The run that curves are drawn around: the answer, or the least rise."""
        return self.answer or self.least_rise

    @property
    def warnings(self) -> list[Warning]:
        """Of extrapolation, then of what is assumed."""
        return with_codes((*self.beyond, *self.notes), self.warning_codes)


class Noise(Record):
    """Standard deviations of both losses between seeds of one continuation."""

    runs: int
    share: float
    params: float
    tokens: float
    domain: float
    general: float


class LeftOut(Record):
    run_id: str
    reason: str


class StudyFacts(Record, kw_only=True):
    """What a study's fit and its recommendation both hold. texts: weights by validation set, of each loss."""

    mixopt: str
    study: str
    texts: dict[str, dict[str, float]]
    noise: Noise | None
    left_out: list[LeftOut]
    stamp: str = ""  # the cache key


class Recommendation(StudyFacts, Plan, kw_only=True):
    """recommendation.json of a study."""

    new: str


class VerifiedRun(Record):
    run_id: str
    seed: int
    domain: float
    general: float
    rise: float


class Check(Record):
    """One quantity over the verifying runs. sd: between seeds. inside: whether mean and interval meet."""

    measured: float
    sd: float
    predicted: float
    low: float | None
    high: float | None
    inside: bool


class Verification(Record):
    """verify.json. kept: whether both losses meet their intervals. of: the stamp of the recommendation."""

    runs: list[VerifiedRun]
    share: float
    tolerance: float
    domain: Check
    general: Check
    rise: Check
    kept: bool
    of: str = ""
