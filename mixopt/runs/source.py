"""Tables of runs as they were written: cells as text, each row with the line it stands on."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import as_number, is_empty, to_float

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Interface = Literal["study", "command"]  # where a user writes settings: runs: of a study file, or a command's options
SWITCHES = frozenset({"renormalise", "last_step"})  # settings that are on or off


def setting(name: str, interface: Interface, value: str = "") -> str:
    """A setting as it is written at this interface, for messages that say how to fix it."""
    if interface == "command":
        return f"`--{name.replace('_', '-')}{value and ' ' + value}`"
    value = value or ("true" if name in SWITCHES else "")
    return f"`{name}:{value and ' ' + value}`"


@dataclass(frozen=True, eq=False)
class Table:
    """A file's rows. frame's index says where each row stands; an empty cell is NaN."""

    path: Path
    frame: pd.DataFrame
    unit: str = "line"  # what the index counts: lines of a text file, from 1; "row" for parquet
    interface: Interface = "study"

    @property
    def columns(self) -> list[str]:
        return list(self.frame.columns)

    def __len__(self) -> int:
        return len(self.frame)

    def cells(self, column: str) -> list[object]:
        """What is written in a column, row by row."""
        return list(self.frame[column])

    def at(self, row: int, column: str | None = None) -> str:
        """Where the row-th row (from 0) is, for a message, and with a column what is written there."""
        place = f"{self.path}, {self.unit} {self.frame.index[row]}"
        if column is None:
            return place
        cell = self.cells(column)[row]
        return f"{place}, column {column!r}: {'empty' if is_empty(cell) else repr(cell)}"

    def setting(self, name: str, value: str = "") -> str:
        """A setting as the reader of a message would write it."""
        return setting(name, self.interface, value)

    def rows(self, keep: Sequence[int]) -> Table:
        """The same file with only these rows, in this order."""
        return replace(self, frame=self.frame.iloc[list(keep)])

    def numbers(self, column: str) -> Floats:
        """The column as floats, (n_rows,); NaN where empty. Raises MixoptError at the first cell that is no number."""
        values = [to_float(cell) for cell in self.cells(column)]
        if None in values:
            raise MixoptError(f"{self.at(values.index(None), column)} is not a number: write one with a decimal point")
        return np.array(values, dtype=float)

    def counts(self, column: str) -> Floats:
        """The column as floats, (n_rows,), of counts from 0 that may be written 70M or 20B; NaN where empty."""
        values = [math.nan if is_empty(cell) else as_number(cell) for cell in self.cells(column)]
        wrong = [value is None or value < 0 or value == math.inf for value in values]
        if True in wrong:
            raise MixoptError(f"{self.at(wrong.index(True), column)} is not a count: write one such as 70M or 1e9")
        return np.array(values, dtype=float)

    def positive(self, column: str, *, zero: bool = False) -> Floats:
        """Counts above 0, or from 0, in every row. Raises MixoptError at the first cell that has none."""
        values = np.array([as_number(cell) for cell in self.cells(column)], dtype=float)
        wrong = ~(np.isfinite(values) & ((values >= 0) if zero else (values > 0)))
        if wrong.any():
            raise MixoptError(
                f"{self.at(int(wrong.argmax()), column)} is not a number {'from' if zero else 'above'} 0: write one "
                f"such as 70M or 1e9, or leave the row out with {self.setting('where')}"
            )
        return values

    def is_numeric(self, column: str) -> bool:
        """Whether every cell that isn't empty is a number, and at least one is."""
        values = [to_float(cell) for cell in self.cells(column)]
        return None not in values and any(value is not None and not math.isnan(value) for value in values)


MAX_RATIO, MAX_DEVIATIONS = 3.0, 8.0  # beyond both, a loss is no measurement


def gross_outliers(losses: Floats) -> NDArray[np.int64]:
    """Rows of losses (n,) that are no measurements: over `MAX_RATIO` times the median or under its inverse, and over
    `MAX_DEVIATIONS` standard deviations of ln loss away, by the median absolute deviation. NaN is none."""
    logs = np.log(losses)
    far = np.abs(logs - np.nanmedian(logs))
    usual = 1.4826 * np.nanmedian(far)  # of a normal distribution this is the standard deviation
    return np.flatnonzero((far > np.log(MAX_RATIO)) & (far > MAX_DEVIATIONS * usual))


def file_record(path: Path) -> dict[str, str | int]:
    """A file's name, size and hash, as answers keep them."""
    content = path.read_bytes()
    return {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def is_table(path: Path) -> bool:
    """Whether a path's ending is that of a table of runs."""
    return path.suffix.lower() in (".csv", ".tsv", ".parquet")


def read_table(path: Path, *, interface: Interface = "study") -> Table:
    """A .csv, .tsv or .parquet file. Raises MixoptError when there is none or it isn't one."""
    if not path.is_file():
        counts = ": check runs.path, which counts from the study file's folder" if interface == "study" else ""
        raise MixoptError(f"{path}: {'a folder, not a table' if path.is_dir() else 'no such file'}{counts}")
    table = _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    if table.frame.empty:
        raise MixoptError(f"{path}: no rows under the header: a table needs one row a run")
    return replace(table, interface=interface)


def _parquet(path: Path) -> Table:
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise MixoptError(f"{path}: not a parquet file ({error})") from error
    frame = frame.reset_index(drop=True)
    return Table(path=path, frame=frame.set_axis(range(1, len(frame) + 1)), unit="row")


def _text(path: Path) -> Table:
    import pandas as pd

    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file, delimiter=separator), [])
        _check_header(path, header)
        frame = pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            dtype=str,
            skip_blank_lines=False,  # so that a row's number is its line
            skipinitialspace=True,
            index_col=False,
        )
    except UnicodeDecodeError as error:
        raise MixoptError(f"{path}: not UTF-8 text ({error.reason}): save it as CSV, UTF-8") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise MixoptError(f"{path}: not a CSV table ({str(error).strip()})") from error
    frame.index = range(2, len(frame) + 2)
    frame.columns = [name.strip() for name in header]
    return Table(path=path, frame=frame.dropna(how="all"))


def _check_header(path: Path, header: list[str]) -> None:
    if not any(name.strip() for name in header):
        raise MixoptError(f"{path}: no header on line 1: the first line names the columns")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise MixoptError(f"{path}: one column, {header[0][:60]!r}: separate the columns by commas (or name it .tsv)")
    stripped = [name.strip() for name in header]
    for name in stripped:
        if stripped.count(name) > 1:
            raise MixoptError(f"{path}, line 1: two columns are called {name!r}: rename one")
