"""What is minimised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.runs.table import RunTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Target:
    """What is minimised: a weighted mean of the losses on some validation texts, nats/token."""

    weights: dict[str, float]  # by text, summing to 1
    by_target: Floats  # (n_targets,) the same in the run table's order

    def of(self, losses: Any) -> Floats:
        """The target of losses (..., n_targets): (...). NaN where a text that counts is missing."""
        losses = np.asarray(losses, dtype=float)
        counts = self.by_target > 0
        return losses[..., counts] @ self.by_target[counts]


def target_of(weights: Mapping[str, float], table: RunTable) -> Target:
    """The study's target. Raises MixoptError for a text without losses and for weights that give no mean."""
    unknown = [text for text in weights if text not in table.targets]
    if unknown:
        raise MixoptError(
            f"target names {unknown[0]!r}, which the runs have no loss on: choose from {', '.join(table.targets)}"
        )
    total = math.fsum(weights.values())
    if not all(weight >= 0 for weight in weights.values()) or not 0 < total < math.inf:
        raise MixoptError("target: weights must be 0 or more, and one above 0")
    shares = {text: weight / total for text, weight in weights.items()}
    return Target(shares, np.array([shares.get(text, 0.0) for text in table.targets]))


def weighted(frame: Any, weights: Mapping[str, float]) -> Any:
    """A weighted mean of what is called loss/<text>: columns of a run table (n_rows,), or one row. weights: by text."""
    return sum(weight * frame[f"loss/{text}"] for text, weight in weights.items())


TARGET = "target"  # stands for the study's weighted target beside the texts' names


def narrowed(table: RunTable, texts: Sequence[str]) -> RunTable:
    """The table with only these losses, in its own order.

    Raises MixoptError for a loss whose name stands for the target itself.
    """
    kept = tuple(text for text in table.targets if text in texts)
    if TARGET in kept and len(kept) > 1:
        raise MixoptError(
            f"a loss is called {TARGET!r}, which stands for the weighted target: name it otherwise with --losses "
            "other=column"
        )
    return replace(table, targets=kept)
