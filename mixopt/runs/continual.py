"""Runs of continued pretraining from a user's table: a checkpoint a row, and the losses before continuing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import as_number, comma_list, counted, did_you_mean, is_empty
from mixopt.runs.columns import ABOUT
from mixopt.runs.filters import keeping
from mixopt.runs.source import Table, read_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Names that such columns go by, the first present is taken, in upper or lower case.
NAMES = {
    "share": ("domain_share", "share", "r_d", "r_domain", "domain_ratio", "r", "w/domain", "w_domain"),
    "domain_loss": ("domain_loss", "loss_domain", "l_d", "loss/domain"),
    "general_loss": ("general_loss", "loss_general", "l_g", "loss/general"),
    "general_start": ("general_start", "start_general", "l_g0"),
    "domain_start": ("domain_start", "start_domain", "l_d0"),
    "params_column": ABOUT["params"],
    "tokens_column": ABOUT["tokens"],
    "run_column": ABOUT["run_id"],
}
NEEDED = {"share": "the domain's share", "domain_loss": "the domain loss", "general_loss": "the general loss"}


@dataclass(frozen=True, eq=False)
class ContinualRuns:
    """Checkpoints of continued pretraining, (n,) each, losses nats/token and nan where missing.

    params, tokens: counts; tokens since the checkpoint that was continued. Where a table has no such column all rows
    have the same unknown count, which stands as 1 unless the user said it: `knows` is what is known.
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
    knows: frozenset[str] = frozenset({"params", "tokens"})
    names: tuple[str, str] = ("domain loss", "general loss")
    notes: tuple[str, ...] = field(default=())

    @property
    def sizes(self) -> list[float]:
        return sorted({float(size) for size in self.params})

    def ends(self, key: str) -> tuple[float, float]:
        """The lowest and the highest `params`, `tokens` or `share` that was trained."""
        values = getattr(self, key)
        return float(values.min()), float(values.max())

    def measured(self, loss: str) -> Floats:
        return self.domain if loss == "domain" else self.general

    def table(self, loss: str) -> tuple[Floats, Floats]:
        """X (n, 3) of parameters, tokens and the share of the loss's own text, y (n,): starts are rows of 0 tokens."""
        own = self.share if loss == "domain" else 1 - self.share
        X = np.column_stack([self.params, self.tokens, own])
        place = 0 if loss == "domain" else 1
        known = [(size, losses[place]) for size, losses in self.starts.items() if np.isfinite(losses[place])]
        begin = np.array([[size, 0.0, np.nan] for size, _ in known]).reshape(-1, 3)
        return np.vstack([begin, X]), np.append([loss for _, loss in known], self.measured(loss))


def read_continual(
    path: Path,
    *,
    columns: Mapping[str, str | None] | None = None,
    params: float | None = None,
    tokens: float | None = None,
    general_start: float | None = None,
    where: Sequence[str] = (),
) -> ContinualRuns:
    """The runs of a .csv, .tsv or .parquet table.

    columns: names of columns, by the keys of `NAMES`; those not given are recognised. params, tokens: counts of all
    rows, where the table has no such column. general_start: the general loss before continuing, where neither rows of
    0 tokens nor a column say it.
    Raises MixoptError for tables that can't be read as such runs, naming line and column.
    """
    table = keeping([read_table(path, door="command")], list(where))[0]
    found = {key: _column(table, key, (columns or {}).get(key)) for key in NAMES}
    for key, what in NEEDED.items():
        if found[key] is None:
            raise MixoptError(
                f"{path}: no column of {what}: name it with --{key.replace('_', '-')} COLUMN; it has "
                + comma_list(table.columns)
            )
    sizes = _counts(table, found["params_column"], params)
    seen = _counts(table, found["tokens_column"], tokens, zero=True)
    share, domain, general = (_values(table, found[key]) for key in NEEDED)
    before = seen == 0
    _check_shares(table, str(found["share"]), share, before)
    _check_losses(table, [str(found[key]) for key in ("domain_loss", "general_loss")], [domain, general])
    after = np.flatnonzero(~before)
    if not len(after):
        raise MixoptError(f"{path}: all rows have 0 tokens: rows of trained checkpoints are needed")
    starts = _starts(table, found, (sizes, domain, general), before, general_start)
    runs = _runs(table, found["run_column"], sizes, share)
    known = {key for key in ("params", "tokens") if found[f"{key}_column"] or {"params": params, "tokens": tokens}[key]}
    return ContinualRuns(
        name=path.stem,
        params=sizes[after],
        tokens=seen[after],
        share=share[after],
        domain=domain[after],
        general=general[after],
        run=[runs[row] for row in after],
        starts=starts,
        knows=frozenset(known),
        names=(str(found["domain_loss"]), str(found["general_loss"])),
        notes=_notes(domain[after], general[after]),
    )


def _column(table: Table, key: str, given: str | None) -> str | None:
    if given is not None:
        if given not in table.columns:
            raise MixoptError(
                f"{table.path}: no column {given!r} (--{key.replace('_', '-')}): {did_you_mean(given, table.columns)}"
            )
        return given
    lower = {column.lower(): column for column in reversed(table.columns)}
    return next((lower[name] for name in NAMES[key] if name in lower), None)


def _counts(table: Table, column: str | None, given: float | None, *, zero: bool = False) -> Floats:
    """A column of counts, which may be written 70M; without one the same number in all rows."""
    if column is None:
        return np.full(len(table), 1.0 if given is None else given)
    values = []
    for row, cell in enumerate(table.cells(column)):
        value = None if is_empty(cell) else as_number(cell)
        if value is None or not np.isfinite(value) or value < 0 or (value == 0 and not zero):
            least = "0 or more" if zero else "above 0"
            raise MixoptError(f"{table.at(row, column)}: write a count {least}, such as 70M or 1e9, in every row")
        values.append(value)
    return np.array(values)


def _values(table: Table, column: str | None) -> Floats:
    return table.numbers(str(column))


def _check_shares(table: Table, column: str, share: Floats, before: Any) -> None:
    wrong = ~before & ~((share >= 0) & (share <= 1))
    if wrong.any():
        row = int(wrong.argmax())
        hint = " (percents? divide by 100)" if np.nanmax(share) > 1 else ""
        raise MixoptError(f"{table.at(row, column)} is not a share from 0 to 1{hint}")


def _check_losses(table: Table, columns: Sequence[str], losses: Sequence[Floats]) -> None:
    for column, values in zip(columns, losses, strict=True):
        wrong = np.isinf(values) | (values <= 0)
        if wrong.any():
            raise MixoptError(f"{table.at(int(wrong.argmax()), column)} is not a loss above 0, nats/token")
        if (~np.isnan(values)).sum() < 2:
            raise MixoptError(f"{table.path}, column {column!r}: fewer than 2 losses, a law needs more")


def _starts(
    table: Table,
    found: Mapping[str, str | None],
    columns: tuple[Floats, Floats, Floats],
    before: Any,
    general_start: float | None,
) -> dict[float, tuple[float, float]]:
    """By size the losses before continuing: rows of 0 tokens, else columns, else for the general one the option."""
    sizes, domain, general = columns
    at_start = [np.where(before, values, np.nan) for values in (domain, general)]
    said = [_values(table, found[key]) if found[key] else np.full(len(table), np.nan) for key in STARTS]
    starts = {}
    for size in np.unique(sizes):
        rows = sizes == size
        losses = [_first(own[rows], column[rows]) for own, column in zip(at_start, said, strict=True)]
        if general_start is not None:
            losses[1] = general_start
        starts[float(size)] = (losses[0], losses[1])
    if all(np.isnan(losses[1]) for losses in starts.values()):
        raise MixoptError(
            f"{table.path}: the general loss before continuing isn't known: add a row of 0 tokens with it, name its "
            "column with --start-column, or give it with --general-start, such as 2.86"
        )
    return starts


STARTS = ("domain_start", "general_start")


def _first(*places: Floats) -> float:
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


def _notes(domain: Floats, general: Floats) -> tuple[str, ...]:
    missing = int((np.isnan(domain) | np.isnan(general)).sum())
    return (f"{counted(missing, 'row')} of {len(domain)} lack one of the two losses.",) if missing else ()
