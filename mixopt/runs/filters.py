"""Row filters of run tables: conditions, the last step of each run, and the join of two files by run id."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import as_number, comma_list, comma_separated, is_empty, value_counts
from mixopt.runs.columns import candidates, checked
from mixopt.runs.source import Interface, Table, read_table, setting

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    File = str | Path | pd.DataFrame
    Files = File | Sequence[File]

SAME = 1e-9  # relative; 122M and 122000000.0 are one number


@dataclass(frozen=True, eq=False)
class Source:
    """Two views of the same runs, row by row: their mixtures and their losses, perhaps of one file."""

    mixtures: Table
    metrics: Table
    key: str | None  # the id column, if there is one
    notes: tuple[str, ...] = ()

    @property
    def pair(self) -> bool:
        return self.mixtures.path != self.metrics.path

    @property
    def run_ids(self) -> list[str]:
        if self.key is None:
            return [f"{self.mixtures.unit}{row}" for row in self.mixtures.frame.index]
        return [str(text) for text in self.mixtures.texts(self.key)]

    def rows(self, keep: Sequence[int]) -> Source:
        """The same files with only these rows."""
        return replace(self, mixtures=self.mixtures.rows(keep), metrics=self.metrics.rows(keep))


def open_runs(
    path: Files,
    *,
    on: str | None = None,
    where: str | Sequence[str] | None = None,
    last_step: bool = False,
    checkpoints: bool = False,
    interface: Interface = "study",
) -> Source:
    """One file of runs, or two joined by the id column `on`, with the rows that keep every condition.

    checkpoints: runs may have several rows; of two files only the second one's. last_step: likewise, and of the first
    file's the last one stays; `last_rows` makes one row of those of a run.
    Raises MixoptError for files without rows or ids in common, for doubled ids and for conditions that none keeps.
    """
    given = [path] if isinstance(path, str | Path) or not isinstance(path, Sequence) else list(path)
    paths = [Path(one) if isinstance(one, str) else one for one in given]
    if len(paths) not in (1, 2):
        raise MixoptError(f"runs come from one file or from two (mixtures, losses), not from {len(paths)}")
    if len({one if isinstance(one, Path) else id(one) for one in paths}) < len(paths):
        raise MixoptError(f"{paths[0]} is given twice: give one file, or mixtures and then losses")
    names = ["the mixtures", "the losses"] if len(paths) == 2 else ["the data frame"]
    tables = [read_table(one, name=name, interface=interface) for one, name in zip(paths, names, strict=True)]
    tables = keeping(tables, where)
    key = _id_column(tables, on)
    if key is None:
        return Source(mixtures=tables[0], metrics=tables[-1], key=None)
    if last_step and len(tables) == 2 and (steps := order_of(tables[:1], None)):
        last: dict[str | None, int] = {}
        for row in np.lexsort(steps[::-1]):
            last[tables[0].texts(key)[row]] = row
        tables[0] = tables[0].rows(sorted(last.values()))
    for i, table in enumerate(tables):
        _check_ids(table, key, once=not (checkpoints or last_step) or i < len(tables) - 1)
    if len(tables) == 2:
        return _joined(tables[0], tables[1], key)
    return Source(mixtures=tables[0], metrics=tables[0], key=key)


# Conditions


@dataclass(frozen=True)
class Condition:
    """column = value and the like; several values after = or != stand for any of them."""

    column: str
    sign: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.column}{self.sign}{','.join(self.values)}"


ORDER: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


def parse_condition(text: str, interface: Interface = "study") -> Condition:
    """model_size=122M, size=70M,160M, split!=test, tokens>=20B. Raises MixoptError for anything else."""
    match = re.fullmatch(r"\s*((?:\\.|[^=<>!\\])+?)\s*(!=|<=|>=|=|<|>)\s*(.+?)\s*", text)
    values = comma_separated(match[3]) if match else []
    if match is None or not values or (match[2] in ORDER and (len(values) > 1 or as_number(values[0]) is None)):
        raise MixoptError(
            f"{setting('where', interface)} {text!r}: write a column, one of = != < <= > >= and a value, such as "
            "model_size=122M or step>=10000; values after = may be several, with commas"
        )
    return Condition(re.sub(r"\\(.)", r"\1", match[1]), match[2], tuple(values))


def keeping(tables: list[Table], where: str | Sequence[str] | None) -> list[Table]:
    """The rows that keep every condition, in each file that has its column."""
    for text in [where] if isinstance(where, str) else where or ():
        try:
            condition = parse_condition(text, tables[0].interface)
        except MixoptError as error:
            raise MixoptError(f"{tables[0].path}: {error}") from None
        having = [table for table in tables if condition.column in table.columns]
        if not having:
            columns = list(dict.fromkeys(column for table in tables for column in table.columns))
            checked(columns, condition.column, setting=tables[0].setting("where"), where=tables[0].path)
        tables = [_matching(table, condition) if table in having else table for table in tables]
    return tables


def _matching(table: Table, condition: Condition) -> Table:
    cells = table.cells(condition.column)
    keep = [row for row, cell in enumerate(cells) if _matches(cell, condition)]
    if not keep:
        raise MixoptError(
            f"{table.path}: no row has {condition} ({table.setting('where')}): column {condition.column!r} holds "
            f"{value_counts([str(cell) for cell in cells if not is_empty(cell)])}"
        )
    return table.rows(keep)


def _matches(cell: object, condition: Condition) -> bool:
    if is_empty(cell):
        return condition.sign == "!="
    if condition.sign in ORDER:
        number, bound = as_number(cell), as_number(condition.values[0])
        return number is not None and bound is not None and ORDER[condition.sign](number, bound)
    same = any(_equal(cell, value) for value in condition.values)
    return same if condition.sign == "=" else not same


def _equal(cell: object, value: str) -> bool:
    one, other = as_number(cell), as_number(value)
    if one is not None and other is not None:
        return abs(one - other) <= SAME * max(abs(one), abs(other))
    return str(cell).strip() == value


# Ids and steps


def _id_column(tables: Sequence[Table], on: str | None) -> str | None:
    if on is not None:
        for table in tables:
            checked(table.columns, on, setting=table.key("on"), where=table.path)
        return on
    shared = [column for column in tables[0].columns if column in tables[-1].columns]
    missing = {name: sum(cell is None for table in tables for cell in table.texts(name))
               for name in candidates(shared, "run_id")}  # fmt: skip
    found = min(missing, key=missing.__getitem__, default=None)
    if found is not None and missing[found] == sum(map(len, tables)) and len(tables) == 1:
        found = None
    if found is None and len(tables) == 2:
        raise MixoptError(
            f"{tables[0].path} and {tables[1].path} share no id column such as run or index: name it with "
            f"{tables[0].setting('on')} (both have {comma_list(shared) if shared else 'nothing'})"
        )
    return found


def order_of(tables: Sequence[Table], tokens: str | None) -> list[Floats]:
    """What orders the rows of a run, (n_rows,) each, the most important first: the column that the user calls tokens,
    a step column, a tokens column; infinite where empty. [] where no table has any of them."""
    found: list[Floats] = []
    for names in ([tokens] if tokens else [], *([key] for key in ("step", "tokens"))):
        for table in tables:
            own = names if tokens in names else candidates(table.columns, names[0]) if names else []
            numeric = [table.as_counts(name) for name in own if name in table.columns]
            if usable := [values for values in numeric if values is not None]:
                found.append(np.where(np.isnan(usable[0]), np.inf, usable[0]))
                break
    return found


def last_rows(
    source: Source, alike: Floats, settings: Floats, losses: Mapping[str, str], tokens: str | None, notes: list[str]
) -> Source:
    """One row a run: its last that has a loss, with the other losses' last values. What differs from the run's very
    last row goes to `notes`.

    alike: (n_rows, n_domains) weights; settings: (n_rows, n) what else tells apart runs without ids. losses: columns.
    Raises MixoptError where nothing orders the rows, and for an id that runs of several mixtures have.
    """
    table = source.metrics
    order = order_of([table, source.mixtures] if source.pair else [table], tokens)
    if not order:
        raise MixoptError(
            f"{table.path}: {table.setting('last_step')} needs a step column or a tokens column: name one with "
            f"{table.setting('tokens')}"
        )
    alike = np.clip(alike, -1e9, 1e9)  # what is no share is refused later
    unnamed = np.nan_to_num(np.column_stack([np.round(alike, 9), settings]), nan=-1.0)
    ids = source.run_ids if source.key else [row.tobytes() for row in unnamed]
    runs: dict[object, list[int]] = {}
    for row in np.lexsort(order[::-1]):
        runs.setdefault(ids[row], []).append(int(row))
    columns = list(losses)
    known = ~table.frame[columns].isna().to_numpy()
    content = table.frame[columns].to_numpy(copy=True)
    kept, earlier, mixed = [], [], []
    for name, rows in runs.items():
        other = (np.abs(alike[rows] - alike[rows[0]]) > 1e-6).any(axis=1)
        if other.any():
            raise MixoptError(
                f"{source.mixtures.at(rows[int(other.argmax())])}: rows of run {name!r} have different mixtures: name "
                f"a column of unique ids with {table.setting('on')}"
            )
        having = [row for row in rows if known[row].any()]
        last = having[-1] if having else rows[-1]
        kept.append(last)
        if last != rows[-1]:
            earlier.append(last)
        for i in np.flatnonzero(~known[last] & known[rows].any(axis=0)):
            content[last, i] = content[max((row for row in rows if known[row, i]), key=rows.index), i]
            mixed.append(last)
    shown = source.run_ids
    for which, text in (
        (earlier, "end in rows without losses: the last row that has one is used"),
        (list(dict.fromkeys(mixed)), "have their losses in several rows: each loss is the last that is known"),
    ):
        if which:
            some = comma_list([shown[row] for row in which], 4)
            notes.append(f"{len(which)} of {len(runs)} runs {text} ({some}).")
    whole = table.frame.copy()
    whole[columns] = content
    return replace(source, metrics=replace(table, frame=whole)).rows(sorted(kept))


def _check_ids(table: Table, key: str, *, once: bool) -> None:
    seen: dict[str, int] = {}
    for row, run in enumerate(table.texts(key)):
        if run is None:
            raise MixoptError(
                f"{table.at(row, key)}: every run needs an id, or name another id column with {table.setting('on')}"
            )
        if run in seen and once:
            steps = bool(order_of([table], None))
            remedy = f"keep each run's last step with {table.setting('last_step')}" if steps else "keep one row a run"
            remedy += " (`mixopt scale` reads them all)" if steps and table.interface == "command" else ""
            raise MixoptError(
                f"{table.at(row, key)} stands on {table.unit} {table.frame.index[seen[run]]} already: {remedy}, "
                f"or name another id column with {table.setting('on')}"
            )
        seen[run] = row


def _joined(first: Table, second: Table, key: str) -> Source:
    """Every row of the second table beside its run's row of the first, in the first one's order."""
    theirs: dict[str | None, list[int]] = {}
    for row, run in enumerate(second.texts(key)):
        theirs.setdefault(run, []).append(row)
    pairs = [(row, one) for row, run in enumerate(first.texts(key)) for one in theirs.get(run, [])]
    if not pairs:
        ids = [table.texts(key)[0] for table in (first, second)]
        raise MixoptError(
            f"{first.path} and {second.path} share no value of {key!r} (the first are {ids[0]!r} and {ids[1]!r}): "
            f"name the id column with {first.setting('on')}"
        )
    mine, others = (list(rows) for rows in zip(*pairs, strict=True))
    notes = [
        f"{lost} of {len(table)} rows of {table.path.name} have no partner by {key!r} and are out."
        for table, rows in ((first, mine), (second, others))
        if (lost := len(table) - len(set(rows)))
    ]
    return Source(first.rows(mine), second.rows(others), key, tuple(notes))
