"""Compute-optimal size and tokens: the least loss for a budget, or the fewest FLOPs for a loss, inference included.

Lifetime FLOPs are 6 N D of training and 2 N a token of inference (Sardana et al. 2024, Beyond Chinchilla-Optimal,
arXiv:2401.00448). All losses are nats/token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import count_text
from mixopt.plan.epochs import RUN_VALUES, Evidence, beyond, checked, extremes, intervals, sees_repetition
from mixopt.plan.fit import LawFit
from mixopt.plan.optimum import MAX_COMPUTE, MIN_COUNT, best_run, cheapest_to_use, least_compute, tokens_for
from mixopt.plan.presets import LEADING
from mixopt.plan.questions import Count, counts_of, forms_of, loss_above_0, smallest_model
from mixopt.plan.surface import INFERENCE, TRAINING, UNLIMITED, Intervals, PlannedRun, Run, Surface, losses
from mixopt.report.document import Warning
from mixopt.serialization import Record, nan_to_null

if TYPE_CHECKING:
    from mixopt.runs.scaling import Runs
    from mixopt.study.progress import Progress

LEADING_UNLIMITED = "chinchilla"  # leads where text has no end
POINTS = 97  # of a curve
MAX_INFLUENCE = 1.25  # factor by which few runs may change the best size unmentioned
SIDE = 16.0  # a curve goes from the best size over this to the best size times it


@dataclass(frozen=True)
class Demand:
    """What a model is to be: as good as compute makes it, or of a given loss; and how many tokens it will serve."""

    compute: float | None = None
    loss: float | None = None
    inference: float = 0.0
    unique: float = UNLIMITED

    def plain(self, surface: Surface) -> Run | None:
        """The best run when only training counts; None where the loss can't be reached."""
        if self.compute is not None:
            return best_run(surface, self.compute, self.unique)
        return least_compute(surface, float(self.loss or 0), self.unique)

    def answer(self, surface: Surface, plain: Run) -> Run:
        """The run as good as the plain one that costs the fewest lifetime FLOPs."""
        return cheapest_to_use(surface, plain, self.inference) if self.inference else plain

    def best(self, surface: Surface) -> Run | None:
        plain = self.plain(surface)
        return None if plain is None else self.answer(surface, plain)

    def lifetime(self, run: Run) -> float:
        return run.compute + INFERENCE * run.params * self.inference

    def to_json(self) -> dict[str, float]:
        names = {"compute": self.compute, "loss": self.loss, "inference_tokens": self.inference or None}
        names["unique"] = None if self.unique == UNLIMITED else self.unique
        return {key: value for key, value in names.items() if value is not None}


# What `mixopt plan scale` answers, as its JSON holds it


class UsedRun(PlannedRun):
    """A run with what it costs to use, FLOPs."""

    tokens_per_param: float
    inference_compute: float
    lifetime_compute: float

    @classmethod
    def used(cls, demand: Demand, run: Run, **more: Any) -> Self:
        """more: the fields that a subclass adds."""
        inference = INFERENCE * run.params * demand.inference
        costs = {"inference_compute": inference, "lifetime_compute": run.compute + inference}
        return cls.of(run, tokens_per_param=run.tokens / run.params, **costs, **more)


class ScaleAnswer(UsedRun, kw_only=True):
    interval: Intervals
    checked: bool | None = None  # as in `mixopt.plan.epochs.Answer`


class ScaleForm(ScaleAnswer):
    """One form's answer; sees_repetition: None where text has no end."""

    form: str
    made: str
    source: str
    note: str
    sees_repetition: bool | None


class Saved(Record):
    """What the answer saves against the run that is cheapest to train: FLOPs of its life, and their share; and what the
    best run for that one's lifetime FLOPs changes of the loss, nats/token."""

    flops: float
    share: float
    loss_at_same_lifetime: float


class ScaleDisagreement(Record):
    """The lowest and highest answers of the forms; where text repeats, of those that see that."""

    params: list[float]
    tokens: list[float]
    forms: int


class LossCurve(Record):
    """Each form's loss at equal compute, against parameters."""

    of: Literal["loss"]
    params: list[float]
    loss: dict[str, list[float | None]]


class ComputeCurve(Record):
    """The leading form's FLOPs at equal loss, against parameters."""

    of: Literal["compute"]
    params: list[float]
    tokens: list[float | None]
    training: list[float | None]
    lifetime: list[float | None]


class ScalePlan(Record):
    """Everything that `mixopt plan scale` answers. given: the question; form: the leading form of the law.

    plain: the run that is cheapest to train; same_lifetime: the best one for its lifetime FLOPs. beyond: what limits
    the answer, a sentence each; warning_codes: their codes.
    """

    kind: Literal["scale"]
    given: dict[str, float]
    form: str
    answer: ScaleAnswer
    interval: Evidence
    plain: UsedRun
    same_lifetime: UsedRun
    saved: Saved
    forms: list[ScaleForm]
    disagreement: ScaleDisagreement
    curve: LossCurve | ComputeCurve
    beyond: list[str]
    notes: list[str] = field(default_factory=list)
    warning_codes: list[str] = field(default_factory=list)
    fit: LawFit | None = None


def plan_scale(
    *,
    compute: Count | None = None,
    loss: float | str | None = None,
    inference_tokens: Count | None = None,
    unique: Count | None = None,
    preset: str | None = None,
    runs: Runs | Path | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ScalePlan:
    """How large a model for how many tokens.

    compute (FLOPs, 6 N D): the least loss for it; loss (nats/token): the fewest FLOPs for it. With inference_tokens,
    the model as good as that which costs the fewest FLOPs of training and use. unique: the tokens of text there are
    (default: no end of them). preset, runs, seed: as for `plan_epochs`.
    Raises MixoptError for counts that no plan can be about, and for a loss that no model reaches.
    """
    if (compute is None) == (loss is None):
        raise MixoptError("give either a budget, --compute 1e22, or the loss to reach, --loss 2.2")
    counts = counts_of(compute=compute, inference_tokens=inference_tokens, unique=unique)
    demand = Demand(
        compute=counts.get("compute"),
        loss=None if loss is None else loss_above_0(loss),
        inference=counts.get("inference_tokens", 0.0),
        unique=counts.get("unique", UNLIMITED),
    )
    leading = LEADING if unique is not None else LEADING_UNLIMITED
    surfaces, fit = forms_of(runs, preset, leading, seed=seed, progress=progress, needs_repeats=unique is not None)
    lead = surfaces[0]
    plain = demand.plain(lead)
    more_text = "" if unique is None else " or give more --unique"
    if plain is None:
        lowest = best_run(lead, MAX_COMPUTE, demand.unique).loss
        raise MixoptError(
            f"--loss {demand.loss:g}: {lead.name} never gets there: the lowest loss it covers is "
            f"{lowest:.3f} nats/token; ask for a higher loss{more_text}"
        )
    run, least = demand.answer(lead, plain), smallest_model(lead)
    if run.params < least:
        remedy = "raise --compute" if loss is None else "ask for a lower --loss"
        raise MixoptError(
            f"the best model for that would have {count_text(run.params)} parameters, fewer than the "
            f"{count_text(least)} that a law covers: {remedy}{more_text}"
        )
    # losses of other sources are on other validation sets: the other forms answer for as much compute
    others = replace(demand, compute=plain.compute, loss=None)
    forms = [form_answer(demand if one is lead else others, one) for one in surfaces]
    seeing = [form for form in forms if form.sees_repetition] or forms
    before, after = demand.lifetime(plain), demand.lifetime(run)
    richer = best_run(lead, before, demand.unique, inference=demand.inference)
    extrapolations = [*influence(demand, lead, run), *beyond(lead, run)]
    return ScalePlan(
        kind="scale",
        given=demand.to_json(),
        form=lead.name,
        answer=ScaleAnswer.used(demand, run, interval=forms[0].interval, checked=forms[0].checked),
        interval=Evidence(lead.level, lead.allowed),
        plain=UsedRun.used(demand, plain),
        same_lifetime=UsedRun.used(demand, richer),
        saved=Saved(before - after, 1 - after / before, loss_at_same_lifetime=richer.loss - plain.loss),
        forms=forms,
        disagreement=ScaleDisagreement(*extremes(seeing, "params", "tokens"), forms=len(seeing)),
        curve=curve(demand, surfaces, run),
        beyond=[warning.text for warning in extrapolations],
        warning_codes=[warning.code for warning in extrapolations],
        fit=fit,
    )


def influence(demand: Demand, lead: Surface, run: Run) -> list[Warning]:
    """Whether the answer rests on few runs: how it changes without those farthest from the law."""
    if lead.influence is None:
        return []
    without, which = lead.influence
    other = demand.best(lead.at(without))
    if other is not None and 1 / MAX_INFLUENCE < other.params / run.params < MAX_INFLUENCE:
        return []
    answer = (
        "no answer" if other is None else f"{count_text(other.params)} parameters, {count_text(other.tokens)} tokens"
    )
    return [Warning("few-runs", f"Without {which} the answer is {answer}: check these runs, or leave them out.")]


def form_answer(demand: Demand, surface: Surface) -> ScaleForm:
    run = demand.best(surface)
    assert run is not None  # the leading form's was found, the others have a budget
    limited = demand.unique < UNLIMITED
    members = surface.members if limited or surface.level else ()
    runs = [its for loss in members if (its := demand.best(surface.at(loss))) is not None]
    names = [name for name in RUN_VALUES if limited or name != "epochs"]
    return ScaleForm.used(
        demand,
        run,
        interval=intervals(surface, run, runs, names),
        checked=checked(surface, run),
        form=surface.name,
        made=surface.made,
        source=surface.source,
        note=surface.note,
        sees_repetition=sees_repetition(surface, run) if limited else None,
    )


def curve(demand: Demand, surfaces: Sequence[Surface], run: Run) -> LossCurve | ComputeCurve:
    params = np.geomspace(max(run.params / SIDE, MIN_COUNT), run.params * SIDE, POINTS)
    if demand.compute is not None and not demand.inference:
        tokens = demand.compute / TRAINING / params
        loss = {one.name: nan_to_null(losses(one, params, tokens, demand.unique)) for one in surfaces}
        return LossCurve("loss", params.tolist(), loss)
    tokens = tokens_for(surfaces[0], run.loss, params, demand.unique)
    training = TRAINING * params * tokens
    lifetime = training + INFERENCE * params * demand.inference
    return ComputeCurve("compute", params.tolist(), *nan_to_null((tokens, training, lifetime)))
