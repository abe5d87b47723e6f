"""Streaming readers: lines of text files, rows of parquet files and of hub data sets.

Hugging Face `datasets` streams parquet and hub rows. Files are read with no network call, no progress bar and no
cache: it is handed a throw-away cache folder.
Damaged files raise ValueError naming the file and the place.

Readers hold files open while they are suspended: wrap them in contextlib.closing.
"""

import codecs
import contextlib
import glob
import io
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

GZIP = (".gz",)
ZSTANDARD = (".zst", ".zstd")

_BUFFER = 1 << 20  # bytes unpacked at once
_FILE_ROWS = 1000  # rows held in memory at once
_HUB_ROWS = 100  # hub rows arrive over the network, so fewer at a time

Row = tuple[int, bytes | None]  # 1-based row number, the text's UTF-8 bytes (None: null)


def lines(path: Path) -> Generator[bytes, None, None]:
    """Lines of a text file as bytes, without line ends and without a byte-order mark; .gz and .zst are unpacked.

    Not through `datasets`: its streaming decodes packed files by the locale, so that broken UTF-8 can't be traced to
    its line, and takes a .zst that is cut short for a whole one.
    Raises ValueError when the file can't be read, or breaks off within its compressed data.
    """
    number = 0
    with _readable(path, lambda: f"line {number + 1}"), contextlib.ExitStack() as opened:
        for line in _open(path, opened):
            number += 1
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def parquet_rows(path: Path, column: str) -> Generator[Row, None, None]:
    """Rows of one text column of a parquet file.

    Raises ValueError when the file can't be read, has no such column, or the column doesn't hold text.
    """
    import pyarrow.parquet
    from datasets import Dataset

    row = 0
    with _scratch() as cache, _readable(path, lambda: f"row {row + 1}"):
        columns = list(pyarrow.parquet.read_schema(path).names)
        if column not in columns:
            raise _Refusal(no_column(str(path), column, columns))
        name = glob.escape(str(path))
        stream: Any = Dataset.from_parquet(name, streaming=True, cache_dir=cache, columns=[column])
        for table in stream.with_format("arrow").iter(batch_size=_FILE_ROWS):
            for value in _text_bytes(table, column, str(path)):
                row += 1
                yield row, value


def hub_rows(name: str, *, subset: str | None, split: str, column: str) -> Generator[Row, None, None]:
    """Rows of one text column of a data set on the Hugging Face hub, or of a local data set folder.

    Raises ValueError when the data set, the split or the column isn't there, or the connection fails.
    """
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    place = f"{name}{f'/{subset}' if subset else ''} [{split}]"
    row = 0
    try:
        with _quiet(), _scratch() as cache:
            scratch = cache if Path(name).is_dir() else None  # what is here already needs no cache
            stream: Any = datasets.load_dataset(name, subset, split=split, streaming=True, cache_dir=scratch)
        if stream.column_names and column in stream.column_names:
            stream = stream.select_columns([column])
        for table in stream.with_format("arrow").iter(batch_size=_HUB_ROWS):
            if column not in table.column_names:
                raise _Refusal(no_column(place, column, table.column_names))
            for value in _text_bytes(table, column, place):
                row += 1
                yield row, value
    except _Refusal:
        raise
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, HfHubHTTPError, DatasetsError) as error:
        after = f" after row {row}" if row else ""
        raise ValueError(
            f"hub data set {place} can't be read{after}: {one_line(error)}: check its name, subset and split, "
            "and the connection; or download it and give its folder as `path`"
        ) from error


def no_column(place: str, column: str, columns: list[str]) -> str:
    """The message for a text column that isn't there."""
    there = ", ".join(sorted(map(str, columns))) or "none"
    return f"{place}: no text column {column!r}: set `text` to one of its columns ({there})"


def one_line(error: BaseException) -> str:
    """An error's message on one line, short enough to stand within another."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


class _Refusal(ValueError):
    """A finished message, which no handler here adds to."""


@contextlib.contextmanager
def _readable(path: Path, place: Callable[[], str]) -> Iterator[None]:
    """Turns what readers raise on a damaged file into one ValueError with the file, the place and the remedy."""
    import pyarrow

    try:
        yield
    except (OSError, EOFError, pyarrow.ArrowException, RuntimeError) as error:
        raise ValueError(
            f"{path}: can't be read at {place()}: {one_line(error)}: the file is damaged, cut short or not what "
            "its suffix says; fetch it again or leave it out"
        ) from error


def _open(path: Path, opened: contextlib.ExitStack) -> io.BufferedReader:
    """A file's bytes, unpacked; pyarrow notices packed data that is cut short, and reads all of its frames."""
    if not path.name.lower().endswith((*GZIP, *ZSTANDARD)):
        return opened.enter_context(path.open("rb"))
    import pyarrow as pa

    codec = "gzip" if path.name.lower().endswith(GZIP) else "zstd"
    packed = opened.enter_context(pa.OSFile(str(path)))
    unpacked = opened.enter_context(pa.CompressedInputStream(packed, codec))
    return opened.enter_context(io.BufferedReader(unpacked, _BUFFER))


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A cache folder for `datasets`, which wants one even where it caches nothing; gone afterwards."""
    return tempfile.TemporaryDirectory(prefix="mixopt-", ignore_cleanup_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of `datasets` within; the caller's setting comes back afterwards."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _text_bytes(table, column: str, place: str) -> list[bytes | None]:
    """A text column's values as bytes, so that broken UTF-8 is met one row at a time."""
    import pyarrow as pa

    values = table.column(column)
    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        values = values.cast(kind)
    if pa.types.is_null(kind):
        return [None] * len(values)
    if str(kind) not in ("string", "large_string", "string_view"):  # pyarrow 15 has no pa.string_view to compare with
        raise _Refusal(f"{place}: column {column!r} holds {kind}, not text: set `text` to a column of strings")
    return values.cast(pa.large_binary()).to_pylist()
