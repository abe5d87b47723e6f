"""Stored fits: what the JSON files of every fit have in common, and their checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.runs.objective import Target
from mixopt.serialization import digest, nan_to_null, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.table import RunTable

    Floats = NDArray[np.float64]


PROBES = 5  # mixtures whose predictions are stored too: a mixopt that predicts them otherwise must not be trusted
SAME = 1e-6  # relative; the same formulas on another machine agree far closer


@dataclass(frozen=True, eq=False)
class Stored:
    """What every stored fit holds.

    domains: in the order that arrays of mixtures have; texts: the losses that it predicts; target: weight by loss.
    record: the whole content of its file.
    """

    record: Mapping[str, Any]
    objective: Target

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.record["domains"])

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self.record["texts"])

    @property
    def target(self) -> dict[str, float]:
        return dict(self.objective.weights)


def write_fit(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the record with its checksum, one key a line, whole or not at all."""
    content = {**record, "checksum": digest(record)}
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}" for key, value in content.items()
    )
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def numbers(rows: Any) -> Floats:
    """Rows of JSON numbers as an array, null as NaN."""
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=float)


def table_digest(table: RunTable) -> str:
    """sha256 of what a fit sees of a table: ids, domains, weights, names of losses and losses, in order."""
    return digest(
        [table.run_ids, list(table.domains), table.weights.tolist(), list(table.targets), nan_to_null(table.losses)]
    )
