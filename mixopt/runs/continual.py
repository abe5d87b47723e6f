"""Runs of continued pretraining from a user's table: a checkpoint a row, and the losses before continuing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixopt.errors import MixoptError
from mixopt.formatting import comma_list, counted
from mixopt.report.document import Warning
from mixopt.runs.columns import CONTINUAL_ALIASES, OTHER_UNIT, checked
from mixopt.runs.filters import keeping
from mixopt.runs.source import Table, gross_outliers, read_table

Floats = NDArray[np.float64]
Columns = Mapping[str, str | None]  # by the keys of CONTINUAL_ALIASES
MAX_FALL = 10.0  # times the median loss, or under its inverse: more than learning a new domain changes
NEEDED = {"share": "the domain's share", "domain_loss": "the domain loss", "general_loss": "the general loss"}


@dataclass(frozen=True, eq=False)
class ContinualRuns:
    """Checkpoints of continued pretraining, (n,) each, losses nats/token and nan where missing.

    params, tokens: counts; tokens since the checkpoint that was continued. Where a table has no such column all rows
    have the same unknown count, which stands as 1 unless the user gave it; known: the counts that aren't.
    share: of the domain in the training tokens, 0 to 1. run: which checkpoints are of one run.
    starts: size -> (domain, general) loss before continuing, nan where unknown. names: what the two losses are called.
    """

    name: str
    params: Floats
    tokens: Floats
    share: Floats
    domain: Floats
    general: Floats
    run: Sequence[str]
    starts: Mapping[float, tuple[float, float]]
    known: frozenset[str] = frozenset({"params", "tokens"})
    names: tuple[str, str] = ("domain loss", "general loss")
    warnings: tuple[Warning, ...] = ()

    @property
    def unit(self) -> str:
        """Of the losses: "" if a column's name says another one than nats/token."""
        return "" if any(OTHER_UNIT.search(name) for name in self.names) else "nats/token"

    @property
    def sizes(self) -> list[float]:
        return sorted({float(size) for size in self.params})

    def ends(self, key: str) -> tuple[float, float]:
        """The lowest and the highest `params`, `tokens` or `share` that was trained."""
        values = getattr(self, key)
        return float(values.min()), float(values.max())

    def table(self, loss: str) -> tuple[Floats, Floats]:
        """X (n, 3) of parameters, tokens and the share of the loss's own text, y (n,): starts are rows of 0 tokens."""
        own = self.share if loss == "domain" else 1 - self.share
        X = np.column_stack([self.params, self.tokens, own])
        place, y = (0, self.domain) if loss == "domain" else (1, self.general)
        known = [(size, losses[place]) for size, losses in self.starts.items() if np.isfinite(losses[place])]
        begin = np.array([[size, 0.0, np.nan] for size, _ in known]).reshape(-1, 3)
        return np.vstack([begin, X]), np.append([start for _, start in known], y)


def read_continual(
    path: Path,
    *,
    columns: Columns | None = None,
    params: float | None = None,
    tokens: float | None = None,
    general_start: float | None = None,
    where: Sequence[str] = (),
) -> ContinualRuns:
    """The runs of a .csv, .tsv or .parquet table.

    columns: names of columns, by the keys of `CONTINUAL_ALIASES`; those not given are recognised. params, tokens:
    counts of all rows, where the table has no such column. general_start: the general loss before continuing, where
    neither rows of 0 tokens nor a column say it.
    Raises MixoptError for tables that can't be read as such runs, naming line and column.
    """
    table = keeping([read_table(path, interface="command")], list(where))[0]
    found = {key: table.recognised(key, CONTINUAL_ALIASES) for key in CONTINUAL_ALIASES}
    for key, chosen in (columns or {}).items():
        if chosen is not None:
            option = "start-column" if key == "general_start" else key.replace("_", "-")
            found[key] = checked(table.columns, chosen, setting=f"--{option}", where=path)
    for key, what in NEEDED.items():
        if found[key] is None:
            raise MixoptError(
                f"{path}: no column of {what}: name it with --{key.replace('_', '-')} COLUMN; it has "
                + comma_list(table.columns)
            )
    sizes = np.full(len(table), 1.0 if params is None else params)
    seen = np.full(len(table), 1.0 if tokens is None else tokens)
    if found["params_column"]:
        sizes = table.positive(found["params_column"])
    if found["tokens_column"]:
        seen = table.positive(found["tokens_column"], zero=True)
    known = {key for key, n in (("params", params), ("tokens", tokens)) if found[f"{key}_column"] or n is not None}
    names = [str(found[key]) for key in NEEDED]
    share = table.numbers(names[0], percents=True)
    domain, general = (table.losses(name) for name in names[1:])
    after = seen > 0
    _check(table, names, share, domain, general, after=after)
    if not after.any():
        raise MixoptError(f"{path}: all rows have 0 tokens: rows of trained checkpoints are needed")
    at_start = [np.where(after, np.nan, loss) for loss in (domain, general)]
    runs = np.array(_runs(table, found["run_column"], sizes, share))
    missing = int((np.isnan(domain) | np.isnan(general))[after].sum())
    text = f"{counted(missing, 'row')} of {after.sum()} lack one of the two losses."
    return ContinualRuns(
        name=path.stem,
        params=sizes[after],
        tokens=seen[after],
        share=share[after],
        domain=domain[after],
        general=general[after],
        run=runs[after].tolist(),
        starts=_starts(table, found, sizes, at_start, general_start),
        known=frozenset(known),
        names=(names[1], names[2]),
        warnings=(Warning("missing-losses", text),) if missing else (),
    )


def _check(table: Table, columns: Sequence[str], share: Floats, *losses: Floats, after: NDArray[np.bool_]) -> None:
    """Raises MixoptError for shares outside 0 to 1 after the start, and for losses that aren't positive or too few."""
    wrong = after & ~((share >= 0) & (share <= 1))
    if wrong.any():
        hint = " (percents? divide by 100)" if (share > 1).any() else ""
        raise MixoptError(f"{table.at(int(wrong.argmax()), columns[0])} is not a share from 0 to 1{hint}")
    for column, values in zip(columns[1:], losses, strict=True):
        if (~np.isnan(values)).sum() < 2:
            raise MixoptError(f"{table.path}, column {column!r}: fewer than 2 losses, a law needs more")
        if len(gross := gross_outliers(np.where(after, values, np.nan), MAX_FALL)):
            raise MixoptError(
                f"{table.at(int(gross[0]), column)} is far from the others, of median {np.nanmedian(values):.4g}: "
                f"correct it, or leave the row out with {table.setting('where')}"
            )


def _starts(
    table: Table, found: Columns, sizes: Floats, at_start: Sequence[Floats], general_start: float | None
) -> dict[float, tuple[float, float]]:
    """By size the losses before continuing: rows of 0 tokens, else columns, else for the general one the option.

    at_start: domain and general losses (n,) of rows of 0 tokens, nan in the others.
    """
    places = [
        [own, table.numbers(str(found[key]))] if found[key] else [own]
        for own, key in zip(at_start, ("domain_start", "general_start"), strict=True)
    ]
    starts = {}
    for size in np.unique(sizes):
        domain, general = (_first(place[sizes == size] for place in of) for of in places)
        starts[float(size)] = (domain, general if general_start is None else general_start)
    if all(np.isnan(general) for _, general in starts.values()):
        raise MixoptError(
            f"{table.path}: the general loss before continuing isn't known: add a row of 0 tokens with it, name its "
            "column with --start-column, or give it with --general-start, such as 2.86"
        )
    return starts


def _first(places: Iterable[Floats]) -> float:
    """The mean of the first place that has numbers; nan where none has."""
    return next((float(np.nanmean(values)) for values in places if np.isfinite(values).any()), float("nan"))


def _runs(table: Table, column: str | None, sizes: Floats, share: Floats) -> list[str]:
    """Which run each row is a checkpoint of: its id, else its size and share."""
    plans = [f"{size:.6g} {part:.6g}" for size, part in zip(sizes, share, strict=True)]
    if column is None:
        return plans
    ids = [str(cell) for cell in table.cells(column)]
    one_plan = len(set(zip(ids, plans, strict=True))) == len(set(ids))
    return ids if one_plan else [f"{name} {plan}" for name, plan in zip(ids, plans, strict=True)]
