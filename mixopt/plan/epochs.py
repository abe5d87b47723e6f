"""Compute-optimal epochs over limited text: the best run for a budget, and what the forms of the law disagree about.

All losses are nats/token, all FLOPs 6 N D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import count_text, epochs_text
from mixopt.plan.fit import LawFit
from mixopt.plan.marginal import (
    Marginal,
    Prices,
    Step,
    Turning,
    marginal,
    next_steps,
    prices,
    repeat_value,
    turning,
)
from mixopt.plan.optimum import MIN_COUNT, balanced, best_run, least_compute
from mixopt.plan.presets import LEADING
from mixopt.plan.questions import LIMITS, Count, counts_of, forms_of, smallest_model
from mixopt.plan.surface import TRAINING, Array, Interval, Intervals, PlannedRun, Run, Surface, losses, run_at
from mixopt.report.document import Warning
from mixopt.runs.extrapolation import WIDTH, FittedScales, Scale, is_checked, standard_errors
from mixopt.serialization import Record, nan_to_null

if TYPE_CHECKING:
    from mixopt.runs.scaling import Runs
    from mixopt.study.progress import Progress

POINTS = 97  # of a curve
TOLERABLE = 1e-3  # nats/token: where a tenth of a budget is so near, more is wasted
MIN_MEMBERS = 8  # that a central share is taken of
ROUNDING = 1e-9  # relative: numbers that differ by less are the same
RUN_VALUES = ("params", "tokens", "epochs", "compute", "loss")  # that have intervals
FAR_BEYOND = 100.0  # times the ends: said before the answer
MAX_BEYOND = 1.05  # times the ends of what was fitted: a rounding, not an extrapolation


@dataclass(frozen=True)
class Question:
    """A budget for a text of so many unique tokens: one of compute, params and tokens; or a run, two of them."""

    unique: float
    compute: float | None = None
    params: float | None = None
    tokens: float | None = None

    @property
    def of_a_run(self) -> bool:
        """Whether the run is given, so that nothing is left to choose."""
        return sum(count is not None for count in (self.compute, self.params, self.tokens)) == 2

    def answer(self, surface: Surface) -> Run:
        """The best run for it, or the run that it is about."""
        compute, params, tokens = self.compute or 0.0, self.params, self.tokens
        if self.of_a_run:
            params = params or compute / TRAINING / (tokens or 1)
            return run_at(surface, params, tokens or compute / TRAINING / params, self.unique)
        if compute:
            return best_run(surface, compute, self.unique)
        return balanced(surface, self.unique, params=params, tokens=tokens)

    def to_json(self) -> dict[str, float]:
        return {key: value for key, value in vars(self).items() if value is not None}


# What `mixopt plan epochs` answers, as its JSON holds it


class Evidence(Record):
    """What intervals are over. level: None where all members are as good as the form, else the share they hold."""

    level: float | None
    over: str


class Answer(PlannedRun, kw_only=True):
    """checked: whether held-out runs lay as far beyond the runs, so that the loss's interval is one of 80 %; None
    where no runs were fitted."""

    interval: Intervals
    checked: bool | None = None


class FormAnswer(Answer):
    """One form's answer. regret: what the leading form's run gives up by this one's account, at equal compute.

    made: whose constants these are, "published", "refitted" or "runs".
    """

    form: str
    made: str
    source: str
    note: str
    sees_repetition: bool
    regret: float
    repeat_value: float | None


class MarginalValue(Prices, Marginal):
    interval: Intervals


class TurningPoints(Turning):
    interval: Intervals


class Rung(Record):
    """The leading form's losses at a round number of epochs: at equal compute, and for the answer's own model.

    interval: of the latter. change, fresh_share: of one more epoch of the latter, as in `Marginal`.
    """

    epochs: float
    params_at_equal_compute: float
    loss_at_equal_compute: float
    loss: float
    interval: Interval
    change: float
    fresh_share: float


class Disagreement(Record):
    """The lowest and highest answers of the forms that see repetition, how many these are, and their largest regret."""

    params: list[float]
    tokens: list[float]
    epochs: list[float]
    forms: int
    regret: float


class EqualCompute(Record):
    """Loss of every form against epochs, where fewer epochs leave compute for more parameters."""

    compute: float
    epochs: list[float]
    params: list[float]
    loss: dict[str, list[float | None]]


class SameModel(Record):
    """Loss of the leading form against epochs for the answer's own model, and what each next epoch would bring."""

    params: float
    epochs: list[float]
    loss: list[float | None]
    low: list[float | None]
    high: list[float | None]
    all_new: list[float | None]
    change: list[float | None]
    repeat_value: list[float | None]


class Curves(Record):
    equal_compute: EqualCompute
    same_model: SameModel


class EpochsPlan(Record):
    """Everything that `mixopt plan epochs` answers. given: the question; form: the leading form of the law.

    notes, then beyond: what limits the answer, a sentence each; warning_codes: their codes in the same order.
    """

    kind: Literal["epochs"]
    given: dict[str, float]
    form: str
    answer: Answer
    interval: Evidence
    marginal: MarginalValue
    turning: TurningPoints
    next: list[Step]
    ladder: list[Rung]
    forms: list[FormAnswer]
    disagreement: Disagreement
    curves: Curves
    beyond: list[str]
    notes: list[str]
    warning_codes: list[str] = field(default_factory=list)
    fit: LawFit | None = None


def plan_epochs(
    *,
    unique: Count,
    compute: Count | None = None,
    params: Count | None = None,
    tokens: Count | None = None,
    preset: str | None = None,
    runs: Runs | Path | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> EpochsPlan:
    """How often to repeat a text of so many unique tokens, and what one more epoch is worth.

    One of compute (FLOPs, 6 N D), params and tokens is the budget; two of them are a run to be judged. Counts are
    numbers or text such as 25B and 1e22. preset: the form whose answer leads. runs: a table of finished runs, or what
    `read_plan_runs` made of one, to which the forms are fitted first; seed: of that fit.
    Raises MixoptError for counts that no plan can be about.
    """
    counts = counts_of(unique=unique, compute=compute, params=params, tokens=tokens)
    if len(counts) == 1:
        raise MixoptError("give a budget: --compute 1e22, --params 7B or --tokens 200B")
    if len(counts) == 4:
        raise MixoptError("compute, params and tokens are redundant together (compute = 6 N D): drop one of them")
    question = Question(**counts)
    surfaces, fit = forms_of(runs, preset, LEADING, seed=seed, progress=progress, needs_repeats=True)
    refuse_tiny(question, question.answer(surfaces[0]), surfaces[0])
    return epochs_plan(question, surfaces, fit)


def epochs_plan(question: Question, surfaces: Sequence[Surface], fit: LawFit | None = None) -> EpochsPlan:
    """The answer by these forms, the leading one first. fit: how they were fitted, where they were."""
    lead = surfaces[0]
    run = question.answer(lead)
    members = [lead.at(loss) for loss in lead.members]
    runs = [question.answer(one) for one in members]
    forms = [form_answer(question, one, run, runs if one is lead else None) for one in surfaces]
    seeing = [form for form in forms if form.sees_repetition] or forms
    ends = extremes(seeing, "params", "tokens", "epochs")
    value, price, turns = marginal(lead, run), prices(lead, run, best=not question.of_a_run), turning(lead, run)
    values = [marginal(one, its) for one, its in zip(members, runs, strict=True)]
    cautions, extrapolations = notes(question, lead, run), beyond(lead, run)
    return EpochsPlan(
        kind="epochs",
        given=question.to_json(),
        form=lead.name,
        answer=Answer.of(run, interval=intervals(lead, run, runs, RUN_VALUES), checked=checked(lead, run)),
        interval=Evidence(lead.level, lead.allowed),
        marginal=MarginalValue(
            **vars(value), **vars(price), interval=intervals(lead, value, values) | dict.fromkeys(vars(price))
        ),
        turning=TurningPoints(**vars(turns), interval=intervals(lead, turns, [turning(one, run) for one in members])),
        next=next_steps(lead, run),
        ladder=ladder(lead, members, run),
        forms=forms,
        disagreement=Disagreement(*ends, forms=len(seeing), regret=max(form.regret for form in seeing)),
        curves=Curves(equal_compute(surfaces, run), same_model(lead, members, run)),
        beyond=[warning.text for warning in extrapolations],
        notes=[warning.text for warning in cautions],
        warning_codes=[warning.code for warning in (*cautions, *extrapolations)],
        fit=fit,
    )


def interval(values: Sequence[Any], level: float | None, point: float | None = None) -> Interval:
    """The ends of all values and the point, or of the central share of the values; None where there is nothing to tell.

    That is where there are no values, or all are the same: what is uncertain plays no part then.
    """
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    if len(known) < (1 if level is None else MIN_MEMBERS) or max(known) - min(known) <= ROUNDING * abs(min(known)):
        return None
    if level is None:
        known += [] if point is None else [point]
        return [min(known), max(known)]
    return [float(end) for end in np.quantile(known, [(1 - level) / 2, (1 + level) / 2])]


def intervals(surface: Surface, of: object, members: Sequence[object], names: Sequence[str] = ()) -> Intervals:
    """Intervals over what the form's members say, for these values of a record, or all of them; of a run's loss, where
    the form was fitted to runs, for a new run."""
    each = {name: [getattr(member, name) for member in members] for name in names or vars(of)}
    found = {name: interval(values, surface.level, getattr(of, name)) for name, values in each.items()}
    if "loss" in found and isinstance(of, Run) and surface.fitted is not None:
        found["loss"] = loss_interval(surface, surface.fitted, of)
    return found


def loss_interval(surface: Surface, fitted: FittedScales, run: Run) -> list[float]:
    """Of 80 %, for a new run's loss: refits alone hold a third of larger runs (`benchmarks/scale_calibration.py`)."""

    def of(X: Array) -> Array:
        return losses(surface, X[:, 0], X[:, 1], run.unique)

    [error] = standard_errors(fitted, of, np.array([[run.params, run.tokens]]))
    refits = [run_at(surface.at(loss), run.params, run.tokens, run.unique).loss for loss in surface.members]
    scatter = np.log([loss for loss in refits if np.isfinite(loss)] or [run.loss]).std()
    half = WIDTH * np.hypot(error, scatter)
    return [float(run.loss * np.exp(-half)), float(run.loss * np.exp(half))]


def checked(surface: Surface, run: Run) -> bool | None:
    """Whether held-out runs lay as far beyond what the form was fitted to (none repeated its text); None for published
    forms."""
    if surface.fitted is None:
        return None
    return is_checked(surface.fitted, Scale(run.params, run.tokens)) and run.epochs <= MAX_BEYOND


# The forms side by side


def sees_repetition(surface: Surface, run: Run) -> bool:
    """Whether the loss depends on how many of the tokens are unique."""
    tokens = run.unique * np.array([2.0, 8.0, 64.0])
    some, none = (losses(surface, run.params, tokens, unique) for unique in (run.unique, run.unique * 64))
    return bool(np.any(np.abs(some - none) > 1e-9))


def form_answer(question: Question, surface: Surface, led: Run, runs: Sequence[Run] | None) -> FormAnswer:
    """One form's answer beside the leading form's run. runs: its members' answers where they are known already."""
    run = question.answer(surface)
    if runs is None:
        runs = [question.answer(surface.at(loss)) for loss in surface.members]
    own = run_at(surface, led.params, led.tokens, led.unique)
    return FormAnswer.of(
        run,
        interval=intervals(surface, run, runs, RUN_VALUES),
        checked=checked(surface, run),
        form=surface.name,
        made=surface.made,
        source=surface.source,
        note=surface.note,
        sees_repetition=sees_repetition(surface, led),
        regret=max(own.loss - best_run(surface, led.compute, led.unique).loss, 0.0),
        repeat_value=nan_to_null(repeat_value(surface, led.params, led.tokens, led.unique)),
    )


def extremes(forms: Sequence[object], *names: str) -> list[list[float]]:
    """The lowest and the highest answer of the forms, for each of these values."""
    each = [[getattr(form, name) for form in forms] for name in names]
    return [[min(values), max(values)] for values in each]


# Curves


def equal_compute(surfaces: Sequence[Surface], run: Run) -> EqualCompute:
    high = min(run.epochs * 12, run.compute / TRAINING / MIN_COUNT / run.unique)
    epochs = np.geomspace(run.epochs / 12, high, POINTS)
    tokens = epochs * run.unique
    params = run.compute / TRAINING / tokens
    loss = {one.name: nan_to_null(losses(one, params, tokens, run.unique)) for one in surfaces}
    return EqualCompute(run.compute, epochs.tolist(), params.tolist(), loss)


def ladder(lead: Surface, members: Sequence[Surface], run: Run) -> list[Rung]:
    """At powers of two around the run's own number of epochs, and at the first ones."""
    found = []
    for epochs in (2.0**power for power in range(-3, 11) if run.epochs / 12 < 2**power < max(run.epochs * 12, 17)):
        tokens = epochs * run.unique
        equal = run_at(lead, run.compute / TRAINING / tokens, tokens, run.unique)
        same = run_at(lead, run.params, tokens, run.unique)
        more = marginal(lead, same)
        others = [run_at(one, run.params, tokens, run.unique).loss for one in members]
        ends = interval(others, lead.level, same.loss)
        found.append(Rung(epochs, equal.params, equal.loss, same.loss, ends, more.change, more.fresh_share))
    return found


def same_model(lead: Surface, members: Sequence[Surface], run: Run) -> SameModel:
    epochs = np.geomspace(0.5, max(8 * run.epochs, 64.0), POINTS)
    tokens = epochs * run.unique
    every = np.array([losses(one, run.params, tokens, run.unique) for one in (lead, *members)])
    after = losses(lead, run.params, tokens + run.unique, run.unique)
    if lead.level is None or not members:
        low, high = every.min(axis=0), every.max(axis=0)
    else:
        low, high = np.quantile(every[1:], [(1 - lead.level) / 2, (1 + lead.level) / 2], axis=0)
    values = {
        "loss": every[0],
        "low": low,
        "high": high,
        "all_new": losses(lead, run.params, tokens, tokens),
        "change": after - every[0],
        "repeat_value": repeat_value(lead, run.params, tokens, run.unique),
    }
    return SameModel(params=run.params, epochs=epochs.tolist(), **nan_to_null(values))


# What limits an answer


def beyond(surface: Surface, run: Run) -> list[Warning]:
    """Where the run lies outside what the form was fitted to."""
    found = []
    for key, what, text in (
        ("params", "parameters", count_text),
        ("tokens", "tokens", count_text),
        ("unique", "unique tokens", count_text),
        ("epochs", "epochs", epochs_text),
    ):
        low, high = surface.within.get(key, (0.0, np.inf))
        value = getattr(run, key)
        times = value / high if key != "unique" else 0.0  # more text is less repetition, which is what laws know best
        if times > MAX_BEYOND and (key != "epochs" or high > 1):
            factor = f"{times:.0f}" if times >= 10 else f"{times:.2g}"
            how = f"{factor} times the most that {surface.name} was fitted to ({text(high)})"
        elif value < low / MAX_BEYOND and key != "epochs":
            how = f"below the {text(low)} from which {surface.name} was fitted"
        else:
            continue
        far = times > FAR_BEYOND or (value < low / FAR_BEYOND and key != "epochs")
        code = "far-outside" if far else f"extrapolated-{key}"
        found.append(Warning(code, f"{text(value)} {what} are {how}: an extrapolation."))
    return found


def notes(question: Question, surface: Surface, run: Run) -> list[Warning]:
    """What else is to be known of an answer."""
    found = []
    if run.epochs > 1 and not sees_repetition(surface, run):
        text = "ignores repetition: it counts repeated tokens as new ones and is too optimistic."
        found.append(Warning("blind-to-repetition", f"{surface.name} {text}"))
    if not run.inside:
        text = "By this form the best run lies at the edge of the search range: it has no optimum here."
        found.append(Warning("no-optimum", text))
    much = f"The budget is more than {count_text(run.unique)} unique tokens can use"
    if question.compute is not None and run.compute < 0.99 * question.compute:
        rest = f"more than {run.compute:.2e} FLOPs gain nothing, however they are spent; the rest is left unspent."
        found.append(Warning("unspent-budget", f"{much}: by {surface.name} {rest}"))
    elif run.epochs > 1 and question.compute is not None and not question.of_a_run:
        near = least_compute(surface, run.loss + TOLERABLE, run.unique)
        if near is not None and near.compute < question.compute / 10:
            less = f"{near.compute:.2g} FLOPs, {count_text(near.params)} parameters and"
            text = f"{much}: {less} {epochs_text(near.epochs)} epochs, come within {TOLERABLE:g} nats/token."
            found.append(Warning("wasted-budget", text))
    return found


def refuse_tiny(question: Question, run: Run, lead: Surface) -> None:
    """Raises MixoptError where the model, or the tokens it would see, are too few for any law."""
    least, fewest, compute = smallest_model(lead), LIMITS["tokens"][0], question.compute
    if not run.inside and not question.of_a_run and compute is None:
        what = "a model of so many parameters" if question.params is not None else "so many tokens"
        raise MixoptError(
            f"by {lead.name} no run of {what} is a good use of compute on {count_text(question.unique)} unique tokens: "
            "give fewer, or a budget with --compute"
        )
    if run.params >= least and run.tokens >= fewest:
        return
    if question.params is not None and run.params < least:
        raise MixoptError(
            f"--params {count_text(question.params)}: the smallest model that a law covers has "
            f"{count_text(least)} parameters: give a larger one"
        )
    what, value = ("tokens", question.tokens) if compute is None else ("compute", compute)
    if question.of_a_run:
        needed = TRAINING * max(run.params, least) * fewest
        problem = f"leaves {run.tokens:.3g} tokens for {count_text(run.params)} parameters"
    else:
        smallest = balanced(lead, question.unique, params=least)
        if compute is not None and smallest.compute <= compute:
            raise MixoptError(
                f"--unique {count_text(question.unique)}: so little text is best learned by {count_text(run.params)} "
                f"parameters, fewer than the {count_text(least)} that a law covers: give more"
            )
        needed = smallest.compute if what == "compute" else smallest.tokens
        problem = f"is too small for one epoch of the smallest model ({count_text(least)} parameters)"
    raise MixoptError(f"--{what} {value:.3g} {problem}: raise it to {needed:.1e} or more")
