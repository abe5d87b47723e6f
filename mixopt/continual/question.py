"""Questions about continued pretraining, and the runs that they leave to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.continual.fit import held
from mixopt.continual.grid import Budget
from mixopt.errors import MixoptError
from mixopt.formatting import amount, share
from mixopt.plan.surface import TRAINING
from mixopt.runs.continual import ContinualRuns
from regressors.laws.effective_tokens import R_STAR

TOLERANCE = 0.03  # of the general loss: what published work asks for (D-CPT law, arXiv:2406.01375)
FAR = 4.0  # times the longest run: longer ones aren't looked at where the length is free
AROUND = 1.0  # times the width of the trained shares, by which shares to both sides of them are looked at as well


@dataclass(frozen=True)
class CptQuestion:
    """What is asked: the least domain loss whose general loss rises by `tolerance` of its start at most.

    params, tokens, compute (6 N D FLOPs): the run, or two of them. domain_tokens: different domain text there is; with
    a given length its repetition is counted by r_star, without one a run is `passes` passes over it long.
    """

    tolerance: float = TOLERANCE
    params: float | None = None
    tokens: float | None = None
    compute: float | None = None
    domain_tokens: float | None = None
    passes: float | None = None
    r_star: float | None = None

    def record(self) -> dict[str, float]:
        return {key: value for key, value in vars(self).items() if value is not None}


def budget_of(runs: ContinualRuns, asked: CptQuestion) -> tuple[Budget, list[str]]:
    """The runs to choose from, and what is to be said of them. Raises MixoptError for what these runs can't answer."""
    if not asked.tolerance > -1:
        raise MixoptError(f"--tolerance {asked.tolerance:.0%}: a loss can't fall below 0")
    sizes, tokens, compute = _sizes(runs, asked), asked.tokens, asked.compute
    if compute is not None and len(sizes) == 1:
        tokens, compute = compute / (TRAINING * sizes[0]), None
    if asked.passes is not None and (asked.domain_tokens is None or tokens or compute):
        raise MixoptError(
            "--passes says how long a run over --domain-tokens is: give those, and neither --tokens nor --compute"
        )
    if not (tokens or compute or asked.domain_tokens):
        tokens = _longest(runs, sizes)
    _check_tokens(runs, asked, tokens, compute)
    budget = Budget(
        sizes=sizes,
        tokens=tokens,
        compute=compute,
        domain_tokens=asked.domain_tokens,
        passes=asked.passes or 1.0,
        r_star=asked.r_star or R_STAR,
        most_tokens=FAR * runs.ends("tokens")[1],
        shares=near_shares(runs),
    )
    if budget.ends()[0] > budget.ends()[1]:
        raise MixoptError(
            f"{amount(budget.passes * (asked.domain_tokens or 0))} tokens of domain text make runs of more than "
            f"{FAR:.0f} times the longest that was trained ({amount(runs.ends('tokens')[1])}): say how long to train "
            "with --tokens"
        )
    return budget, _notes(runs, asked, budget)


def _sizes(runs: ContinualRuns, asked: CptQuestion) -> tuple[float, ...]:
    low, high = runs.ends("params")
    params = asked.params
    if params is None and asked.compute is not None and asked.tokens is not None:
        params = asked.compute / (TRAINING * asked.tokens)
    elif asked.params is not None and asked.compute is not None and asked.tokens is not None:
        raise MixoptError("compute, params and tokens together say one thing twice (compute = 6 N D): drop one of them")
    if "params" not in runs.knows and (params is not None or asked.compute is not None):
        raise MixoptError(f"{runs.name}: the runs don't say their parameters: name the column with --params-column")
    if params is not None:
        if held(runs, "params") and abs(params / high - 1) > 0.01:
            raise MixoptError(
                f"{amount(params)} parameters: all runs have {amount(high)}, so what another size does can't be known "
                "from them: train a second size, or leave --params out"
            )
        return (params,)
    if asked.compute is None:
        return (high,)
    if held(runs, "params"):
        raise MixoptError(
            f"--compute: all runs have {amount(high)} parameters, so the best size can't be known from them: add runs "
            f"of a second size, or give --params {amount(high)} as well"
        )
    return (low, high)


def near_shares(runs: ContinualRuns) -> tuple[float, float]:
    """The domain shares that are looked at: the trained ones, and as far again to both sides."""
    low, high = runs.ends("share")
    if high - low < 1e-6:
        raise MixoptError(
            f"{runs.name}: all runs have {share(high)} domain text, so what another share does can't be known from "
            "them: add runs of a second share, better of three or more"
        )
    return max(0.0, low - AROUND * (high - low)), min(1.0, high + AROUND * (high - low))


def _longest(runs: ContinualRuns, sizes: tuple[float, ...]) -> float:
    """Of the trained size next to the asked one."""
    gaps = np.abs(np.log(runs.params / sizes[-1]))
    return float(runs.tokens[gaps <= gaps.min() + 1e-9].max())


def _check_tokens(runs: ContinualRuns, asked: CptQuestion, tokens: float | None, compute: float | None) -> None:
    longest = runs.ends("tokens")[1]
    moved = compute is not None or (tokens is not None and abs(tokens / longest - 1) > 0.01)
    repeats = asked.domain_tokens is not None and not (tokens and asked.domain_tokens >= tokens)
    if "tokens" not in runs.knows and (repeats or moved or asked.domain_tokens is not None):
        raise MixoptError(
            f"{runs.name}: the runs don't say their tokens: name the column with --tokens-column, or give the count of "
            "all of them with --tokens"
        )
    if held(runs, "tokens") and (moved or repeats):
        raise MixoptError(
            f"all runs have {amount(longest)} tokens, so what other lengths do, or repetition, can't be known from "
            "them: add checkpoints of other lengths, or ask about that one"
        )


def _notes(runs: ContinualRuns, asked: CptQuestion, budget: Budget) -> list[str]:
    told: list[str] = []
    longest = runs.ends("tokens")[1]
    if len(set(runs.run)) < len(runs.run) and not (budget.tokens and abs(budget.tokens / longest - 1) <= 0.01):
        told.append(
            "Several rows a run are checkpoints: where the learning rate falls along a run, they are higher than "
            "shorter runs would end, and so is what is said of other lengths than the runs' own."
        )
    for key, word in (("params", "parameters"), ("tokens", "tokens")):
        if key not in runs.knows:
            told.append(f"The runs don't say their {word}: all are taken to have the same number, and so is the plan.")
    if budget.domain_tokens is not None:
        if budget.by_share:
            told.append(
                f"The less domain text a run has, the longer it is: {budget.passes:g} "
                f"{'pass' if budget.passes == 1 else 'passes'} over {amount(budget.domain_tokens)} domain tokens, "
                f"{amount(budget.most_tokens)} tokens in all at most ({FAR:.0f} times the longest run)."
            )
        source = "published for English web text, hardly decided there" if asked.r_star is None else "as given"
        told.append(
            "Domain text that is repeated counts as fewer fresh tokens for the domain loss: "
            f"R* = {budget.r_star:.4g}, {source}; the general loss is taken to see no difference."
        )
    return told


def answered(record: dict[str, Any]) -> bool:
    """Whether some share keeps the tolerance."""
    return record["answer"] is not None
