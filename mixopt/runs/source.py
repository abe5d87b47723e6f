"""Tables of runs as they were written: cells as text, each row with the line it stands on."""

from __future__ import annotations

import csv
import hashlib
import math
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import as_number, count_advice, counted, is_empty, number_advice, to_float
from mixopt.runs.columns import ALIASES, Aliases, candidates, is_recognised
from proxies.readers import one_line

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

    def texts(self, column: str) -> list[str | None]:
        """The cells as names, None where empty: 7 and 7.0 are one."""
        return [None if is_empty(cell) else _name(cell) for cell in self.cells(column)]

    def recognised(self, key: str, aliases: Aliases = ALIASES) -> str | None:
        """The column that holds the run's `key`, one of the aliases' keys, or None; rather one that isn't empty."""
        found = candidates(self.columns, key, aliases)
        return min(found, key=lambda column: bool(self.frame[column].isna().all()), default=None)

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

    def key(self, name: str) -> str:
        """A setting's name alone, as an option where it is one."""
        return self.setting(name).strip("`") if self.interface == "command" else name

    def rows(self, keep: Sequence[int]) -> Table:
        """The same file with only these rows, in this order."""
        return replace(self, frame=self.frame.iloc[list(keep)])

    def numbers(self, column: str, *, percents: bool = False) -> Floats:
        """The column as floats, (n_rows,); NaN where empty; with percents 5% is 0.05.

        Raises MixoptError at the first cell that is no number.
        """
        values = [_share(cell) if percents else to_float(cell) for cell in self.cells(column)]
        if None in values:
            row = values.index(None)
            advice = number_advice(self.cells(column)[row])
            raise MixoptError(f"{self.at(row, column)} is not a number: {advice}")
        return np.array(values, dtype=float)

    def as_counts(self, column: str) -> Floats | None:
        """The column as floats, (n_rows,), that may be written 70M; NaN where empty; None where it holds other text."""
        values = [math.nan if is_empty(cell) else as_number(cell) for cell in self.cells(column)]
        return None if None in values or not len(values) else np.array(values, dtype=float)

    def counts(self, column: str) -> Floats:
        """The column as floats, (n_rows,), of counts from 0 that may be written 70M or 20B; NaN where empty."""
        values = [math.nan if is_empty(cell) else as_number(cell) for cell in self.cells(column)]
        wrong = [value is None or value < 0 or value > MAX_COUNT for value in values]
        if True in wrong:
            row = wrong.index(True)
            advice = count_advice(self.cells(column)[row])
            raise MixoptError(f"{self.at(row, column)} is not a count: {advice}")
        return np.array(values, dtype=float)

    def positive(self, column: str, *, zero: bool = False) -> Floats:
        """Counts above 0, or from 0, in every row. Raises MixoptError at the first cell that has none."""
        values = np.array([as_number(cell) for cell in self.cells(column)], dtype=float)
        wrong = ~((values <= MAX_COUNT) & ((values >= 0) if zero else (values > 0)))
        if wrong.any():
            row = int(wrong.argmax())
            raise MixoptError(
                f"{self.at(row, column)} is not a number {'from' if zero else 'above'} 0: "
                f"{count_advice(self.cells(column)[row])}, or leave the row out with {self.setting('where')}"
            )
        return values

    def losses(self, column: str) -> Floats:
        """The column as losses, (n_rows,), NaN where empty. Raises MixoptError at the first that isn't one."""
        values = self.numbers(column)
        wrong = no_losses(values)
        if wrong.any():
            raise MixoptError(f"{self.at(int(wrong.argmax()), column)} is not a loss above 0, a finite number")
        return values

    def is_numeric(self, column: str) -> bool:
        """Whether every cell that isn't empty is a number, and at least one is."""
        values = [to_float(cell) for cell in self.cells(column)]
        return None not in values and any(value is not None and not math.isnan(value) for value in values)


def _share(cell: object) -> float | None:
    percent = str(cell).strip().endswith("%")
    number = to_float(str(cell).strip()[:-1] if percent else cell)
    return number / 100 if percent and number is not None else number


def _name(cell: object) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


MAX_COUNT = 1e30  # of parameters or tokens, beyond any run
MIN_LOSS, MAX_LOSS = 1e-9, 1e9  # in whatever unit; further out sums lose their digits


def no_losses(values: Floats) -> NDArray[np.bool_]:
    """Which values, (n,), are no losses; NaN is a missing one."""
    return (values < MIN_LOSS) | (values > MAX_LOSS)


MAX_RATIO, MAX_DEVIATIONS = 3.0, 8.0  # beyond both, a loss is no measurement


def gross_outliers(losses: Floats, ratio: float = MAX_RATIO) -> NDArray[np.int64]:
    """Rows of losses (n,) that are no measurements: over `ratio` times the median or under its inverse, and over
    `MAX_DEVIATIONS` standard deviations of ln loss away, by the median absolute deviation. NaN is none."""
    if np.isnan(losses).all():
        return np.empty(0, dtype=np.int64)
    logs = np.log(losses)
    far = np.abs(logs - np.nanmedian(logs))
    usual = 1.4826 * np.nanmedian(far)  # of a normal distribution this is the standard deviation
    return np.flatnonzero((far > np.log(ratio)) & (far > MAX_DEVIATIONS * usual))


def file_record(path: Path) -> dict[str, str | int]:
    """A file's name, size and hash, as answers keep them."""
    content = path.read_bytes()
    return {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def is_table(path: Path) -> bool:
    """Whether a path's ending is that of a table of runs."""
    return path.suffix.lower() in (".csv", ".tsv", ".parquet")


# How files begin that are often named .csv, and what they are.
FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or a zip archive", b"\xd0\xcf\x11\xe0": "an Excel workbook", b"\x1f\x8b": "gzip",
    b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard", b"PAR1": "a parquet file", b"{": "JSON",
    b"[{": "JSON", b"[[": "JSON", b"<": "HTML or XML", b"%PDF": "a PDF", b"\x93NUMPY": "a NumPy array",
    b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text", b"ARROW1": "an Arrow file", b"\x80\x04": "a pickle",
}  # fmt: skip
# Cells that stand for no value, as pandas has them.
EMPTY = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)


def read_table(source: Path | pd.DataFrame, *, name: str = "the data frame", interface: Interface = "study") -> Table:
    """A .csv, .tsv or .parquet file, or a data frame called `name`. Raises MixoptError for what is no table."""
    if isinstance(source, Path):
        _check_file(source, interface)
        table = _parquet(source) if source.suffix.lower() == ".parquet" else _text(source)
    else:
        table = _whole(Path(name), source, source.index, "row")
    if table.frame.empty:
        raise MixoptError(f"{table.path}: no rows under the header: a table needs one row a run")
    return replace(table, interface=interface)


def _check_file(path: Path, interface: Interface) -> None:
    """Raises MixoptError for what is no file, or one of another kind than its name says."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # such as a name that is too long
        counts = ": check runs.path, which counts from the study file's folder" if interface == "study" else ""
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        why = "no such file" if missing else f"can't be read ({getattr(error, 'strerror', None) or error})"
        raise MixoptError(f"{str(path)[:200]}: {why}{counts}") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise MixoptError(f"{path}: {what}, not a table: give a .csv, .tsv or .parquet file")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise MixoptError(f"{path}: can't be read ({error.strerror})") from None
    parquet = path.suffix.lower() == ".parquet"
    found = next((what for begin, what in FOREIGN.items() if start.startswith(begin)), None)
    if found and not (parquet and found == "a parquet file"):
        raise MixoptError(
            f"{path}: {found}, not a {'parquet' if parquet else 'CSV'} table: save it as .csv (UTF-8) or .parquet"
        )


def _parquet(path: Path) -> Table:
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise MixoptError(f"{path}: not a parquet table ({one_line(error)})") from error
    return _whole(path, frame, range(1, len(frame) + 1), "row")


def _text(path: Path) -> Table:
    import pandas as pd

    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    lines, rows = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            header = next(reader, [])
            _check_header(path, header, separator)
            before = reader.line_num
            for row in reader:
                line, before = before + 1, reader.line_num
                cells = [None if (text := cell.strip()) in EMPTY else text for cell in row]
                if not any(cells):
                    continue
                if len(cells) < len(header) or any(cells[len(header) :]):
                    raise MixoptError(
                        f"{path}, line {line}: not a CSV table: {counted(len(cells), 'cell')} under a header of "
                        f"{len(header)}: quote cells that hold a separator, and leave none out"
                    )
                lines.append(line)
                rows.append(cells[: len(header)])
    except UnicodeDecodeError as error:
        raise MixoptError(f"{path}: not UTF-8 text ({error.reason}): save it as CSV, UTF-8") from error
    except csv.Error as error:
        raise MixoptError(f"{path}: not a CSV table ({str(error).strip()})") from error
    return _whole(path, pd.DataFrame(rows, columns=header, dtype=object), lines, "line")


def _whole(path: Path, frame: pd.DataFrame, index: Any, unit: str) -> Table:
    """The table with a name a column, levels of a header joined by /, every missing cell as NaN.

    A named index, such as run ids, becomes a column. Of columns of one name and content one stays; others of one name
    are called by their place too, but those that are recognised by it: MixoptError.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    import pandas as pd

    names = [_column_name(name) for name in frame.columns]
    cells = frame.astype(object).to_numpy(copy=True)
    cells[frame.isna().to_numpy()] = np.nan
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(name, []).append(i)
    kept: dict[str, int] = {}
    for name, (first, *others) in places.items():
        same = all(frame.iloc[:, i].equals(frame.iloc[:, first]) for i in others)
        if same and (name or not frame.iloc[:, first].isna().all()):  # else separators at the end of every line
            kept[name] = first
        elif not same and (not name or is_recognised(name)):
            raise MixoptError(f"{path}, header: two columns are called {name!r}: rename one")
        elif not same:
            kept |= {f"{name} (column {i + 1})": i for i in (first, *others)}
    order = sorted(kept, key=kept.__getitem__)
    whole = pd.DataFrame(cells[:, [kept[name] for name in order]], columns=order, index=list(index), dtype=object)
    return Table(path=path, frame=whole, unit=unit)


def _column_name(name: object) -> str:
    return "/".join(
        str(level).strip() for level in (name if isinstance(name, tuple) else (name,)) if str(level).strip()
    )


def _check_header(path: Path, header: list[str], separator: str) -> None:
    if not any(name.strip() for name in header):
        raise MixoptError(f"{path}: no header on line 1: the first line names the columns")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|,"):
        separate, other = ("tabs", ".csv") if separator == "\t" else ("commas", ".tsv")
        raise MixoptError(
            f"{path}: one column, {header[0][:60]!r}: separate the columns by {separate} (or name it {other})"
        )
