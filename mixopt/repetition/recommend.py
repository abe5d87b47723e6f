"""Recommended epochs: the best run by each weight decay's fitted laws, the value of one more epoch, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from math import log10
from typing import TYPE_CHECKING, Literal

from mixopt.formatting import count_text, counted, epochs_text, listed, loss
from mixopt.plan.epochs import EpochsPlan, Question, epochs_plan
from mixopt.plan.fit import plain
from mixopt.plan.surface import Run, Surface
from mixopt.repetition.curves import BestEpochs
from mixopt.repetition.fit import AVERAGE, LEVEL, GroupFit, RepetitionFit, RStar, preset_of
from mixopt.repetition.scores import LARGEST
from mixopt.report.document import Warning, with_codes
from mixopt.serialization import Json, Record, nan_to_null
from mixopt.version import __version__

if TYPE_CHECKING:
    from mixopt.plan.epochs import Answer
    from mixopt.study.kind import Session

N_MEMBERS = 30  # refits that the answer's interval is over
MAX_ORDERS = 1.0  # of magnitude beyond the runs, before the numbers of an extrapolation are called unreliable
MIN_ORDERS = 0.02  # of magnitude beyond the runs; less is no extrapolation
MAX_RATIO = 10.0  # of the ends of an interval of R* that is called identified

Scale = Mapping[str, tuple[float, float]]


class Target(Record):
    weights: dict[str, float]  # by validation set
    unit: str = "nats/token"


class GroupAnswer(Record):
    """The answer by the laws fitted at one weight decay."""

    weight_decay: float
    plan: EpochsPlan


class TrainedSize(Record):
    """The best number of epochs of one trained size on so many unique tokens, by weight decay."""

    params: float
    unique: float
    by_decay: dict[str, BestEpochs]


class Recommendation(Record):
    """The content of recommendation.json. arms: weakest weight decay first; chosen: the one of least predicted loss."""

    kind: Literal["repetition"]
    mixopt: str
    study: str
    target: Target
    full: dict[str, float]  # the question
    scale: dict[str, tuple[float, float]]  # the least and the greatest params, tokens, unique and epochs of the runs
    level: float  # of all intervals
    arms: list[GroupAnswer]
    chosen: int
    best: list[TrainedSize]
    r_star: dict[str, RStar | None]  # by weight decay, of the heaviest form that has one
    warnings: list[str]
    warning_codes: list[str] = field(default_factory=list)
    stamp: str = ""  # the cache key

    def __post_init__(self) -> None:
        if not 0 <= self.chosen < len(self.arms):
            raise ValueError(f"chosen is {self.chosen}, which is none of its {len(self.arms)} arms")

    @property
    def limitations(self) -> list[Warning]:
        return with_codes(self.warnings, self.warning_codes)

    @property
    def recommended(self) -> GroupAnswer:
        return self.arms[self.chosen]


def recommend_epochs(session: Session, fit: RepetitionFit) -> Json:
    """The answer to the study's question by every ladder: the content of recommendation.json, a `Recommendation`."""
    study, progress = session.study, session.progress
    progress.stage("answer", total=len(fit.arms))

    def compute() -> Json:
        answers = []
        for n, group in enumerate(fit.arms):
            progress.update(n, f"weight decay {group.weight_decay:g}")
            plan = epochs_plan(Question(**study.full.model_dump()), surfaces(group, fit.scale))
            answers.append(GroupAnswer(group.weight_decay, plan))
        chosen = min(range(len(answers)), key=lambda n: answers[n].plan.answer.loss)
        limits = list(warnings(fit, answers[chosen]))
        found = Recommendation(
            kind="repetition",
            mixopt=__version__,
            study=study.name,
            target=Target(fit.target),
            full=study.full.model_dump(exclude_none=True),
            scale=fit.scale,
            level=LEVEL,
            arms=answers,
            chosen=chosen,
            best=best_by_size(fit.arms),
            r_star={f"{group.weight_decay:g}": heaviest_r_star(group) for group in fit.arms},
            warnings=[warning.text for warning in limits],
            warning_codes=[warning.code for warning in limits],
        )
        run = found.recommended.plan.answer
        progress.finish(f"{epochs_text(run.epochs)} epochs, {count_text(run.params)} parameters")
        return nan_to_null(found.to_json())

    return session.answer(fit.stamp, compute)


def surfaces(group: GroupFit, scale: Scale) -> list[Surface]:
    """The average of the forms with its refits, and every form that has a weight in it."""
    fitted_to = f"fitted to {group.runs} runs of this study, weight decay {group.weight_decay:g}"
    within = {key: ends for key, ends in scale.items() if key != "unique"}
    regressor = group.regressor
    lead = Surface(
        AVERAGE,
        regressor.loss,
        "the forms below, averaged by their held-out predictions",
        note=fitted_to,
        members=tuple(plain(refit.loss) for refit in regressor.refits(N_MEMBERS)),
        allowed="refits to bootstrap resamples of the configurations",
        level=LEVEL,
        within=within,
        made="runs",
    )
    alone = []
    for form, weight in regressor.forms_.items():
        if weight > 0:
            preset = preset_of(regressor, form, f"{fitted_to}; weight {weight:.0%}")
            alone.append(Surface(form, preset.loss, preset.source, note=preset.note, within=within, made="runs"))
    return [lead, *alone]


def best_by_size(groups: Sequence[GroupFit]) -> list[TrainedSize]:
    """At each trained size and number of unique tokens, every ladder's best number of epochs, fitted and measured."""
    rows: dict[tuple[float, float], dict[str, BestEpochs]] = {}
    for group in groups:
        for curve in group.curves:
            best = rows.setdefault((curve.params, curve.unique), {})
            best[f"{group.weight_decay:g}"] = BestEpochs.from_json(curve.to_json())
    return [TrainedSize(*at, by_decay=rows[at]) for at in sorted(rows)]


def heaviest_r_star(group: GroupFit) -> RStar | None:
    """R* of the heaviest form that has one."""
    return RStar.from_json(group.r_star[0].to_json()) if group.r_star else None


def warnings(fit: RepetitionFit, chosen: GroupAnswer) -> Iterator[Warning]:
    """What limits the answer."""
    run, plan = chosen.plan.answer, chosen.plan
    if beyond := scale_warning(run, fit.scale):
        yield beyond
    error = next(group.score(LARGEST) for group in fit.arms if group.weight_decay == chosen.weight_decay)
    if error is not None and run.params >= fit.scale["params"][1]:
        yield Warning(
            "size-error",
            f"Fitted without the largest size, the laws missed its losses by {loss(error)} nats/token: expect errors "
            "at least as large for larger models.",
        )
    for group in fit.arms:
        yield from group_warnings(group)
    yield noise_warning(fit)
    if gone := [row["run_id"] for row in fit.left_out]:
        text = f"{counted(len(gone), 'run')} diverged and are left out: {listed(gone[:4])}."
        yield Warning("diverged-runs", text)
    yield from with_codes(plan.notes, plan.warning_codes[: len(plan.notes)])


def scale_warning(run: Answer | Run, scale: Scale) -> Warning | None:
    """How far the answer lies beyond the runs."""
    counts = {"parameters": (run.params, "params"), "unique tokens": (run.unique, "unique")}
    counts["training tokens"] = run.tokens, "tokens"
    beyond = {what: log10(value / scale[key][1]) for what, (value, key) in counts.items() if value}
    far = [f"{factor(orders)} times the {what}" for what, orders in beyond.items() if orders > MIN_ORDERS]
    if not far:
        return None
    text = f"The answer extrapolates: it has {listed(far)} of the largest run."
    if beyond["parameters"] > MIN_ORDERS:
        text += " How many epochs so large a model tolerates is not measured here."
    if max(beyond.values()) >= MAX_ORDERS:
        text += (
            " So far from the runs, trust its direction rather than its numbers: train a grid nearer to the run "
            "(proxy.width, design.unique) before you rely on it."
        )
    return Warning("extrapolation", text)


def factor(orders: float) -> str:
    """10 to the orders of magnitude, readable."""
    return f"{10**orders:.2g}" if orders < 2 else f"10^{orders:.1f}"


def group_warnings(group: GroupFit) -> Iterator[Warning]:
    """Where no curve rose, so that harm begins beyond the ladder, and where the heaviest form's R* isn't identified."""
    at = f"At weight decay {group.weight_decay:g}"
    if all(curve.rise <= 1e-12 for curve in group.curves):
        text = "no curve turned up within the runs, so the epoch from which repetition hurts is unknown: add epochs."
        yield Warning("no-turning-point", f"{at} {text}")
    star = heaviest_r_star(group)
    if star and (star.low is None or star.high is None or star.high > MAX_RATIO * star.low):
        text = "take the value of a repeat from the curves, not from R*."
        yield Warning("r-star-not-identified", f"{at} R* is barely identified ({' to '.join(star.ends)}): {text}")


def noise_warning(fit: RepetitionFit) -> Warning:
    """Run-to-run noise against the law's own error."""
    if not fit.noise:
        text = "No configuration was trained twice, so run-to-run noise is unknown: set design.repeats."
        return Warning("noise-unknown", text)
    worst = max(fit.noise, key=lambda row: row.sd)
    text = (
        f"Runs of one configuration on other seeds and other text differ by up to {loss(worst.sd)} nats/token "
        f"(standard deviation at {count_text(worst.unique)} unique tokens, {epochs_text(worst.epochs)} epochs)."
    )
    return Warning("noise", text)
