"""Reader of mixtures: the weights of a table, and mixtures to predict as arrays, named shares or a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import comma_list, counted
from mixopt.runs.columns import Choice, loss_columns, weight_columns
from mixopt.runs.filters import keeping
from mixopt.runs.source import Interface, Table, no_losses, read_table
from mixopt.runs.table import RunTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


SUM_TOLERANCE = 0.025  # published tables print three decimals a weight and sum to .99-1.02
ROUNDED = 0.005  # a row whose filled weights are so near to 1 has none of the domains left empty
EXACT = 1e-6  # sums nearer to 1 than this need no note


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Mixtures read from a file.

    shares: (n, n_domains), in the order that was asked for; losses: (n, n_targets), likewise, or None where the file
    doesn't have all of them.
    """

    names: list[str]
    shares: Floats
    losses: Floats | None = None
    notes: tuple[str, ...] = ()


def as_shares(mixtures: Any, domains: Sequence[str]) -> Floats:
    """Mixtures as shares of training tokens, (n, n_domains), in the order of `domains`.

    mixtures: an array (n_domains,) or (n, n_domains) in that order; or, in any order, a RunTable, a data frame with a
    column a domain (or w/<domain>), a mapping from domain to share or shares, or a list of such mappings. Domains that
    are absent have a share of 0, if the others sum to 1.
    Raises MixoptError for other domains than these, and for rows that are no mixtures.
    """
    named = _by_name(mixtures)
    if named is not None:
        if not set(named) <= set(domains):
            same_domains(list(named), domains, what="the mixtures")
        columns = {name: np.atleast_1d(np.asarray(shares, dtype=float)) for name, shares in named.items()}
        if len({len(column) for column in columns.values()}) > 1:
            raise MixoptError("the mixtures: every domain needs as many shares as the others")
        absent = np.full(max(map(len, columns.values()), default=1), np.nan)
        shares = without_absent(np.stack([columns.get(name, absent) for name in domains], axis=1))
        if np.isnan(shares).any():
            same_domains(list(named), domains, what="the mixtures")
    else:
        shares = np.atleast_2d(np.asarray(mixtures, dtype=float))
    if shares.ndim != 2 or shares.shape[1] != len(domains):
        raise MixoptError(
            f"mixtures must be (n, {len(domains)}), a share for each of {comma_list(domains)}: {shares.shape}"
        )
    off = np.abs(shares.sum(axis=1) - 1)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and (off <= SUM_TOLERANCE).all()):
        raise MixoptError(
            f"mixtures: shares are 0 or more and sum to 1; one row sums to {1 + off.max():.4g} or has less"
        )
    return shares


def _by_name(mixtures: Any) -> dict[str, Any] | None:
    """{domain: shares} of what has names, None for arrays."""
    if isinstance(mixtures, RunTable):
        return dict(zip(mixtures.domains, mixtures.weights.T, strict=True))
    if isinstance(mixtures, Mapping):
        return dict(mixtures)
    columns = getattr(mixtures, "columns", None)  # of a data frame, whichever library's
    if columns is not None:
        weights = [column for column in columns if str(column).startswith("w/")]
        return {str(column).removeprefix("w/"): mixtures[column] for column in weights or columns}
    if isinstance(mixtures, Sequence) and mixtures and all(isinstance(row, Mapping) for row in mixtures):
        return {name: [row.get(name, np.nan) for row in mixtures] for row in mixtures for name in row}
    return None


def without_absent(shares: Floats) -> Floats:
    """Shares (n, n_domains) with 0 where one is missing (NaN) in a row whose others sum to 1."""
    with np.errstate(over="ignore"):  # refused later, as any share above 1
        rest = np.nansum(shares, axis=-1, keepdims=True)
    return np.where(np.isnan(shares) & (np.abs(rest - 1) <= ROUNDED), 0.0, shares)


def same_domains(given: Sequence[str], domains: Sequence[str], *, what: str) -> None:
    """Raises MixoptError unless both name the same domains, in whatever order."""
    lacking = [name for name in domains if name not in given]
    strange = [name for name in given if name not in domains]
    differences = [f"lack {comma_list(lacking)}"] if lacking else []
    differences += [f"have {comma_list(strange)}, which it does not know"] if strange else []
    if differences:
        raise MixoptError(f"{what} are not of the fit's domains: they {' and '.join(differences)}")


def read_mixtures(
    path: Path,
    domains: Sequence[str],
    *,
    targets: Sequence[str] = (),
    weights: Choice = None,
    losses: Choice = None,
    where: Sequence[str] = (),
    strict: bool = True,
    renormalise: bool = False,
    interface: Interface = "study",
) -> Mixtures:
    """The mixtures in a table: columns that `weights` names, or that are called as the domains or as weights are.
    Domains without a column have a share of 0, if the others sum to 1.

    targets: losses to read as well, where the file has all of them. where: conditions that rows must keep.
    strict: columns that `weights` or `losses` name must be there; else they may be named otherwise, or missing.

    Raises MixoptError, naming file, line and column, for other domains and for rows that are no mixtures.
    """
    table = keeping([read_table(path, interface=interface)], where)[0]
    columns = _columns(table, domains, weights, strict=strict)
    ordered = {column: name for name in domains for column, domain in columns.items() if domain == name}
    lacking = [name for name in domains if name not in ordered.values()]
    whole = len(ordered) == len(columns) > 0 and not renormalise
    if not (lacking and whole and np.allclose(_sums(table, ordered), 1, rtol=0, atol=ROUNDED)):
        same_domains(list(columns.values()), domains, what=f"{path}: its columns")
    notes = [f"{path.name} has no column for {comma_list(lacking)}: their share is 0."] if lacking else []
    shares = np.zeros((len(table), len(domains)))
    shares[:, [domains.index(name) for name in ordered.values()]] = read_shares(
        table, ordered, renormalise=renormalise, tolerance=SUM_TOLERANCE, notes=notes
    )
    key = table.recognised("run_id")
    names = [None] * len(table) if key is None else table.texts(key)
    names = [name or f"{table.unit}{row}" for name, row in zip(names, table.frame.index, strict=True)]
    others = [column for column in table.columns if column not in ordered]
    measured = _measured(table, others, targets, losses, strict=strict)
    if measured is not None and (wrong := no_losses(measured)).any():
        row = int(wrong.any(axis=1).argmax())
        notes.append(f"{table.at(row)}: a loss that is no finite number above 0: measured losses are not read.")
        measured = None
    return Mixtures(names, shares, measured, tuple(notes))


def _sums(table: Table, columns: Mapping[str, str]) -> Floats:
    return np.nansum([table.numbers(column, percents=True) for column in columns], axis=0)


def _columns(table: Table, domains: Sequence[str], weights: Choice, *, strict: bool) -> dict[str, str]:
    if weights is not None:
        found = _if_there(
            lambda: weight_columns(table.columns, weights, where=str(table.path), key=table.key("weights")),
            strict=strict,
        )
        if found:
            return found
    if all(name in table.columns for name in domains):
        return {name: name for name in domains}
    found = weight_columns(table.columns, None, where=str(table.path))
    return found or {name: name for name in domains if name in table.columns}


def _measured(
    table: Table, columns: Sequence[str], names: Sequence[str], losses: Choice, *, strict: bool
) -> Floats | None:
    """Losses on `names`, (n, n_names), NaN where empty; None unless all of them are in the table."""
    found = _if_there(
        lambda: loss_columns(columns, losses, where=str(table.path), key=table.key("losses")), strict=strict
    )
    columns_of = {name: column for column, name in found.items()}
    named = [columns_of.get(name, name) for name in names]
    if not names or not all(column in columns and table.is_numeric(column) for column in named):
        return None
    return np.column_stack([table.numbers(column) for column in named])


def _if_there(find: Callable[[], dict[str, str]], *, strict: bool) -> dict[str, str]:
    """The columns found, or none where they aren't there and needn't be."""
    try:
        return find()
    except MixoptError:
        if strict:
            raise
        return {}


def read_shares(
    table: Table, columns: Mapping[str, str], *, renormalise: bool, tolerance: float, notes: list[str]
) -> Floats:
    """The weights in `columns` {column: domain}, (n_rows, n_domains); what a reader should know goes to `notes`.

    Nothing is repaired unless that is asked for. Raises MixoptError at the first row that is no mixture.
    """
    shares = np.column_stack([table.numbers(column, percents=True) for column in columns])
    empty, shares = np.isnan(shares), without_absent(shares)
    if (absent := empty & ~np.isnan(shares)).any():
        rows = counted(int(absent.any(axis=1).sum()), "row")
        notes.append(f"Empty weights of {rows}, whose other weights sum to 1, are read as 0.")
    _check_shares(table, list(columns), shares, renormalise=renormalise)
    sums = shares.sum(axis=1)
    off = np.abs(sums - 1)
    inexact = int((off > EXACT).sum())
    if renormalise:
        if sums.min() <= 0:
            raise MixoptError(f"{table.at(int(sums.argmin()))}: all weights are 0: a run needs one above 0")
        shares = shares / sums[:, None]
        if inexact:
            notes.append(
                f"The weights of {inexact} of {len(sums)} rows, which sum to between {sums.min():.7g} and "
                f"{sums.max():.7g}, were divided by their sum."
            )
    elif off.max() > tolerance:
        row = int(off.argmax())
        raise MixoptError(
            f"{table.at(row)}: the weights {comma_list(list(columns), 3)} sum to {sums[row]:.4g}, not 1 "
            f"({int((off > tolerance).sum())} of {len(sums)} rows are off by more than {tolerance:g}): "
            f"divide them by their sum with {table.setting('renormalise')}, or say with {table.setting('weights')} "
            "which columns are the weights"
        )
    elif inexact:
        notes.append(
            f"The weights of {inexact} of {len(sums)} rows do not sum to 1 but to between {sums.min():.7g} and "
            f"{sums.max():.7g}, as in tables printed with rounding: they are used as written."
        )
    return shares


def _check_shares(table: Table, columns: list[str], shares: Floats, *, renormalise: bool) -> None:
    most = np.finfo(float).max if renormalise else 1 + EXACT
    wrong = np.argwhere(~((shares >= 0) & (shares <= most)))
    if not len(wrong):
        return
    row, i = (int(index) for index in wrong[0])
    remedy = "give a share of training tokens"
    if np.isnan(shares[row, i]):
        remedy = f"write 0 where a domain is not used, or leave the row out with {table.setting('where')}"
    elif shares[row, i] > 1 and not renormalise:
        with np.errstate(over="ignore", invalid="ignore"):
            sums = shares.sum(axis=1)
        percents = abs(np.median(sums) - 100) <= 100 * SUM_TOLERANCE
        cause = f"this row's sum to {sums[row]:.4g}, so these are percents" if percents else "percents or token counts"
        remedy = f"{cause}: divide each row by its sum with {table.setting('renormalise')}"
    raise MixoptError(f"{table.at(row, columns[i])}: a weight is a number between 0 and 1: {remedy}")
