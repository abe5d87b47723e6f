"""Streaming readers: lines of text files, rows of parquet and arrow files and of hub data sets.

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
from collections.abc import Callable, Collection, Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

PACKED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "lzma"}

_BUFFER = 1 << 20  # bytes unpacked at once
_FILE_ROWS = 1000  # rows held in memory at once
_HUB_ROWS = 100  # hub rows arrive over the network, so fewer at a time

Row = tuple[int, bytes | list | None]  # 1-based row number; the text's UTF-8 bytes, or a list (None: null)


def lines(path: Path) -> Generator[bytes, None, None]:
    """Lines of a text file as bytes, without line ends and without a byte-order mark; packed files are unpacked.

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


def table_rows(path: Path, column: str) -> Generator[Row, None, None]:
    """Rows of one text column of a parquet file, or an arrow file of `save_to_disk`; a dot leads into structs.

    Raises ValueError when the file can't be read, has no such column, or the column doesn't hold text.
    """
    import pyarrow.parquet
    from datasets import Dataset

    row = 0
    with _scratch() as cache, _readable(path, lambda: f"row {row + 1}"):
        stream: Any
        if path.suffix.lower() == ".arrow":
            stream = Dataset.from_file(str(path))
        else:
            root = _root(pyarrow.parquet.read_schema(path).names, column, str(path))
            # Without a batch size `datasets` takes the first row group's, and fails where that is empty.
            stream = Dataset.from_parquet(
                glob.escape(str(path)), streaming=True, cache_dir=cache, columns=[root], batch_size=_FILE_ROWS
            )
        for table in stream.with_format("arrow").iter(batch_size=_FILE_ROWS):
            for value in _text_values(table, column, str(path)):
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
        if stream.column_names:
            stream = stream.select_columns([_root(stream.column_names, column, place)])
        for table in stream.with_format("arrow").iter(batch_size=_HUB_ROWS):
            for value in _text_values(table, column, place):
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


def dig(record: dict, column: str) -> tuple[bool, Any]:
    """Whether a column is in a record, and its value; a dot leads into an object, unless a name holds the dot."""
    first, _, rest = column.partition(".")
    if rest and column not in record and isinstance(record.get(first), dict):
        return dig(record[first], rest)
    return column in record, record.get(column)


def joined(values: list) -> str | None:
    """Strings one a line; chat messages as "role: content" with a blank line between; None: they are neither."""
    if all(isinstance(value, str) for value in values):
        return "\n".join(values)
    messages = [one if isinstance(one, dict) else {} for one in values]
    pairs = [(one.get("role", one.get("from")), one.get("content", one.get("value"))) for one in messages]
    whole = all(isinstance(part, str) for pair in pairs for part in pair)
    return "\n\n".join(f"{role}: {content}" for role, content in pairs) if whole else None


def no_column(place: str, column: str, columns: Collection[str]) -> str:
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
    import lzma

    import pyarrow

    damage = (OSError, EOFError, pyarrow.ArrowException, RuntimeError, lzma.LZMAError, UnicodeDecodeError)
    try:
        yield
    except damage as error:
        raise ValueError(
            f"{path}: can't be read at {place()}: {one_line(error)}: the file is damaged, cut short or not what "
            "its suffix says; fetch it again or leave it out"
        ) from error


def _open(path: Path, opened: contextlib.ExitStack) -> io.BufferedReader:
    """A file's bytes, unpacked; both ways notice packed data that is cut short, and read all of its frames."""
    codec = PACKED.get(path.suffix.lower())
    if codec is None:
        return opened.enter_context(path.open("rb"))
    if codec in ("bz2", "lzma"):
        return opened.enter_context(import_module(codec).open(path))
    import pyarrow as pa

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


def _root(columns: Collection[str], column: str, place: str) -> str:
    """The column that a text column is, or lies in. Raises ValueError where it isn't there."""
    root = column if column in columns else column.split(".")[0]
    if root not in columns:
        raise _Refusal(no_column(place, column, columns))
    return root


def _text_values(table, column: str, place: str) -> list[Any]:
    """A text column's values as bytes, so that broken UTF-8 is met one row at a time; lists as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    root = _root(table.column_names, column, place)
    values = table.column(root)
    for name in column.removeprefix(root).split(".")[1:]:
        fields = [field.name for field in values.type] if pa.types.is_struct(values.type) else []
        if name not in fields:
            raise _Refusal(no_column(place, column, [f"{root}.{field}" for field in fields] or [root]))
        values, root = pc.struct_field(values, name), f"{root}.{name}"  # type: ignore[reportAttributeAccessIssue]
    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        values = values.cast(kind)
    if pa.types.is_null(kind):
        return [None] * len(values)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return values.to_pylist()
    if str(kind) not in ("string", "large_string", "string_view"):  # pyarrow 15 has no pa.string_view to compare with
        hint = f" such as {column}.{kind[0].name}" if pa.types.is_struct(kind) else ""
        raise _Refusal(f"{place}: column {column!r} holds {kind}, not text: set `text` to a column of strings{hint}")
    return values.cast(pa.large_binary()).to_pylist()
