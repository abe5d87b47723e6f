"""The query of continued pretraining, checked against the runs, and the budget that it leaves to search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixopt.continual.fit import is_constant
from mixopt.continual.grid import Budget
from mixopt.errors import MixoptError
from mixopt.formatting import count_text, percent
from mixopt.plan.surface import TRAINING
from mixopt.report.document import Warning
from mixopt.runs.continual import ContinualRuns
from regressors.laws.effective_tokens import R_STAR

TOLERANCE = 0.03  # of the general loss: what published work asks for (D-CPT law, arXiv:2406.01375)
MAX_TIMES_LONGEST = 4.0  # of the longest trained run, where the length is free
SHARE_MARGIN = 1.0  # times the width of the trained shares, by which shares to both sides of them are searched too


@dataclass(frozen=True)
class CptQuestion:
    """The query: the lowest domain loss whose general loss rises by `tolerance` of its start at most.

    params, tokens, compute (6 N D FLOPs): the run, or two of them. domain_tokens: different domain text there is; with
    a given length its repetition is counted by r_star, without one a run is `passes` epochs of it long.
    """

    tolerance: float = TOLERANCE
    params: float | None = None
    tokens: float | None = None
    compute: float | None = None
    domain_tokens: float | None = None
    passes: float | None = None
    r_star: float | None = None

    def given(self) -> dict[str, float]:
        return {key: value for key, value in vars(self).items() if value is not None}

    def setting(self, name: str) -> str:
        """A count as the user writes it, for messages."""
        return f"--{name}"


class StudyQuestion(CptQuestion):
    """The query of a study file."""

    def setting(self, name: str) -> str:
        return f"full.{name}"


def budget_of(runs: ContinualRuns, question: CptQuestion) -> tuple[Budget, list[Warning]]:
    """The runs to choose from, and what is assumed of them. Raises MixoptError for what these runs can't answer."""
    if not question.tolerance > -1:
        raise MixoptError(f"--tolerance {question.tolerance:.0%}: a loss can't fall below 0")
    sizes, tokens, compute = _sizes(runs, question), question.tokens, question.compute
    if compute is not None and len(sizes) == 1:
        tokens, compute = compute / (TRAINING * sizes[0]), None
    if question.passes is not None and (question.domain_tokens is None or tokens or compute):
        raise MixoptError(
            "--passes says how long a run over --domain-tokens is: give those, and neither --tokens nor --compute"
        )
    if not (tokens or compute or question.domain_tokens):  # the longest run of the trained size that is nearest
        gaps = np.abs(np.log(runs.params / sizes[-1]))
        tokens = float(runs.tokens[gaps <= gaps.min() + 1e-9].max())
    _check_tokens(runs, question, tokens, compute)
    budget = Budget(
        sizes=sizes,
        tokens=tokens,
        compute=compute,
        domain_tokens=question.domain_tokens,
        epochs=question.passes or 1.0,
        r_star=question.r_star or R_STAR,
        max_tokens=MAX_TIMES_LONGEST * runs.ends("tokens")[1],
        shares=near_shares(runs),
    )
    low, high = budget.share_ends()
    if low > high:
        raise MixoptError(
            f"{count_text(budget.epochs * (question.domain_tokens or 0))} tokens of domain text make runs of more "
            f"than {MAX_TIMES_LONGEST:.0f} times the longest that was trained ({count_text(runs.ends('tokens')[1])}): "
            f"say how long to train with {question.setting('tokens')}"
        )
    return budget, _assumptions(runs, question, budget)


def _sizes(runs: ContinualRuns, question: CptQuestion) -> tuple[float, ...]:
    low, high = runs.ends("params")
    params = question.params
    if params is None and question.compute is not None and question.tokens is not None:
        params = question.compute / (TRAINING * question.tokens)
    elif question.params is not None and question.compute is not None and question.tokens is not None:
        raise MixoptError("compute, params and tokens are redundant together (compute = 6 N D): drop one of them")
    if "params" not in runs.known and (params is not None or question.compute is not None):
        raise MixoptError(f"{runs.name}: the runs don't say their parameters: name the column with --params-column")
    if params is not None:
        if is_constant(runs, "params") and abs(params / high - 1) > 0.01:
            raise MixoptError(
                f"{count_text(params)} parameters: all runs have {count_text(high)}, so what another size does can't "
                f"be known from them: train a second size, or leave {question.setting('params')} out"
            )
        return (params,)
    if question.compute is None:
        return (high,)
    if is_constant(runs, "params"):
        raise MixoptError(
            f"{question.setting('compute')}: all runs have {count_text(high)} parameters, so the best size can't be "
            f"known from them: add runs of a second size, or give {question.setting('tokens')} "
            f"{question.compute / (TRAINING * high):.3g} in its place"
        )
    return (low, high)


def near_shares(runs: ContinualRuns) -> tuple[float, float]:
    """The domain shares that are searched: the trained ones, and as far again to both sides."""
    low, high = runs.ends("share")
    if high - low < 1e-6:
        raise MixoptError(
            f"{runs.name}: all runs have {percent(high)} domain text, so what another share does can't be known from "
            "them: add runs of a second share, better of three or more"
        )
    return max(0.0, low - SHARE_MARGIN * (high - low)), min(1.0, high + SHARE_MARGIN * (high - low))


def _check_tokens(runs: ContinualRuns, question: CptQuestion, tokens: float | None, compute: float | None) -> None:
    longest = runs.ends("tokens")[1]
    moved = compute is not None or (tokens is not None and abs(tokens / longest - 1) > 0.01)
    if "tokens" not in runs.known and (moved or question.domain_tokens is not None):
        raise MixoptError(
            f"{runs.name}: the runs don't say their tokens: name the column with --tokens-column, or give the count of "
            "all of them with --tokens"
        )
    repeats = question.domain_tokens is not None and not (tokens and question.domain_tokens >= tokens)
    if is_constant(runs, "tokens") and (moved or repeats):
        raise MixoptError(
            f"all runs have {count_text(longest)} tokens, so what other lengths do, or repetition, can't be known from "
            "them: add checkpoints of other lengths, or ask about that one"
        )


def _assumptions(runs: ContinualRuns, question: CptQuestion, budget: Budget) -> list[Warning]:
    longest = runs.ends("tokens")[1]
    several = len(set(runs.run)) < len(runs.run)
    other_length = not (budget.tokens and abs(budget.tokens / longest - 1) <= 0.01)
    text = (
        "Several rows of a run are checkpoints: where the learning rate decays along a run, their losses are above "
        "those of shorter runs' ends, and so are predictions for other lengths than the runs' own."
    )
    found = [(several and other_length, "intermediate-checkpoints", text)]
    for key, word in (("params", "parameters"), ("tokens", "tokens")):
        text = f"The runs don't say their {word}: all are taken to have the same number, and so is the plan."
        found.append((key not in runs.known, f"unknown-{key}", text))
    limited = budget.domain_tokens is not None
    text = (
        f"The lower a run's domain share, the longer it is: {budget.epochs:g} "
        f"{'epoch' if budget.epochs == 1 else 'epochs'} of {count_text(budget.domain_tokens)} domain tokens, "
        f"{count_text(budget.max_tokens)} tokens in all at most ({MAX_TIMES_LONGEST:.0f} times the longest run)."
    )
    found.append((limited and budget.by_share, "length-by-share", text))
    source = "published for English web text, hardly decided there" if question.r_star is None else "as given"
    text = (
        f"Repeated domain tokens count as fewer fresh ones for the domain loss: R* = {budget.r_star:.4g}, {source}; "
        "the general loss is taken to see no difference."
    )
    found.append((limited, "repetition", text))
    return [Warning(code, text) for applies, code, text in found if applies]
