"""Runs that somebody already has: a table, or a pair of them, checked and read into a run table.

The pair (mixtures in one file, losses in the other, joined on a run's id) is how RegMix (arXiv:2407.01492)
and olmix (arXiv:2602.12237) publish theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.columns import NEITHER, Choice, about, listed, loss_columns, weight_columns
from mixopt.errors import MixoptError
from mixopt.runtable import SAME_MIXTURE, RunTable
from mixopt.tables import Table, is_empty, read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SUM_TOLERANCE = 0.025  # published tables print three decimals a weight and sum to .99-1.02
EXACT = 1e-6  # sums nearer to 1 than this need no note
FEWEST_MIXTURES = 5  # five folds need five


def read_runs(
    path: str | Path | Sequence[str | Path],
    *,
    weights: Choice = None,
    losses: Choice = None,
    on: str | None = None,
    params: str | float | None = None,
    tokens: str | float | None = None,
    seed: str | float | None = None,
    renormalise: bool = False,
    last_step: bool = False,
    tolerance: float = SUM_TOLERANCE,
    fewest: int = FEWEST_MIXTURES,
) -> RunTable:
    """The runs of a .csv, .tsv or .parquet file, or of two: mixtures and losses.

    weights, losses: a prefix, a list of columns or {name: column}; None: recognised (w/x, w_x, weight_x, train_x,
    x_weight ...; loss/x, loss_x, x_loss, valid_x ...). In a pair, if the mixtures' columns are named otherwise, all
    other numeric columns of the first file are weights when they sum to 1, and those of the second are losses.
    on: the id column (of both files). params, tokens, seed: a column, or one number for all runs.
    renormalise: divide each row's weights by their sum. last_step: of a run with several steps keep the last row.
    tolerance: how far from 1 a row's weights may sum; within it they are used as written, and a note says so.
    fewest: different mixtures below which a table is refused.

    Raises MixoptError, naming file, line and column, for anything that can't be read as runs.
    """
    import pandas as pd

    source = _open(path, on=on, last_step=last_step)
    notes = list(source.notes)
    facts, fact_columns = _facts(source, {"params": params, "tokens": tokens, "seed": seed})
    spoken_for = {source.key or "", *fact_columns}
    domains = _weight_columns(source, weights, spoken_for)
    targets = _loss_columns(source, losses, spoken_for if source.pair else {*spoken_for, *domains})
    shares = _shares(source.mixtures, domains, renormalise=renormalise, tolerance=tolerance, notes=notes)
    diverged = facts.get("diverged", np.zeros(len(shares), dtype=bool))
    measured = _losses(source.metrics, targets, diverged, notes)
    pools = _by_name(source.mixtures, "pool", domains.values())
    bits = _by_name(source.metrics, "bpb", targets.values())
    notes += _unused(source, {*spoken_for, *domains, *targets, *pools.values(), *bits.values()})
    _enough(source.mixtures, shares[~diverged], fewest, notes)
    _one_setting(facts, diverged, notes)
    frame = pd.DataFrame(
        {
            "run_id": source.run_ids,
            **facts,
            **{f"w/{name}": shares[:, i] for i, name in enumerate(domains.values())},
            **{name: source.mixtures.numbers(column) for name, column in pools.items()},
            **{f"loss/{name}": measured[:, i] for i, name in enumerate(targets.values())},
            **{name: source.metrics.numbers(column) for name, column in bits.items()},
        }
    )
    return RunTable(frame, domains=tuple(domains.values()), targets=tuple(targets.values()), notes=tuple(notes))


# Which rows


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


def _open(path: str | Path | Sequence[str | Path], *, on: str | None, last_step: bool) -> Source:
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    if len(paths) not in (1, 2) or len(set(paths)) < len(paths):
        raise MixoptError(f"runs come from one file, or from two different ones (mixtures, losses), not {len(paths)}")
    tables = [read_table(one) for one in paths]
    key = _id_column(tables, on)
    if last_step:
        tables = [_last_steps(table, key) for table in tables]
    if key is not None:
        for table in tables:
            _check_ids(table, key)
        if len(tables) == 2:
            return _joined(tables[0], tables[1], key)
    return Source(mixtures=tables[0], metrics=tables[-1], key=key)


def _id_column(tables: Sequence[Table], on: str | None) -> str | None:
    for table in tables:
        if on is not None and on not in table.columns:
            raise MixoptError(f"{table.path}: no column {on!r} (on): it has {listed(table.columns)}")
    shared = [column for column in tables[0].columns if column in tables[-1].columns]
    found = on or about(shared, "run_id")
    if found is None and len(tables) == 2:
        raise MixoptError(
            f"{tables[0].path} and {tables[1].path} share no id column such as run or index: name it with `on:` "
            f"(both have {listed(shared) if shared else 'nothing'})"
        )
    return found


def _last_steps(table: Table, key: str | None) -> Table:
    step = about(table.columns, "step")
    if key is None or step is None:
        raise MixoptError(f"{table.path}: last_step needs a run column (`on:`) and a step column")
    steps, last = table.numbers(step), {}
    for row, run in enumerate(table.cells(key)):
        if run not in last or steps[row] >= steps[last[run]]:
            last[run] = row
    return table.rows(sorted(last.values()))


def _check_ids(table: Table, key: str) -> None:
    seen: dict[object, int] = {}
    for row, run in enumerate(table.cells(key)):
        if is_empty(run):
            raise MixoptError(f"{table.at(row, key)}: every run needs an id, or name another id column with `on:`")
        if run in seen:
            steps = about(table.columns, "step") is not None
            way_out = "keep each run's last step with `last_step: true`" if steps else "keep one row a run"
            raise MixoptError(
                f"{table.at(row, key)} stands on {table.unit} {table.frame.index[seen[run]]} already: {way_out}, "
                "or name another id column with `on:`"
            )
        seen[run] = row


def _joined(first: Table, second: Table, key: str) -> Source:
    """Both tables' rows of the runs that both have, in the first one's order."""
    theirs = {str(run): row for row, run in enumerate(second.cells(key))}
    mine = {row: str(run) for row, run in enumerate(first.cells(key)) if str(run) in theirs}
    if not mine:
        raise MixoptError(f"{first.path} and {second.path} share no value of {key!r}: name the id column with `on:`")
    notes = [
        f"{len(table) - len(mine)} of {len(table)} rows of {table.path.name} have no partner by {key!r} and are out."
        for table in (first, second)
        if len(table) > len(mine)
    ]
    return Source(first.rows(list(mine)), second.rows([theirs[run] for run in mine.values()]), key, tuple(notes))


# Which columns


def _facts(source: Source, settings: Mapping[str, str | float | None]) -> tuple[dict[str, Any], list[str]]:
    """params, tokens, seed, and where a file has them step, role, diverged, reason; and the columns they are in."""
    facts: dict[str, Any] = {}
    columns = []
    for name in ("role", "params", "tokens", "seed", "step", "diverged", "reason"):
        setting = settings.get(name)
        if setting is not None and not isinstance(setting, str):
            facts[name] = np.full(len(source.mixtures), float(setting))
            continue
        table, column = _find(source, name, setting)
        if column is not None:
            columns.append(column)
            if name == "diverged":
                facts[name] = _flags(table, column)
            elif name in ("role", "reason"):
                facts[name] = [None if is_empty(cell) else str(cell) for cell in table.cells(column)]
            else:
                facts[name] = table.numbers(column)
        elif name in settings:
            facts[name] = np.full(len(source.mixtures), np.nan)
    return facts, columns


def _find(source: Source, name: str, setting: str | None) -> tuple[Table, str | None]:
    for table in (source.mixtures, source.metrics):
        column = about(table.columns, name) if setting is None else setting
        if column in table.columns:
            return table, column
    if setting is not None:
        raise MixoptError(f"{source.mixtures.path}: no column {setting!r} ({name}): it has {listed(table.columns)}")
    return source.mixtures, None


def _flags(table: Table, column: str) -> NDArray[np.bool_]:
    words = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
    flags = [False if is_empty(cell) else words.get(str(cell).lower()) for cell in table.cells(column)]
    if None in flags:
        raise MixoptError(f"{table.at(flags.index(None), column)}: write true or false")
    return np.array(flags, dtype=bool)


def _weight_columns(source: Source, choice: Choice, spoken_for: set[str]) -> dict[str, str]:
    table = source.mixtures
    free = [column for column in table.columns if column not in spoken_for]
    found = weight_columns(free, choice, where=str(table.path))
    if not found and source.pair:
        others = _others(table, spoken_for)
        sums = np.sum([table.numbers(column) for column in others], axis=0)
        if others and (np.abs(sums - 1) <= SUM_TOLERANCE).all():
            found = {column: column for column in others}
    if not found:
        raise MixoptError(
            f"{table.path}: no column looks like a weight (w_x, weight_x, train_x, x_weight): say which are with "
            f"`weights:`, a prefix or a list; it has {listed(table.columns)}"
        )
    return found


def _loss_columns(source: Source, choice: Choice, spoken_for: set[str]) -> dict[str, str]:
    table = source.metrics
    free = [column for column in table.columns if column not in spoken_for]
    found = loss_columns(free, choice, where=str(table.path))
    if not found and source.pair:
        found = {column: column for column in _others(table, spoken_for)}
    if not found:
        raise MixoptError(
            f"{table.path}: no column looks like a loss (loss_x, x_loss, valid_x): say which are with `losses:`, "
            f"a prefix or a list; it has {listed(table.columns)}"
        )
    return found


def _others(table: Table, spoken_for: set[str]) -> list[str]:
    """Numeric columns that aren't about the run."""
    free = [column for column in table.columns if column not in spoken_for and column.lower() not in NEITHER]
    return [column for column in free if table.is_numeric(column)]


def _by_name(table: Table, kind: str, names: Iterable[str]) -> dict[str, str]:
    """{kind/name: column} for columns kind/name or kind_name."""
    pairs = ((f"{kind}/{name}", column) for name in names for column in (f"{kind}_{name}", f"{kind}/{name}"))
    return {name: column for name, column in pairs if column in table.columns}


def _unused(source: Source, used: set[str]) -> list[str]:
    notes = []
    for table in (source.mixtures, source.metrics)[: 1 + source.pair]:
        left = [column for column in table.columns if column not in used and column.lower() not in NEITHER]
        if left:
            notes.append(f"{table.path.name} has columns that are not used: {listed(left)}.")
    return notes


# What they hold


def _shares(
    table: Table, columns: Mapping[str, str], *, renormalise: bool, tolerance: float, notes: list[str]
) -> Floats:
    shares = np.column_stack([table.numbers(column) for column in columns])
    most = np.finfo(float).max if renormalise else 1 + EXACT
    _check_shares(table, list(columns), shares, most)
    sums = shares.sum(axis=1)
    off = np.abs(sums - 1)
    inexact = int((off > EXACT).sum())
    if renormalise:
        if sums.min() <= 0:
            raise MixoptError(f"{table.at(int(sums.argmin()))}: all weights are 0: a run needs one above 0")
        shares = shares / sums[:, None]
        if inexact:
            notes.append(f"The weights of {inexact} of {len(sums)} rows were divided by their sum.")
    elif off.max() > tolerance:
        row = int(off.argmax())
        raise MixoptError(
            f"{table.at(row)}: the weights {listed(list(columns), 3)} sum to {sums[row]:.4g}, not 1 "
            f"({int((off > tolerance).sum())} of {len(sums)} rows are off by more than {tolerance:g}): "
            "set `renormalise: true`, or say with `weights:` which columns are the weights"
        )
    elif inexact:
        notes.append(
            f"The weights of {inexact} of {len(sums)} rows do not sum to 1 but to between {sums.min():.4g} and "
            f"{sums.max():.4g}, as in tables printed with rounding: they are used as written."
        )
    still = [name for i, name in enumerate(columns.values()) if np.ptp(shares[:, i]) <= EXACT]
    if still:
        notes.append(f"{listed(still)}: the same weight in every run, so nothing can be learned about it.")
    return shares


def _check_shares(table: Table, columns: list[str], shares: Floats, most: float) -> None:
    wrong = np.argwhere(~((shares >= 0) & (shares <= most)))
    if not len(wrong):
        return
    row, i = (int(index) for index in wrong[0])
    way_out = "give a share of training tokens"
    if np.isnan(shares[row, i]):
        way_out = "write 0 where a domain is not used"
    elif shares[row, i] > 1:
        way_out = "if these are percents or token counts, set `renormalise: true`"
    raise MixoptError(f"{table.at(row, columns[i])}: a weight is a number between 0 and 1: {way_out}")


def _losses(table: Table, columns: Mapping[str, str], diverged: NDArray[np.bool_], notes: list[str]) -> Floats:
    losses = np.column_stack([table.numbers(column) for column in columns])
    losses[diverged[:, None] & ~np.isfinite(losses)] = np.nan
    wrong = np.argwhere(~diverged[:, None] & ((losses <= 0) | np.isinf(losses)))
    if len(wrong):
        row, i = (int(index) for index in wrong[0])
        raise MixoptError(
            f"{table.at(row, list(columns)[i])}: a loss is a finite number above 0: leave it empty if it is missing, "
            "mark the run in a column `diverged`, or choose the columns with `losses:`"
        )
    missing = np.isnan(losses[~diverged])
    for i, column in enumerate(columns):
        if missing[:, i].all():
            raise MixoptError(f"{table.path}, column {column!r}: no run has a loss there: leave it out with `losses:`")
    if missing.any():
        short = [name for i, name in enumerate(columns.values()) if missing[:, i].any()]
        notes.append(f"{int(missing.sum())} losses are missing (of {listed(short)}); those runs count for the others.")
    return losses


def _enough(table: Table, shares: Floats, fewest: int, notes: list[str]) -> None:
    mixtures = len(np.unique(np.round(shares, SAME_MIXTURE), axis=0)) if len(shares) else 0
    if mixtures < fewest:
        raise MixoptError(
            f"{table.path}: {len(shares)} usable runs of {mixtures} different mixtures: at least {fewest} mixtures are "
            "needed to fit a predictor and check it"
        )
    if mixtures <= shares.shape[1]:
        notes.append(f"{mixtures} different mixtures cannot tell the effects of {shares.shape[1]} domains apart.")


def _one_setting(facts: Mapping[str, Any], diverged: NDArray[np.bool_], notes: list[str]) -> None:
    for name, what in (("params", "model sizes"), ("tokens", "training lengths")):
        values = np.unique(facts[name][~diverged & np.isfinite(facts[name])])
        if len(values) > 1:
            notes.append(
                f"The runs have {len(values)} {what} ({name} {values[0]:.4g} to {values[-1]:.4g}), which a fit on "
                "weights alone takes for noise: keep the rows of one."
            )
