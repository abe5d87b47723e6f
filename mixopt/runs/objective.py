"""Objective: a weighted mean of the losses on validation sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.runs.columns import refuse_rising
from mixopt.runs.source import Interface, gross_outliers, setting
from mixopt.runs.table import RunTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Target:
    """What is minimised: a weighted mean of the losses on some validation sets. unit: nats/token, or "" if unknown."""

    weights: dict[str, float]  # by validation set, summing to 1
    by_target: Floats  # (n_targets,) the same in the run table's order
    unit: str = "nats/token"

    def of(self, losses: Any) -> Floats:
        """The target of losses (..., n_targets): (...). NaN where one that counts is missing."""
        losses = np.asarray(losses, dtype=float)
        counts = self.by_target > 0
        return losses[..., counts] @ self.by_target[counts]


TargetChoice = str | Sequence[str] | Mapping[str, float]


def weights_of(target: TargetChoice) -> dict[str, float]:
    """A target as weight by loss: of one loss, of several with equal weights, or as it is."""
    names = [target] if isinstance(target, str) else target
    return dict(names) if isinstance(names, Mapping) else {name: 1 / len(names) for name in names}


def target_of(weights: Mapping[str, float], table: RunTable) -> Target:
    """The study's target. Raises MixoptError for a validation set without losses and for weights that give no mean."""
    unknown = [name for name in weights if name not in table.targets]
    if unknown:
        if unknown[0] in table.problems:
            raise MixoptError(table.problems[unknown[0]])
        raise MixoptError(
            f"target names {unknown[0]!r}, which the runs have no loss on: choose from {', '.join(table.targets)}"
        )
    total = math.fsum(weights.values())
    if not all(weight >= 0 for weight in weights.values()) or not 0 < total < math.inf:
        raise MixoptError("target: weights must be 0 or more, and one above 0")
    shares = {name: weight / total for name, weight in weights.items()}
    unit = "" if any(name in table.other_units for name, share in shares.items() if share) else "nats/token"
    return Target(shares, np.array([shares.get(name, 0.0) for name in table.targets]), unit)


def check_objective(weights: Mapping[str, float], table: RunTable, *, interface: Interface = "command") -> None:
    """Raises MixoptError for losses of a user's table that can't be minimised: a metric that rises, a loss that is the
    same in every run, and losses so far from the others that any fit would be to them.

    interface: how messages write the settings of the table.
    """
    columns = dict(zip(table.targets, table.losses.T, strict=True))
    for name in (name for name, weight in weights.items() if weight > 0 and name in columns):
        named = f"{name}_loss=COLUMN" if interface == "command" else f"{{{name}_loss: COLUMN}}"
        refuse_rising(name, remedy=f"name it so with {setting('losses', interface, named)}")
        values = columns[name]
        known = ~np.isnan(values)
        if known.sum() > 1 and np.ptp(values[known]) == 0:
            raise MixoptError(f"{name!r}: the same loss in every run, so there is nothing to predict: choose another")
        if len(gross := gross_outliers(values)):
            which = ", ".join(f"{table.run_ids[row]} ({values[row]:g})" for row in gross[:4])
            are = "runs {} are" if len(gross) > 1 else "run {} is"
            raise MixoptError(
                f"{name!r}: {are.format(which)} far from the others, of median {np.median(values[known]):.4g}: correct "
                f"the table, mark such runs in a column `diverged`, or leave them out with "
                f"{setting('where', interface)}"
            )


def weighted(frame: Any, weights: Mapping[str, float]) -> Any:
    """A weighted mean of loss/<name>: columns of a run table (n_rows,), or one row. weights: by name."""
    return sum(weight * frame[f"loss/{name}"] for name, weight in weights.items())


TARGET = "target"  # stands for the weighted target beside the names of losses


def narrowed(table: RunTable, names: Sequence[str]) -> RunTable:
    """The table with only these losses, in its own order.

    Raises MixoptError for a loss whose name stands for the target itself.
    """
    kept = tuple(name for name in table.targets if name in names)
    if TARGET in kept and len(kept) > 1:
        raise MixoptError(
            f"a loss is called {TARGET!r}, which stands for the weighted target: name it otherwise with --losses "
            "other=column"
        )
    return replace(table, targets=kept)
