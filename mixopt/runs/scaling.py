"""Runs of one mixture by size, tokens and unique tokens: the table that scaling and repetition laws are fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import comma_list, did_you_mean, is_empty, value_counts
from mixopt.report.document import NATS, in_unit
from mixopt.runs.columns import SCALING_ALIASES, checked, refuse_rising, unit_of
from mixopt.runs.filters import keeping
from mixopt.runs.source import Table, file_record, gross_outliers, read_table

Array = np.ndarray


MIN_RUNS = 6
MAX_SPREAD = 0.5  # nats/token between runs of one size and length: they are not of one kind


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
    unit: str = "nats/token"  # of the losses, "" if the column's name doesn't tell

    @property
    def X(self) -> Array:
        """(n_runs, 3): parameters, tokens, unique tokens."""
        return np.column_stack([self.params, self.tokens, self.unique])

    def within(self) -> dict[str, tuple[float, float]]:
        """The lowest and the highest of what was trained."""
        ends = {
            "params": self.params,
            "tokens": self.tokens,
            "epochs": self.tokens / self.unique,
            "unique": self.unique,
        }
        return {name: (float(values.min()), float(values.max())) for name, values in ends.items()}


def read_plan_runs(path: Path, *, columns: Mapping[str, str] | None = None, where: Sequence[str] = ()) -> Runs:
    """A table with a finished run a row: columns for parameters, training tokens, loss; unique tokens or epochs.
    Where unique tokens and epochs are known, their product is the tokens.

    columns: {"params": "size", ...} for names that aren't known; counts may have suffixes (70M).
    Raises MixoptError, naming file, line and column, for what can't be read.
    """
    (table,) = keeping([read_table(path, interface="command")], list(where))
    found = {key: table.recognised(key, SCALING_ALIASES) for key in SCALING_ALIASES}
    for key, chosen in (columns or {}).items():
        found[key] = checked(table.columns, chosen, setting=f"`--columns {key}=`", where=path)
    for key in ("params", "tokens", "loss"):
        if found[key] is None and not (key == "tokens" and found["unique"] and found["epochs"]):
            raise MixoptError(
                f"{path}: no column for {key} (one of {', '.join(SCALING_ALIASES[key])}): name it with "
                f"`--columns {key}=...`; {did_you_mean(key, table.columns)}"
            )
    used = {key: column for key, column in found.items() if column is not None}
    kept = [row for row, cell in enumerate(table.cells(used["loss"])) if not is_empty(cell)]
    notes = (
        [f"{len(table) - len(kept)} of {len(table)} rows have no loss and are out."] if len(kept) < len(table) else []
    )
    refuse_rising(used["loss"], place=f"{path}: ", remedy="rename its column")
    if not kept:
        raise MixoptError(f"{path}, column {used['loss']!r}: no run has a loss there")
    if len(kept) < MIN_RUNS:
        raise MixoptError(f"{path}: {len(kept)} runs: a law needs {MIN_RUNS} or more")
    table = table.rows(kept)
    values = {key: table.positive(column) for key, column in used.items() if key != "loss"}
    losses = table.numbers(used["loss"])
    positive = np.where((losses > 0) & np.isfinite(losses), losses, np.nan)
    if len(gross := gross_outliers(positive)):
        raise MixoptError(
            f"{table.at(int(gross[0]), used['loss'])} is far from the other losses, of median "
            f"{np.median(losses):.4g}: correct it, or leave the row out with {table.setting('where')}"
        )
    values["loss"], unit = table.losses(used["loss"]), unit_of(used["loss"])
    tokens = values["tokens"] if "tokens" in values else values["unique"] * values["epochs"]
    if "unique" in values:
        unique = values["unique"]
    else:
        unique = tokens / np.maximum(values["epochs"], 1.0) if "epochs" in values else tokens
    repeats = bool((tokens > unique * (1 + 1e-6)).any())
    unique = np.minimum(tokens, unique)
    notes += _groups(
        table, np.column_stack([values["params"], tokens, unique]), values["loss"], set(used.values()), unit
    )
    files = (file_record(path),)
    return Runs(path.stem, values["params"], tokens, unique, values["loss"], repeats, tuple(notes), files, unit)


def _groups(table: Table, X: Array, loss: Array, used: set[str], unit: str) -> list[str]:
    """Notes of the columns that are not used, and of those that tell apart runs of one size and length.

    X: (n_runs, 3) as in `Runs`. Raises MixoptError where such runs differ by more than `MAX_SPREAD` nats/token.
    """
    at = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
    number = int(at.max()) + 1
    spread = max(float(np.ptp(loss[at == i])) for i in range(number))
    others = [column for column in table.columns if column not in used]
    words = {name: [str(cell) for cell in table.cells(name)] for name in others if not table.is_numeric(name)}
    apart = [name for name, cells in words.items() if len(set(zip(at, cells, strict=True))) > number]
    apart.sort(key=lambda name: len(set(words[name])))  # a validation set says more than a run's name
    differ = in_unit(f"runs of the same parameters and tokens differ by up to {spread:.2f} {NATS}", unit)
    if spread > MAX_SPREAD:
        named = "; ".join(f"{name}: {value_counts(words[name], 4)}" for name in apart[:3]) or comma_list(others)
        raise MixoptError(
            f"{table.path}: {differ}: they are of several kinds, so keep one with {table.setting('where')} ({named})"
        )
    notes = [f"In this table {differ}; {comma_list(apart)} tell them apart."] if spread > 0 and apart else []
    return [*notes, f"Columns that are not used: {comma_list(others)}."] if others else notes
