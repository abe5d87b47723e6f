"""Row filters of run tables: conditions, the last step of each run, and the join of two files by run id."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixopt.errors import MixoptError
from mixopt.formatting import as_number, comma_list, is_empty, value_counts
from mixopt.runs.columns import checked, recognised
from mixopt.runs.source import Interface, Table, read_table, setting

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
        return [str(cell) for cell in self.mixtures.cells(self.key)]

    def rows(self, keep: Sequence[int]) -> Source:
        """The same files with only these rows."""
        return replace(self, mixtures=self.mixtures.rows(keep), metrics=self.metrics.rows(keep))


def open_runs(
    path: str | Path | Sequence[str | Path],
    *,
    on: str | None = None,
    where: str | Sequence[str] | None = None,
    last_step: bool = False,
    checkpoints: bool = False,
    interface: Interface = "study",
) -> Source:
    """One file of runs, or two joined by the id column `on`, with the rows that keep every condition.

    last_step: of a run with several rows keep the one of its last step; for a table without ids see `last_of_each`.
    checkpoints: runs may have several rows; of two files only the second one's.
    Raises MixoptError for files without rows or ids in common, for doubled ids and for conditions that none keeps.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    if len(paths) not in (1, 2):
        raise MixoptError(f"runs come from one file or from two (mixtures, losses), not from {len(paths)}")
    if len(set(paths)) < len(paths):
        raise MixoptError(f"{paths[0]} is given twice: give one file, or mixtures and then losses")
    tables = [read_table(one, interface=interface) for one in paths]
    tables = keeping(tables, where)
    key = _id_column(tables, on)
    if key is None:
        return Source(mixtures=tables[0], metrics=tables[-1], key=None)
    if last_step:
        tables = _last_steps(tables, key)
    if checkpoints and len(tables) == 1:
        return Source(mixtures=tables[0], metrics=tables[0], key=key)
    for table in tables[:1] if checkpoints else tables:
        _check_ids(table, key)
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
    match = re.fullmatch(r"\s*([^=<>!]+?)\s*(!=|<=|>=|=|<|>)\s*(.+?)\s*", text)
    values = [value.strip() for value in match[3].split(",")] if match else []
    if match is None or not all(values) or (match[2] in ORDER and (len(values) > 1 or as_number(values[0]) is None)):
        raise MixoptError(
            f"{setting('where', interface)} {text!r}: write a column, one of = != < <= > >= and a value, such as "
            "model_size=122M or step>=10000; values after = may be several, with commas"
        )
    return Condition(match[1], match[2], tuple(values))


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
            checked(table.columns, on, setting="on", where=table.path)
        return on
    shared = [column for column in tables[0].columns if column in tables[-1].columns]
    found = recognised(shared, "run_id")
    if found is None and len(tables) == 2:
        raise MixoptError(
            f"{tables[0].path} and {tables[1].path} share no id column such as run or index: name it with "
            f"{tables[0].setting('on')} (both have {comma_list(shared) if shared else 'nothing'})"
        )
    return found


def last_of_each(table: Table, columns: Sequence[str], step: str) -> list[int]:
    """Of the rows that agree in `columns` the one with the largest `step`, in the table's order.

    Of rows that agree in the step as well the last one stays.
    """
    steps, last = table.numbers(step), {}
    for row, key in enumerate(zip(*(table.cells(column) for column in columns), strict=True)):
        if key not in last or not steps[row] < steps[last[key]]:
            last[key] = row
    return sorted(last.values())


def step_column(table: Table) -> str | None:
    """The column that orders a run's rows: its step, or else its tokens."""
    return recognised(table.columns, "step") or recognised(table.columns, "tokens")


def _last_steps(tables: Sequence[Table], key: str) -> list[Table]:
    steps = [step_column(table) for table in tables]
    if not any(steps):
        raise MixoptError(f"{tables[0].path}: {tables[0].setting('last_step')} needs a step column or a tokens column")
    return [
        table.rows(last_of_each(table, [key], step)) if step else table
        for table, step in zip(tables, steps, strict=True)
    ]


def _check_ids(table: Table, key: str) -> None:
    seen: dict[object, int] = {}
    for row, run in enumerate(table.cells(key)):
        if is_empty(run):
            raise MixoptError(
                f"{table.at(row, key)}: every run needs an id, or name another id column with {table.setting('on')}"
            )
        if run in seen:
            steps = recognised(table.columns, "step") is not None
            remedy = f"keep each run's last step with {table.setting('last_step')}" if steps else "keep one row a run"
            remedy += " (`mixopt scale` reads them all)" if steps and table.interface == "command" else ""
            raise MixoptError(
                f"{table.at(row, key)} stands on {table.unit} {table.frame.index[seen[run]]} already: {remedy}, "
                f"or name another id column with {table.setting('on')}"
            )
        seen[run] = row


def _joined(first: Table, second: Table, key: str) -> Source:
    """Every row of the second table beside its run's row of the first, in the first one's order."""
    theirs: dict[str, list[int]] = {}
    for row, run in enumerate(second.cells(key)):
        theirs.setdefault(str(run), []).append(row)
    pairs = [(row, one) for row, run in enumerate(first.cells(key)) for one in theirs.get(str(run), [])]
    if not pairs:
        ids = [str(table.cells(key)[0]) for table in (first, second)]
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
