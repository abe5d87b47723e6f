"""Corpora of documents: from files, from the Hugging Face hub, or built in.

Nothing is dropped silently: whatever isn't handed on as a document is counted, and the first places are kept.
"""

import glob
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from proxies import readers
from proxies.subsample import spread

OnBad = Literal["refuse", "skip"]

JSON_LINES = (".jsonl", ".ndjson", ".json")
PLAIN_TEXT = (".txt", ".md", ".text")
_KINDS = "jsonl, ndjson or json (one object a line), txt, md or text, each also packed as .gz or .zst, and parquet"

SCAN_FACTOR = 16  # a cap looks through this many times max_bytes of text before it takes its sample ...
MIN_SCAN = 64 << 20  # ... and through this many bytes of text at least
_MAX_PLACES = 3  # places kept for each kind of problem
_JSON_NAMES = {list: "a list", dict: "an object", str: "a string", int: "a number", float: "a number"}
_JSON_NAMES |= {bool: "true or false", type(None): "null"}
_MAX_WITHOUT_TEXT = 1000  # records without the text column before we say that it isn't there

PROBLEMS = {  # counts of `Counts` -> how they read after a number
    "empty": "empty",
    "no_text": "without the text column",
    "not_text": "whose text is no string",
    "bad_json": "with broken JSON",
    "bad_utf8": "with broken UTF-8",
    "unread_files": "files of a kind that is not read",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a domain's text is. Exactly one of path, hub and builtin."""

    path: str | None = None  # a file, a folder or a glob; a folder may mix kinds of files
    hub: str | None = None  # a data set's name on the Hugging Face hub, or its local folder
    subset: str | None = None  # hub only: the data set's configuration
    split: str = "train"  # hub only
    builtin: str | None = None  # a name in proxies.builtin.BUILTIN
    text: str = "text"  # the text column of json lines, parquet and hub rows
    unit: Literal["paragraph", "line", "file"] = "paragraph"  # what a document is in a text file

    def __post_init__(self):
        given = [name for name in ("path", "hub", "builtin") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a source needs exactly one of path, hub and builtin, got {' and '.join(given) or 'none'}"
            )
        if not str(getattr(self, given[0])).strip():
            raise ValueError(f"{given[0]} is empty: name a file, a hub data set or a built-in text")
        if self.unit not in ("paragraph", "line", "file"):
            raise ValueError(f"unit = {self.unit!r}: set paragraph, line or file")
        if self.hub is None and (self.subset is not None or self.split != "train"):
            raise ValueError(f"{self}: subset and split are for hub data sets: leave them out")

    def __str__(self):
        if self.builtin is not None:
            return f"builtin {self.builtin}"
        return f"hub {self.hub}" if self.hub is not None else str(self.path)


@dataclass
class Counts:
    """What a pass over a domain met. Counts are of documents unless the name says otherwise.

    A text file's paragraph, line or whole counts as one document, also where several of its bytes are broken.
    """

    documents: int = 0  # handed on
    bytes: int = 0  # of UTF-8 text in them
    empty: int = 0  # nothing but white space; blank lines between json lines
    no_text: int = 0  # without the text column, or null in it
    not_text: int = 0  # something other than a string in the text column (on_bad: skip)
    bad_json: int = 0  # lines that are no JSON object (on_bad: skip)
    bad_utf8: int = 0  # with broken UTF-8, or half a surrogate pair (on_bad: skip)
    unread_files: int = 0  # files in a folder that are of no kind we read
    cut_files: int = 0  # files or hub data sets read from their start only, because of max_bytes
    left_out: int = 0  # good documents that max_bytes left out
    places: dict[str, list[str]] = field(default_factory=dict)  # the first places of each problem

    def note(self, kind: str, place: str) -> None:
        """One more of a kind of problem, met at a place."""
        setattr(self, kind, getattr(self, kind) + 1)
        places = self.places.setdefault(kind, [])
        if len(places) < _MAX_PLACES:
            places.append(place)

    @property
    def capped(self) -> bool:
        """Whether max_bytes kept any text out."""
        return bool(self.left_out or self.cut_files)

    def to_dict(self) -> dict:
        return asdict(self) | {"capped": self.capped}


@dataclass
class Documents:
    """The documents of one domain. Iterate it as often as needed; `counts` is of the last full pass.

    A sample (max_bytes) and a built-in text stay in memory after the first pass; files are read again.
    """

    source: Source
    max_bytes: int | None
    on_bad: OnBad
    counts: Counts = field(default_factory=Counts)
    versions: dict[str, str] = field(default_factory=dict)  # of the packages that a built-in text comes from
    _held: list[str] | None = None

    def __iter__(self) -> Iterator[str]:
        if self._held is not None:
            yield from self._held
            return
        counts = Counts()
        texts = self._texts(counts)
        if self.max_bytes is not None:
            texts, counts.left_out = spread(texts, self.max_bytes)
        elif self.source.builtin is not None:
            texts = list(texts)
        for text in texts:
            counts.documents += 1
            counts.bytes += len(text.encode())
            yield text
        if not counts.documents:
            raise ValueError(f"{self.source} holds no text{_met(counts)}: give it documents or drop the domain")
        self.counts = counts
        if isinstance(texts, list):
            self._held = texts

    def _texts(self, counts: Counts) -> Iterator[str]:
        from proxies.builtin import registry

        check = _Check(counts, self.on_bad)
        scan = None if self.max_bytes is None else max(SCAN_FACTOR * self.max_bytes, MIN_SCAN)
        source = self.source
        if source.builtin is not None:
            entry = registry.BUILTIN[source.builtin]
            self.versions = entry.versions()
            for number, text in enumerate(entry.load(), 1):
                if check.good(text, f"{source}: document {number}"):
                    yield text
        elif source.hub is not None:
            rows = readers.hub_rows(source.hub, subset=source.subset, split=source.split, column=source.text)
            with closing(rows):
                yield from _cut(check.rows(rows, str(source)), scan, counts, str(source))
        else:
            yield from self._file_texts(check, scan)

    def _file_texts(self, check: "_Check", scan: int | None) -> Iterator[str]:
        """Every file gives up to its share of the bytes to be scanned, by its size on disk."""
        files, unread = find(str(self.source.path))
        for path in unread:
            check.counts.note("unread_files", str(path))
        total = sum(path.stat().st_size for path in files)
        for path in files:
            if path.stat().st_size == 0:
                check.counts.note("empty", f"{path}: empty file")
                continue
            limit = None if scan is None else scan * path.stat().st_size / max(total, 1)
            yield from _cut(_of_file(path, self.source, check), limit, check.counts, str(path))


def read(source: Source, *, max_bytes: int | None = None, on_bad: OnBad = "refuse") -> Documents:
    """The documents of one domain, from files, the hub or a built-in text alike.

    max_bytes: keep a sample of at most this many bytes of UTF-8 text: whole documents, spread over the domain by
    hash, the same every time. Of a domain larger than 16 times that (and 64 MiB) only the start of each file is
    looked at, in proportion to its size; counts.cut_files says so.
    on_bad: what to do with broken UTF-8, broken JSON and values that aren't text: "refuse" raises ValueError at the
    place, "skip" leaves the document out and counts it.
    Raises ValueError when the source isn't there; and, while the documents are read, for anything that can't be.
    """
    from proxies.builtin import registry

    if on_bad not in ("refuse", "skip"):
        raise ValueError(f"on_bad = {on_bad!r}: set refuse or skip")
    if max_bytes is not None and max_bytes < 1:
        raise ValueError(f"max_bytes = {max_bytes}: set at least 1, or leave it out")
    if source.path is not None:
        find(source.path)
    if source.builtin is not None:
        registry.check(source.builtin)
    return Documents(source, max_bytes, on_bad)


def find(path: str) -> tuple[list[Path], list[Path]]:
    """Files of a path, folder or glob in a fixed order: those we read, and those of no kind we know.

    Raises ValueError when nothing is there that we can read.
    """
    root = Path(path).expanduser()
    if root.is_dir():
        # A linked folder isn't entered (it may lead in circles), so it counts as unread.
        found = [p for p in root.rglob("*") if p.is_symlink() or not p.is_dir()]
    elif root.exists():
        found = [root]
    else:
        matches = glob.glob(str(root), recursive=True)  # noqa: PTH207  (Path.glob takes no absolute pattern)
        found = [p for p in map(Path, matches) if not p.is_dir()]
    found.sort(key=lambda p: p.as_posix())
    files = [p for p in found if _kind(p) and p.is_file() and not _hidden(p, root)]
    taken = set(files)
    unread = [p for p in found if p not in taken]
    if not found:
        what = "the folder holds no files" if root.is_dir() else "no such file, folder or match"
        raise ValueError(f"{path}: {what}: mend `path` (it counts from {Path.cwd()} unless it starts with /)")
    if not files:
        raise ValueError(f"{path}: none of its {len(unread)} files can be read, e.g. {unread[0].name}: give {_KINDS}")
    return files, unread


def _hidden(path: Path, root: Path) -> bool:
    """Whether a file or a folder between it and the root is hidden, like the notes that downloaders leave."""
    return root.is_dir() and any(part.startswith(".") for part in path.relative_to(root).parts)


def _kind(path: Path) -> str | None:
    """Which reader a file wants, by its name: "json", "text", "parquet" or None."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    packing = next((suffix for suffix in (*readers.GZIP, *readers.ZSTANDARD) if name.endswith(suffix)), "")
    suffix = Path(name.removesuffix(packing)).suffix
    return "json" if suffix in JSON_LINES else "text" if suffix in PLAIN_TEXT else None


def _of_file(path: Path, source: Source, check: "_Check") -> Iterator[str]:
    kind = _kind(path)
    if kind == "parquet":
        with closing(readers.parquet_rows(path, source.text)) as rows:
            yield from check.rows(rows, str(path))
        return
    with closing(readers.lines(path)) as lines:
        if kind == "json":
            yield from check.json_lines(lines, source.text, str(path))
        else:
            yield from check.units(lines, source.unit, str(path))


def _cut(texts: Iterator[str], limit: float | None, counts: Counts, place: str) -> Iterator[str]:
    """Texts up to a limit in bytes, one at least; notes where there was more."""
    size = 0
    for text in texts:
        if limit is not None and size >= limit:
            counts.note("cut_files", f"{place}: after {size} bytes")
            return
        size += len(text.encode())
        yield text


def _met(counts: Counts) -> str:
    met = [f"{getattr(counts, kind)} {words}" for kind, words in PROBLEMS.items() if getattr(counts, kind)]
    return f" ({', '.join(met)})" if met else ""


class _Check:
    """Turns raw values into texts; counts or refuses those that are none."""

    def __init__(self, counts: Counts, on_bad: OnBad):
        self.counts = counts
        self.on_bad = on_bad

    def rows(self, rows: Iterable[readers.Row], place: str) -> Iterator[str]:
        """Texts of parquet or hub rows."""
        for number, data in rows:
            where = f"{place}: row {number}"
            if data is None:
                self.counts.note("no_text", where)
            elif (text := self._decoded(data, where)) is not None and self.good(text, where):
                yield text

    def json_lines(self, lines: Iterable[bytes], column: str, place: str) -> Iterator[str]:
        """Texts under `column` of one JSON object a line."""
        found, columns, missing = False, set(), 0
        for number, line in enumerate(lines, 1):
            where = f"{place}: line {number}"
            record = self._record(line, where)
            if record is None:
                continue
            found = found or column in record
            if not found:
                missing += 1
                columns.update(list(record)[:20])
                if missing == _MAX_WITHOUT_TEXT:
                    break
            text = record.get(column)
            if text is None:
                self.counts.note("no_text", where)
            elif not isinstance(text, str):
                self._bad("not_text", f"{where}: {column!r} holds {_JSON_NAMES[type(text)]}, not text")
            elif self.good(text, where):
                yield text
        if missing and not found:
            raise ValueError(readers.no_column(place, column, list(columns)))

    def units(self, lines: Iterable[bytes], unit: str, place: str) -> Iterator[str]:
        """Paragraphs (parted by blank lines), lines or the whole of a text file."""
        for start, block in _blocks(lines, unit):
            text = self._decoded(b"\n".join(block), place, start)
            if text is not None and self.good(text, f"{place}: line {start}"):
                yield text

    def _record(self, line: bytes, where: str) -> dict | None:
        if not line.strip():
            self.counts.note("empty", where)
            return None
        text = self._decoded(line, where)
        if text is None:
            return None
        try:
            record = json.loads(text)
            if isinstance(record, dict):
                return record
            problem = f"{_JSON_NAMES[type(record)]}, not a JSON object"
        except (ValueError, RecursionError) as error:
            hint = "; one object a line is read: jq -c '.[]' makes lines of a list" if text[0] == "[" else ""
            problem = f"not valid JSON ({readers.one_line(error)}{hint})"
        self._bad("bad_json", f"{where}: {problem}")
        return None

    def _decoded(self, data: bytes, where: str, first_line: int | None = None) -> str | None:
        """UTF-8 text; first_line: the number of its first line, where `where` doesn't say it."""
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            if first_line is not None:
                number = first_line + data.count(b"\n", 0, error.start)
                where = f"{where}: line {number}"
            self._bad("bad_utf8", f"{where}: not UTF-8 ({error.reason} 0x{data[error.start]:02x})")
            return None

    def good(self, text: str, where: str) -> bool:
        if not text.strip():
            self.counts.note("empty", where)
            return False
        try:
            text.encode()
        except UnicodeEncodeError:
            self._bad("bad_utf8", f"{where}: half of a surrogate pair, which is no character")
            return False
        return True

    def _bad(self, kind: str, problem: str) -> None:
        """Refuses with a message, or counts."""
        if self.on_bad == "refuse":
            raise ValueError(f"{problem}: mend it, or set `on_bad: skip` to leave such documents out and count them")
        self.counts.note(kind, problem)


def _blocks(lines: Iterable[bytes], unit: str) -> Iterator[tuple[int, list[bytes]]]:
    """The lines of each document of a text file, with the number of the first."""
    block: list[bytes] = []
    start = 1
    for number, line in enumerate(lines, 1):
        blank = unit == "paragraph" and not line.strip()
        if block and (blank or unit == "line"):
            yield start, block
            block = []
        if not blank:
            start = number if not block else start
            block.append(line)
    if block:
        yield start, block
