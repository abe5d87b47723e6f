"""How often to repeat text: the best run for a budget, with what the forms of the law disagree about.

All losses are nats/token, all FLOPs 6 N D.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.formatting import amount, passes
from mixopt.plan.marginal import marginal, next_steps, prices, turning, value_of_a_repeat
from mixopt.plan.optimum import LEAST, balanced, best_run, least_compute
from mixopt.plan.surface import TRAINING, Array, Run, Surface, losses, run_at

POINTS = 97  # of a curve
TOLERABLE = 1e-3  # nats/token: where a tenth of a budget is so near, more is wasted
FEWEST = 8  # values that a central share is told of
SAME = 1e-9  # relative: numbers that differ by rounding
FAR = 1.05  # beyond the ends of what was fitted


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
        compute, params, tokens = self.compute, self.params, self.tokens
        if not self.of_a_run:
            if compute is not None:
                return best_run(surface, compute, self.unique)
            return balanced(surface, self.unique, params=params, tokens=tokens)
        if compute is not None:
            params = params or compute / TRAINING / (tokens or 1)
            tokens = tokens or compute / TRAINING / params
        return run_at(surface, params or 0, tokens or 0, self.unique)

    def record(self) -> dict[str, float]:
        return {key: value for key, value in vars(self).items() if value is not None}


def epochs_record(question: Question, surfaces: Sequence[Surface]) -> dict[str, Any]:
    """Everything that `mixopt plan epochs` tells, JSON-able. surfaces: the leading form first."""
    lead = surfaces[0]
    run = question.answer(lead)
    members = [lead.at(loss) for loss in lead.members]
    runs = [question.answer(one) for one in members]
    forms = [form_record(question, one, run, runs if one is lead else None) for one in surfaces]
    margins = [marginal(one, its) for one, its in zip(members, runs, strict=True)]
    return {
        "kind": "epochs",
        "given": question.record(),
        "form": lead.name,
        "answer": run_record(run) | {"interval": run_intervals(lead, run, runs)},
        "interval": {"level": lead.level, "over": lead.allowed},
        "marginal": with_intervals(lead, marginal(lead, run) | prices(lead, run, best=not question.of_a_run), margins),
        "turning": with_intervals(lead, turning(lead, run), [turning(one, run) for one in members]),
        "next": next_steps(lead, run),
        "ladder": ladder(lead, members, run),
        "forms": forms,
        "disagreement": disagreement(forms),
        "curves": {"equal_compute": equal_compute(surfaces, run), "same_model": same_model(lead, members, run)},
        "beyond": beyond(lead, run),
        "notes": notes(question, lead, run),
    }


def run_record(run: Run) -> dict[str, Any]:
    return {
        "params": run.params,
        "tokens": run.tokens,
        "unique": run.unique,
        "epochs": run.epochs,
        "compute": run.compute,
        "loss": run.loss,
        "repeats": run.epochs > 1,
        "inside": run.inside,
    }


def interval(values: Sequence[Any], level: float | None, point: float | None = None) -> list[float] | None:
    """The ends of all values and the point, or of the central share of the values; None where there is nothing to tell.

    That is where there are no values, or all are the same: what is uncertain plays no part then.
    """
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    if len(known) < (1 if level is None else FEWEST) or max(known) - min(known) <= SAME * abs(min(known)):
        return None
    if level is None:
        known += [] if point is None else [point]
        return [min(known), max(known)]
    return [float(end) for end in np.quantile(known, [(1 - level) / 2, (1 + level) / 2])]


def run_intervals(surface: Surface, run: Run, runs: Sequence[Run]) -> dict[str, list[float] | None]:
    names = ("params", "tokens", "epochs", "compute", "loss")
    return {name: interval([getattr(r, name) for r in runs], surface.level, getattr(run, name)) for name in names}


def with_intervals(surface: Surface, told: dict[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the form says, with an interval over what its members say."""
    ends = {key: interval([other.get(key) for other in others], surface.level, told[key]) for key in told}
    return told | {"interval": ends}


# The forms beside each other


def sees_repetition(surface: Surface, run: Run) -> bool:
    """Whether the loss depends on how many of the tokens are unique."""
    tokens = run.unique * np.array([2.0, 8.0, 64.0])
    some, none = (losses(surface, run.params, tokens, unique) for unique in (run.unique, run.unique * 64))
    return bool(np.any(np.abs(some - none) > 1e-9))


def form_record(question: Question, surface: Surface, led: Run, runs: Sequence[Run] | None) -> dict[str, Any]:
    """One form's answer. regret: what the leading form's run gives up by this one's account, at equal compute.

    runs: its members' answers where they are known already.
    """
    run = question.answer(surface)
    if runs is None:
        runs = [question.answer(surface.at(loss)) for loss in surface.members]
    own = run_at(surface, led.params, led.tokens, led.unique)
    best = best_run(surface, led.compute, led.unique)
    return {
        "form": surface.name,
        "made": surface.made,
        "source": surface.source,
        "note": surface.note,
        "sees_repetition": sees_repetition(surface, led),
        **run_record(run),
        "interval": run_intervals(surface, run, runs),
        "regret": max(own.loss - best.loss, 0.0),
        "repeat_value": number(value_of_a_repeat(surface, led.params, led.tokens, led.unique)),
    }


def disagreement(forms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The lowest and highest answers of the forms that see repetition, and the largest regret among them."""
    seeing = [form for form in forms if form["sees_repetition"]] or list(forms)
    ends = {key: [min(f[key] for f in seeing), max(f[key] for f in seeing)] for key in ("params", "tokens", "epochs")}
    return ends | {"forms": len(seeing), "regret": max(form["regret"] for form in seeing)}


# Curves


def equal_compute(surfaces: Sequence[Surface], run: Run) -> dict[str, Any]:
    """Loss of every form against epochs, where fewer epochs leave compute for more parameters."""
    low, high = run.epochs / 12, run.epochs * 12
    high = min(high, run.compute / TRAINING / LEAST / run.unique)
    epochs = np.geomspace(low, high, POINTS)
    tokens = epochs * run.unique
    params = run.compute / TRAINING / tokens
    return {
        "compute": run.compute,
        "epochs": epochs.tolist(),
        "params": params.tolist(),
        "loss": {one.name: finite(losses(one, params, tokens, run.unique)) for one in surfaces},
    }


def ladder(lead: Surface, members: Sequence[Surface], run: Run) -> list[dict[str, Any]]:
    """The leading form's losses at round numbers of epochs: at equal compute, and for the run's own model."""
    rungs = [float(2**power) for power in range(-3, 11) if run.epochs / 12 < 2**power < max(run.epochs * 12, 17)]
    told = []
    for epochs in rungs:
        tokens = epochs * run.unique
        equal = run_at(lead, run.compute / TRAINING / tokens, tokens, run.unique)
        same = run_at(lead, run.params, tokens, run.unique)
        more = marginal(lead, same)
        others = [run_at(one, run.params, tokens, run.unique).loss for one in members]
        told.append(
            {
                "epochs": epochs,
                "params_at_equal_compute": equal.params,
                "loss_at_equal_compute": equal.loss,
                "loss": same.loss,
                "interval": interval(others, lead.level, same.loss),
                "change": more["change"],
                "fresh_share": more["fresh_share"],
            }
        )
    return told


def same_model(lead: Surface, members: Sequence[Surface], run: Run) -> dict[str, Any]:
    """Loss of the leading form against epochs for the run's own model, and what each next epoch would bring."""
    epochs = np.geomspace(0.5, max(8 * run.epochs, 64.0), POINTS)
    tokens = epochs * run.unique
    every = np.array([losses(one, run.params, tokens, run.unique) for one in (lead, *members)])
    after = losses(lead, run.params, tokens + run.unique, run.unique)
    low, high = band(every, lead.level)
    return {
        "params": run.params,
        "epochs": epochs.tolist(),
        "loss": finite(every[0]),
        "low": finite(low),
        "high": finite(high),
        "all_new": finite(losses(lead, run.params, tokens, tokens)),
        "change": finite(after - every[0]),
        "repeat_value": finite(value_of_a_repeat(lead, run.params, tokens, run.unique)),
    }


def band(every: Array, level: float | None) -> tuple[Array, Array]:
    """The ends at each point, (n_points,) each: every's first row is the form's own, the others its members'."""
    if level is None or len(every) == 1:
        return every.min(axis=0), every.max(axis=0)
    low, high = np.quantile(every[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def finite(values: Any) -> list[float | None]:
    return [number(value) for value in np.ravel(values)]


# In words


def beyond(surface: Surface, run: Run) -> list[str]:
    """Where the run lies outside what the form was fitted to, a sentence each."""
    told = []
    for key, what, say in (
        ("params", "parameters", amount),
        ("tokens", "tokens", amount),
        ("epochs", "epochs", passes),
    ):
        if key not in surface.within:
            continue
        low, high = surface.within[key]
        value = getattr(run, key)
        if value > high * FAR and (key != "epochs" or high > 1):
            told.append(
                f"{say(value)} {what} are {factor(value / high)} times the most that {surface.name} was fitted to "
                f"({say(high)}): an extrapolation."
            )
        elif value < low / FAR and key != "epochs":
            told.append(
                f"{say(value)} {what} are fewer than the {say(low)} and more that {surface.name} was fitted to: an "
                "extrapolation."
            )
    return told


def factor(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def notes(question: Question, surface: Surface, run: Run) -> list[str]:
    """What else is to be known of an answer, a sentence each."""
    told = []
    if run.epochs > 1 and not sees_repetition(surface, run):
        told.append(
            f"{surface.name} knows nothing of repetition: it takes repeated tokens for new ones, and promises too much."
        )
    if not run.inside:
        told.append("By this form the best run lies at the end of what was searched: it has no optimum here.")
    if question.compute is not None and run.compute < 0.99 * question.compute:
        told.append(
            f"The budget is more than {amount(run.unique)} unique tokens can use: by {surface.name} more than "
            f"{run.compute:.2e} FLOPs gain nothing, however they are spent, and the rest is left unspent."
        )
    elif run.epochs > 1 and question.compute is not None and not question.of_a_run:
        near = least_compute(surface, run.loss + TOLERABLE, run.unique)
        if near is not None and near.compute < question.compute / 10:
            told.append(
                f"The budget is more than {amount(run.unique)} unique tokens can use: {near.compute:.2g} FLOPs, "
                f"{amount(near.params)} parameters and {passes(near.epochs)} epochs, come within {TOLERABLE:g} "
                "nats/token."
            )
    return told
