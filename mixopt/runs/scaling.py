""""""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import as_number, did_you_mean, is_empty
from mixopt.runs.columns import ONE_LOSS
from mixopt.runs.filters import keeping
from mixopt.runs.source import Table, read_table

Array = np.ndarray


FEWEST = 6  # runs


# What a column may be called, in lower case; the first that a table has is taken.
NAMES = {
    "params": ("params", "n_params", "parameters", "n", "n_nonemb", "model_size", "size"),
    "tokens": ("tokens", "n_tokens", "train_tokens", "training_tokens", "d"),
    "unique": ("unique", "unique_tokens", "n_unique", "u"),
    "epochs": ("epochs", "epoch", "n_epochs"),
    "loss": (*ONE_LOSS, "final_loss"),
}


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
    files: tuple[Mapping[str, Any], ...]

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
    (table,) = keeping([read_table(path, door="command")], list(where))
    found = {key: column_of(table, key, (columns or {}).get(key)) for key in NAMES}
    for key in ("params", "tokens", "loss"):
        if found[key] is None:
            raise MixoptError(
                f"{path}: no column for {key} (one of {', '.join(NAMES[key])}): name it with "
                f"`--columns {key}=...`; {did_you_mean(key, table.columns)}"
            )
    used = {key: column for key, column in found.items() if column is not None}
    kept = [row for row, cell in enumerate(table.cells(used["loss"])) if not is_empty(cell)]
    notes = (
        [f"{len(table) - len(kept)} of {len(table)} rows have no loss and are out."] if len(kept) < len(table) else []
    )
    values = {key: counts(table.rows(kept), column) for key, column in used.items()}
    tokens = values["tokens"]
    if "unique" in values:
        unique = values["unique"]
    else:
        unique = tokens / np.maximum(values["epochs"], 1.0) if "epochs" in values else tokens
    if len(tokens) < FEWEST:
        raise MixoptError(f"{path}: {len(tokens)} runs: a law needs {FEWEST} or more")
    repeats = bool((tokens > unique * (1 + 1e-6)).any())
    content = path.read_bytes()
    file = {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    unique = np.minimum(tokens, unique)
    return Runs(path.stem, values["params"], tokens, unique, values["loss"], repeats, tuple(notes), (file,))


def column_of(table: Table, key: str, chosen: str | None) -> str | None:
    """The column that holds it; None where there is none."""
    if chosen is not None:
        if chosen not in table.columns:
            raise MixoptError(
                f"{table.path}: no column {chosen!r} (`--columns {key}=`): {did_you_mean(chosen, table.columns)}"
            )
        return chosen
    lower = {column.lower(): column for column in reversed(table.columns)}
    return next((lower[name] for name in NAMES[key] if name in lower), None)


def counts(table: Table, column: str) -> Array:
    """A column as numbers above 0, (n_rows,). Raises MixoptError at the first cell that isn't one."""
    values = [as_number(cell) for cell in table.cells(column)]
    for row, value in enumerate(values):
        if value is None or not 0 < value < np.inf:
            raise MixoptError(
                f"{table.at(row, column)} is not a number above 0: correct it, or leave it out with --where"
            )
    return np.array(values, dtype=float)
