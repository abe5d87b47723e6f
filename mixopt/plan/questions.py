"""Plans by name: counts as people write them, the forms that answer, and what can't be answered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError
from mixopt.formatting import amount, parse_count
from mixopt.plan.epochs import Question, epochs_record
from mixopt.plan.optimum import MOST_COMPUTE, balanced, best_run
from mixopt.plan.presets import LEADING, published
from mixopt.plan.scale import Demand, scale_record
from mixopt.plan.surface import TRAINING, UNLIMITED, Run, Surface

if TYPE_CHECKING:
    from mixopt.runs.scaling import Runs
    from mixopt.study.progress import Progress

Count = float | str
# The least and the most that a plan can be about, and what it is.
LIMITS = {
    "unique": (1e4, 1e18, "unique tokens"),
    "tokens": (1e4, 1e20, "tokens"),
    "params": (1e3, 1e17, "parameters"),
    "compute": (1e6, 1e32, "FLOPs"),
    "inference_tokens": (1.0, 1e20, "tokens"),
}
LEADING_UNLIMITED = "chinchilla"  # leads where text has no end
SMALLEST = 1e6  # parameters: the published laws tell nothing of models below a few million


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
) -> dict[str, Any]:
    """How often to repeat a text of so many unique tokens, and what one more epoch is worth, as a JSON-able record.

    One of compute (FLOPs, 6 N D), params and tokens is the budget; two of them are a run to be judged. Counts are
    numbers or text such as 25B and 1e22. preset: the form whose answer leads. runs: a table of finished runs, or what
    `read_plan_runs` made of one, to which the forms are fitted first; seed: of that fit.
    Raises MixoptError for counts that no plan can be about.
    """
    given = {"unique": unique, "compute": compute, "params": params, "tokens": tokens}
    counts = {name: count(name, value) for name, value in given.items() if value is not None}
    budget = [name for name in ("compute", "params", "tokens") if name in counts]
    if not budget:
        raise MixoptError("give a budget: --compute 1e22, --params 7B or --tokens 200B")
    if len(budget) == 3:
        raise MixoptError("compute, params and tokens together say one thing twice (compute = 6 N D): drop one of them")
    question = Question(**counts)
    surfaces, fit = forms_of(runs, preset, LEADING, seed=seed, progress=progress, needs_repeats=True)
    refuse_tiny(question, question.answer(surfaces[0]), surfaces[0])
    return epochs_record(question, surfaces) | {"fit": fit}


def forms_of(
    runs: Runs | Path | str | None,
    preset: str | None,
    leading: str,
    *,
    seed: int,
    progress: Progress | None,
    needs_repeats: bool,
) -> tuple[list[Surface], dict[str, Any] | None]:
    """The forms that answer, the leading one first, and what is known of their fit; None for published ones."""
    if runs is None:
        return published(preset or leading), None
    from mixopt.plan.fit import fitted
    from mixopt.runs.scaling import Runs, read_plan_runs
    from mixopt.study.progress import Progress

    table = runs if isinstance(runs, Runs) else read_plan_runs(Path(runs))
    if needs_repeats and not table.repeats:
        raise MixoptError(
            f"{table.name}: no run has a token twice (columns of unique tokens or epochs), so these runs can't tell "
            "what repeating is worth: drop --runs for the published laws, or ask `mixopt plan scale`"
        )
    surfaces, fit = fitted(table, progress or Progress(), seed=seed)
    if preset is None:
        return surfaces, fit
    names = [surface.name for surface in surfaces]
    if preset not in names:
        raise MixoptError(f"--preset {preset}: not among the forms fitted to the runs: choose from {', '.join(names)}")
    return sorted(surfaces, key=lambda surface: surface.name != preset), fit


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
) -> dict[str, Any]:
    """How large a model for how many tokens, as a JSON-able record.

    compute (FLOPs, 6 N D): the least loss for it; loss (nats/token): the fewest FLOPs for it. With inference_tokens,
    the model as good as that which costs the fewest FLOPs of training and use. unique: the tokens of text there are
    (default: no end of them). preset, runs, seed: as for `plan_epochs`.
    Raises MixoptError for counts that no plan can be about, and for a loss that no model reaches.
    """
    if (compute is None) == (loss is None):
        raise MixoptError("give either a budget, --compute 1e22, or the loss to reach, --loss 2.2")
    given = {"compute": compute, "inference_tokens": inference_tokens, "unique": unique}
    counts = {name: count(name, value) for name, value in given.items() if value is not None}
    demand = Demand(
        compute=counts.get("compute"),
        loss=None if loss is None else loss_above_0(loss),
        inference=counts.get("inference_tokens", 0.0),
        unique=counts.get("unique", UNLIMITED),
    )
    leading = LEADING if unique is not None else LEADING_UNLIMITED
    surfaces, fit = forms_of(runs, preset, leading, seed=seed, progress=progress, needs_repeats=unique is not None)
    record = scale_record(demand, surfaces)
    if record is None:
        lowest = best_run(surfaces[0], MOST_COMPUTE, demand.unique).loss
        raise MixoptError(
            f"--loss {demand.loss:g}: {surfaces[0].name} never gets there: the lowest it can tell of is "
            f"{lowest:.3f} nats/token; ask for a higher loss" + (" or give more --unique" if unique is not None else "")
        )
    if record["answer"]["params"] < smallest_model(surfaces[0]):
        raise MixoptError(
            f"the best model for that would have {amount(record['answer']['params'])} parameters, fewer than the "
            f"{amount(smallest_model(surfaces[0]))} that a law can tell of: raise --compute, or ask for a lower --loss"
        )
    return record | {"fit": fit}


def loss_above_0(value: Any) -> float:
    """A loss as a number. Raises MixoptError for anything but a finite one above 0."""
    number = as_number(value)
    if number is None or not 0 < number < math.inf:
        raise MixoptError(f"--loss {value}: write a loss in nats/token above 0, such as 2.2")
    return number


def smallest_model(lead: Surface) -> float:
    """Parameters below which a form is not asked."""
    return min(SMALLEST, lead.within["params"][0] / 10) if lead.made == "runs" else SMALLEST


def count(name: str, value: Any) -> float:
    """A count as a number. Raises MixoptError for what isn't one, and for more or less than any plan can be about."""
    low, high, what = LIMITS[name]
    example = "1e22" if name == "compute" else "25B, 300M or 1e9"
    number = as_number(value)
    label = f"--{name.replace('_', '-')} {value}"
    if number is None or math.isnan(number) or number <= 0:
        raise MixoptError(f"{label}: write a count of {what} above 0, such as {example}")
    if number > high:
        raise MixoptError(f"{label}: beyond any run: at most {high:.0e} {what}; check the exponent")
    if number < low:
        hint = f"; {value}B would be {number:g} billion" if number < 1000 else ""
        raise MixoptError(f"{label}: too few to plan with: at least {low:.0e} {what}{hint}")
    return number


def as_number(value: Any) -> float | None:
    """1e22, 25B and numbers as floats; None for anything else."""
    if isinstance(value, bool):
        return None
    for read in (float, parse_count):
        try:
            return float(read(value))
        except (TypeError, ValueError):
            continue
    return None


def refuse_tiny(question: Question, run: Run, lead: Surface) -> None:
    """Raises MixoptError where the model, or the tokens it would see, are too few for any law."""
    least = smallest_model(lead)
    fewest = LIMITS["tokens"][0]
    if not run.inside and not question.of_a_run and question.compute is None:
        what = "a model of so many parameters" if question.params is not None else "so many tokens"
        raise MixoptError(
            f"by {lead.name} no run of {what} is a good use of compute on {amount(question.unique)} unique tokens: "
            "give fewer, or a budget with --compute"
        )
    if run.params >= least and run.tokens >= fewest:
        return
    if question.params is not None and run.params < least:
        raise MixoptError(
            f"--params {amount(question.params)}: the smallest model that a law can tell of has {amount(least)} "
            "parameters: give a larger one"
        )
    what = "compute" if question.compute is not None else "tokens"
    value = question.compute if question.compute is not None else question.tokens
    if question.of_a_run:
        needed = TRAINING * max(run.params, least) * fewest
        told = f"leaves {run.tokens:.3g} tokens for {amount(run.params)} parameters"
    else:
        smallest = balanced(lead, question.unique, params=least)
        if question.compute is not None and smallest.compute <= question.compute:
            raise MixoptError(
                f"--unique {amount(question.unique)}: so little text is best learnt by {amount(run.params)} "
                f"parameters, fewer than the {amount(least)} that a law can tell of: give more"
            )
        needed = smallest.compute if what == "compute" else smallest.tokens
        told = f"is too small for one pass of the smallest model ({amount(least)} parameters)"
    raise MixoptError(f"--{what} {value:.3g} {told}: raise it to {needed:.1e} or more")
