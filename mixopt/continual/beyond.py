"""Where an answer lies outside what was trained, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixopt.continual.runs import ContinualRuns
from mixopt.report.words import amount, share

if TYPE_CHECKING:
    from mixopt.continual.sweep import Budget, Swept

SAME = 1.01  # counts this close are one


def beyond(runs: ContinualRuns, budget: Budget, answer: Swept | None) -> list[str]:
    """Sentences; none where the answer lies inside the trained sizes, tokens and shares."""
    if answer is None:
        return []
    at = answer.at
    told = [
        _count(runs, "params", float(at.params), "parameters", "the smallest trained", "the largest trained"),
        _count(runs, "tokens", float(at.tokens), "tokens", "the first checkpoint", "the longest run"),
        _share(runs, float(at.share)),
        _share_end(budget, float(at.share)),
    ]
    if len(budget.sizes) > 1:
        told += [_end(budget, float(at.params))]
    return [sentence for sentence in told if sentence]


def _count(runs: ContinualRuns, key: str, value: float, word: str, low: str, high: str) -> str:
    if key not in runs.knows:
        return ""
    least, most = runs.ends(key)
    if value > most * SAME:
        return f"{amount(value)} {word} are {value / most:.2g} times {high} ({amount(most)}): the laws extrapolate."
    if value * SAME < least:
        return f"{amount(value)} {word} are fewer than {low} has ({amount(least)}): the laws extrapolate."
    return ""


def _share(runs: ContinualRuns, value: float) -> str:
    least, most = runs.ends("share")
    if least - 0.005 <= value <= most + 0.005:
        return ""
    return (
        f"{share(value)} domain text lies outside the shares that were trained ({share(least)} to {share(most)}): the "
        "laws extrapolate there, and errors of unknown size are possible."
    )


def _share_end(budget: Budget, value: float) -> str:
    low, high = budget.ends()
    if value <= low + 1e-6 and low > 0:
        return f"Less domain text than {share(low)} wasn't looked at: there may be better below."
    if value >= high - 1e-6 and high < 1:
        return f"More domain text than {share(high)} wasn't looked at: there may be better above."
    return ""


def _end(budget: Budget, params: float) -> str:
    low, high = min(budget.sizes), max(budget.sizes)
    if params > high / SAME:
        return f"The best size is the largest trained ({amount(high)}): a larger one may do better for this compute."
    if params < low * SAME:
        return f"The best size is the smallest trained ({amount(low)}): a smaller one may do better for this compute."
    return ""
