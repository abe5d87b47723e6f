"""Counts of a planning question, within limits, and the forms of the law that answer it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.formatting import as_number, count_advice
from mixopt.plan.presets import published
from mixopt.plan.surface import Surface

if TYPE_CHECKING:
    from mixopt.plan.fit import LawFit
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
MAX_LOSS = 100.0  # nats/token: no vocabulary is that large
MIN_PARAMS = 1e6  # the published laws tell nothing of models below a few million


def loss_above_0(value: Count) -> float:
    """A loss as a number. Raises MixoptError for anything but a finite one above 0."""
    number = as_number(value)
    if number is None or not 0 < number <= MAX_LOSS:
        raise MixoptError(f"--loss {value}: write a loss in nats/token above 0 and at most {MAX_LOSS:g}, such as 2.2")
    return number


def smallest_model(lead: Surface) -> float:
    """Parameters below which a form is not used."""
    return min(MIN_PARAMS, lead.within["params"][0] / 10) if lead.made == "runs" else MIN_PARAMS


def count(name: str, value: Count) -> float:
    """A count as a number. Raises MixoptError for what isn't one, and for more or less than any plan can be about."""
    low, high, what = LIMITS[name]
    example = "1e22" if name == "compute" else "25B, 300M or 1e9"
    number = None if isinstance(value, bool) else as_number(value)
    label = f"--{name.replace('_', '-')} {value}"
    if number is None or not number > 0:
        raise MixoptError(f"{label}: {count_advice(value, f'write a count of {what} above 0, such as {example}')}")
    if number > high:
        raise MixoptError(f"{label}: beyond any run: at most {high:.0e} {what}; check the exponent")
    if number < low:
        hint = f"; {value}B would be {number:g} billion" if number < 1000 else ""
        raise MixoptError(f"{label}: too few to plan with: at least {low:.0e} {what}{hint}")
    return number


def counts_of(**given: Count | None) -> dict[str, float]:
    """Those of the counts that are given, as numbers."""
    return {name: count(name, value) for name, value in given.items() if value is not None}


def forms_of(
    runs: Runs | Path | str | None,
    preset: str | None,
    leading: str,
    *,
    seed: int,
    progress: Progress | None,
    needs_repeats: bool,
) -> tuple[list[Surface], LawFit | None]:
    """The forms that answer, the leading one first, and what is known of their fit; None for published ones."""
    if runs is None:
        return published(preset or leading), None
    from mixopt.plan.fit import fitted
    from mixopt.runs.scaling import Runs, read_plan_runs
    from mixopt.study.progress import Progress

    table = runs if isinstance(runs, Runs) else read_plan_runs(Path(runs))
    if needs_repeats and not table.repeats:
        raise MixoptError(
            f"{table.name}: no run has a token twice (columns of unique tokens or epochs), so these runs can't show "
            "what repetition is worth: drop --runs for the published laws, or ask `mixopt plan scale`"
        )
    surfaces, fit = fitted(table, progress or Progress(), seed=seed)
    if preset is None:
        return surfaces, fit
    names = [surface.name for surface in surfaces]
    if preset not in names:
        raise MixoptError(f"--preset {preset}: not among the forms fitted to the runs: choose from {', '.join(names)}")
    return sorted(surfaces, key=lambda surface: surface.name != preset), fit
