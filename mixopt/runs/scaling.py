"""Runs of one mixture by size, tokens and unique tokens: the table that scaling and repetition laws are fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import did_you_mean, is_empty
from mixopt.runs.columns import SCALING_ALIASES, checked, recognised
from mixopt.runs.filters import keeping
from mixopt.runs.source import file_record, read_table

Array = np.ndarray


MIN_RUNS = 6


@dataclass(frozen=True)
class Runs:
    """Finished runs: counts and losses, (n_runs,) each; unique equals tokens where no column tells of repetition."""

    name: str
    params: Array
    tokens: Array
    unique: Array
    loss: Array
    repeats: bool  # whether any run had a token twice
    notes: tuple[str, ...]
    files: tuple[Mapping[str, str | int], ...]

    @property
    def X(self) -> Array:
        """(n_runs, 3): parameters, tokens, unique tokens."""
        return np.column_stack([self.params, self.tokens, self.unique])

    def within(self) -> dict[str, tuple[float, float]]:
        """The lowest and the highest of what was trained."""
        ends = {"params": self.params, "tokens": self.tokens, "epochs": self.tokens / self.unique}
        return {name: (float(values.min()), float(values.max())) for name, values in ends.items()}


def read_plan_runs(path: Path, *, columns: Mapping[str, str] | None = None, where: Sequence[str] = ()) -> Runs:
    """A table with a finished run a row: columns for parameters, training tokens, loss; unique tokens or epochs.

    columns: {"params": "size", ...} for names that aren't known; counts may have suffixes (70M).
    Raises MixoptError, naming file, line and column, for what can't be read.
    """
    (table,) = keeping([read_table(path, interface="command")], list(where))
    found = {key: recognised(table.columns, key, SCALING_ALIASES) for key in SCALING_ALIASES}
    for key, chosen in (columns or {}).items():
        found[key] = checked(table.columns, chosen, setting=f"`--columns {key}=`", where=path)
    for key in ("params", "tokens", "loss"):
        if found[key] is None:
            raise MixoptError(
                f"{path}: no column for {key} (one of {', '.join(SCALING_ALIASES[key])}): name it with "
                f"`--columns {key}=...`; {did_you_mean(key, table.columns)}"
            )
    used = {key: column for key, column in found.items() if column is not None}
    kept = [row for row, cell in enumerate(table.cells(used["loss"])) if not is_empty(cell)]
    notes = (
        [f"{len(table) - len(kept)} of {len(table)} rows have no loss and are out."] if len(kept) < len(table) else []
    )
    values = {key: table.rows(kept).positive(column) for key, column in used.items()}
    tokens = values["tokens"]
    if "unique" in values:
        unique = values["unique"]
    else:
        unique = tokens / np.maximum(values["epochs"], 1.0) if "epochs" in values else tokens
    if len(tokens) < MIN_RUNS:
        raise MixoptError(f"{path}: {len(tokens)} runs: a law needs {MIN_RUNS} or more")
    repeats = bool((tokens > unique * (1 + 1e-6)).any())
    unique = np.minimum(tokens, unique)
    return Runs(
        path.stem, values["params"], tokens, unique, values["loss"], repeats, tuple(notes), (file_record(path),)
    )
