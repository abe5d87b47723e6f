"""The options of commands on a table of runs, turned into what the library takes, and recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.formatting import nearest_names
from mixopt.mixture.config import TRIED
from mixopt.study.config import SUM_TOLERANCE

if TYPE_CHECKING:
    pass

EVERY = "all"  # stands for every loss, or every predictor, of that name there is none


def target_weights(text: str | None, texts: Sequence[str]) -> dict[str, float]:
    """A target as an option gives it: a loss, several (a,b: equal weights), a=0.7,b=0.3, or all of them.

    texts: the losses that the runs have. Raises MixoptError for others, and for weights that don't sum to 1.
    """
    if text is None:
        if len(texts) == 1:
            return {texts[0]: 1.0}
        raise MixoptError(
            f"--target is missing: name the loss to minimise, a=0.7,b=0.3 or {EVERY} (equal weights); "
            + nearest_names("", texts)
        )
    if text in texts:
        return {text: 1.0}
    if text == EVERY:
        return {name: 1 / len(texts) for name in texts}
    parts = [part.strip() for part in text.split(",") if part.strip()]
    weighted = [_weighted(part, texts) for part in parts]
    names = [name for name, _ in weighted]
    for name in names:
        if name not in texts:
            raise MixoptError(f"--target: the runs have no loss {name!r}: {nearest_names(name, texts)}")
    if len(set(names)) < len(names) or not names:
        raise MixoptError(f"--target {text!r}: name each loss once")
    shares = [share for _, share in weighted]
    if all(share is None for share in shares):
        return {name: 1 / len(names) for name in names}
    given = [share for share in shares if share is not None]
    total = math.fsum(given)
    if len(given) < len(shares) or min(given) < 0 or not abs(total - 1) <= SUM_TOLERANCE:
        raise MixoptError(
            f"--target {text!r}: give every loss a weight of 0 or more, and all of them a sum of 1, not {total:g}"
        )
    return {name: share for name, share in zip(names, given, strict=True) if share > 0}


def _weighted(part: str, texts: Sequence[str]) -> tuple[str, float | None]:
    """name=weight, or a name alone; names may hold = themselves."""
    name, equals, weight = part.rpartition("=")
    if part in texts or not equals:
        return part, None
    try:
        return name.strip(), float(weight)
    except ValueError:
        raise MixoptError(f"--target: {weight!r} in {part!r} is not a number: write name=0.7") from None


def extra_texts(text: str | None, target: Mapping[str, float], texts: Sequence[str]) -> list[str]:
    """The losses to fit: those of the target, and those that --also names, in the table's order."""
    names = [] if text is None else [part.strip() for part in text.split(",") if part.strip()]
    if names == [EVERY] and EVERY not in texts:
        return list(texts)
    for name in names:
        if name not in texts:
            raise MixoptError(f"--also: the runs have no loss {name!r}: {nearest_names(name, texts)}")
    return [name for name in texts if name in target or name in names]


def predictor_names(text: str | None, default: Sequence[str] = TRIED) -> list[str]:
    """The predictors to judge: a,b,c, all, or by default those that studies try."""
    from regressors import PREDICTORS

    if text is None:
        return list(default)
    if text == EVERY:
        return list(PREDICTORS)
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in PREDICTORS:
            near = nearest_names(name, list(PREDICTORS))
            told = near if near.startswith("did") else f"choose from {', '.join(PREDICTORS)}"
            raise MixoptError(f"--predictors: there is no {name!r}: {told}")
    if not names:
        raise MixoptError(f"--predictors: name one or more of {', '.join(PREDICTORS)}, or {EVERY}")
    return names
