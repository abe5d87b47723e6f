"""Corpora of documents: from files, from the Hugging Face hub, or built in.

Nothing is dropped silently: whatever isn't handed on as a document is counted, and the first places are kept.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from proxies import readers
from proxies.subsample import spread

OnBad = Literal["refuse", "skip"]

JSON_LINES = (".jsonl", ".ndjson", ".json")
PLAIN_TEXT = (".txt", ".md", ".text")
_KINDS = (
    "jsonl, ndjson or json (one object a line), txt, md or text, each also packed as .gz, .zst, .bz2 or .xz, parquet "
    "(pandas makes it of csv: `read_csv(...).to_parquet(...)`), or arrow as `save_to_disk` writes it; unpack archives"
)
# What lies beside the data in a folder that was downloaded, or saved by `datasets`.
_NOTES = re.compile(
    r"(readme)([._-].*)?|(licen[cs]e|notice|changelog|contributing|citation|code_of_conduct|requirements)(\.\w+)?"
    r"|(dataset_infos?|dataset_dict|state|croissant)\.json|(cache)-.*\.arrow"
)
_MAGIC = re.compile(r"[*?[]")
_SPLITS = {  # words of a file's or folder's name -> its split, as `datasets` has them
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}

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
    "notes": "files hidden or beside the data, such as README",
    "other_splits": "files of other splits (`split` or a name in `path` reads them)",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a domain's text is. Exactly one of path, hub and builtin."""

    path: str | None = None  # a file, a folder or a glob; a folder may mix kinds of files
    hub: str | None = None  # a data set's name on the Hugging Face hub, or its local folder
    subset: str | None = None  # hub only: the data set's configuration
    split: str = "train"  # of a hub data set, or of a folder whose files are named by split; all: every file
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
        if (self.hub is None and self.subset is not None) or (self.builtin is not None and self.split != "train"):
            raise ValueError(f"{self}: subset is for hub data sets, split for these and folders: leave them out")

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
    notes: int = 0  # README.md, dataset_infos.json and the like, hidden files and folders
    other_splits: int = 0  # files named as another split than the one that is read
    joined: int = 0  # documents that were lists of strings or chat messages
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
        elif source.hub is not None and (source.subset or not _is_saved(Path(source.hub))):
            rows = readers.hub_rows(source.hub, subset=source.subset, split=source.split, column=source.text)
            with closing(rows):
                yield from _cut(check.rows(rows, str(source)), scan, counts, str(source))
        else:
            yield from self._file_texts(check, scan)

    def _file_texts(self, check: "_Check", scan: int | None) -> Iterator[str]:
        """Every file gives up to its share of the bytes to be scanned, by its size on disk."""
        files, others = find(str(self.source.path or self.source.hub), self.source.split)
        for path, kind in others.items():
            check.counts.note(kind, str(path))
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
        find(source.path, source.split)
    if source.builtin is not None:
        registry.check(source.builtin)
    return Documents(source, max_bytes, on_bad)


def find(path: str, split: str = "train") -> tuple[list[Path], dict[Path, str]]:
    """Files of a path, folder or glob in a fixed order: those we read, and the others with the count they go under.

    Every real file is read once, however many links lead to it. Notes beside the data and files of another split are
    not read unless a glob names them. Raises ValueError when nothing is there that we can read, or a folder can't be
    listed.
    """
    root = Path(path).expanduser()
    found = sorted(matches(root), key=lambda p: p.as_posix())
    if not found:
        what = "the folder holds no files" if root.is_dir() else "no such file, folder or match"
        raise ValueError(f"{path}: {what}: mend `path` (it counts from {Path.cwd()} unless it starts with /)")
    base, pattern = _parts(root)
    named = "/".join(pattern).lower()
    others = {f: why for f in found if (why := _left_out(f, None if f == root else f.relative_to(base), named, split))}
    files = {_identity(file): file for file in reversed(found) if file not in others}
    if files:
        return sorted(files.values(), key=lambda p: p.as_posix()), others
    if "other_splits" in others.values():
        apart = [file.relative_to(base) for file, why in others.items() if why == "other_splits"]
        there = " or ".join(sorted({_split_of(file) or "train" for file in apart}))
        raise ValueError(f"{path}: no file of split {split!r}: set `split` to {there}, or to all")
    remedy = "name the file in `path` to read it" if "notes" in others.values() else f"give {_KINDS}"
    raise ValueError(f"{path}: none of its {len(found)} files can be read, e.g. {found[0].name}: {remedy}")


def matches(path: Path) -> Iterator[Path]:
    """Every file of a path, folder or glob, links followed. Raises ValueError naming a folder that can't be listed."""
    try:
        yield from [path] if path.is_file() else _below(*_parts(path), set())
    except OSError as error:
        place = f"{error.filename or path}: can't be listed ({error.strerror})"
        raise ValueError(f"{place}: make it readable, or name what is to be read in `path`") from error


def _parts(path: Path) -> tuple[Path, Sequence[str]]:
    """The folder that a path begins with, and the rest of it, which is a pattern."""
    if path.is_dir():
        return path, ["**"]
    first = next((i for i, part in enumerate(path.parts) if _MAGIC.search(part)), len(path.parts) - 1)
    return Path(*path.parts[:first]), path.parts[first:]


def _below(folder: Path, pattern: Sequence[str], seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files under a folder that match a pattern's parts. seen: folders that its leading ** has been in.

    ** alone gives hidden files and folders too, which find leaves out and counts.
    """
    first, rest = pattern[0], pattern[1:]
    if not folder.is_dir() or (first == "**" and _identity(folder) in seen):
        return
    if first == "**":
        seen.add(_identity(folder))
        yield from _below(folder, rest or ["*"], set())
    for path in folder.iterdir() if _MAGIC.search(first) else [folder / first]:
        hidden = path.name.startswith(".")
        if first == "**":
            if hidden and not rest:
                yield path
            elif not hidden and path.is_dir():
                yield from _below(path, pattern, seen)
        elif fnmatchcase(path.name, first) and hidden <= first.startswith("."):
            if rest:
                yield from _below(path, rest, set())
            elif not path.is_dir() and (path.exists() or path.is_symlink()):
                yield path


def _identity(path: Path) -> tuple[int, int]:
    """The same for every name of one file or folder."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _left_out(path: Path, inside: Path | None, named: str, split: str) -> str | None:
    """The count of `Counts` that a file goes under in place of being read.

    inside: its place in the folder that was given, None where it was itself; named: what a glob says.
    """
    note = _NOTES.fullmatch(path.name.lower()) if inside else None
    if note and not any(word in named for word in filter(None, note.groups()[::2])):
        return "notes"
    if named == "**" and path.name.startswith("."):
        return "notes"
    if not _kind(path) or not path.is_file():
        return "unread_files"
    own, wanted = _split_of(inside or Path()), _SPLITS.get(split, split)
    if split == "all" or inside is None or wanted in (own or "train", *inside.parts):
        return None
    spelt = wanted == "train" and any(_SPLITS.get(word) == own for word in re.findall("[a-z]+", named))
    return None if spelt else "other_splits"


def _split_of(path: Path) -> str | None:
    """The split that a file's name, or else its folder's, says."""
    words = [word for part in reversed(path.parts) for word in re.findall("[a-z]+", part.lower())]
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of `datasets` wrote a folder: it is read as files are, whichever key names it."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _kind(path: Path) -> str | None:
    """Which reader a file wants, by its name: "json", "text", "table" or None."""
    name = path.name.lower()
    if name.endswith((".parquet", ".arrow")):
        return "table"
    packing = next((suffix for suffix in readers.PACKED if name.endswith(suffix)), "")
    suffix = Path(name.removesuffix(packing)).suffix
    return "json" if suffix in JSON_LINES else "text" if suffix in PLAIN_TEXT else None


def _of_file(path: Path, source: Source, check: "_Check") -> Iterator[str]:
    kind = _kind(path)
    if kind == "table":
        with closing(readers.table_rows(path, source.text)) as rows:
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
            value = self._decoded(data, where) if isinstance(data, bytes) else data
            if data is None or value is not None:
                yield from self._text(value, where, "the text column")

    def json_lines(self, lines: Iterable[bytes], column: str, place: str) -> Iterator[str]:
        """Texts under `column` of one JSON object a line."""
        found, columns, missing = False, set(), 0
        for number, line in enumerate(lines, 1):
            where = f"{place}: line {number}"
            for record in self._records(line, where):
                there, value = readers.dig(record, column)
                found = found or there
                if not found:
                    missing += 1
                    columns.update(list(record)[:20])
                yield from self._text(value, where, repr(column))
            if missing >= _MAX_WITHOUT_TEXT and not found:
                break
        if missing and not found:
            raise ValueError(readers.no_column(place, column, columns) + ", or leave the file out of `path`")

    def units(self, lines: Iterable[bytes], unit: str, place: str) -> Iterator[str]:
        """Paragraphs (parted by blank lines), lines or the whole of a text file."""
        for start, block in _blocks(lines, unit):
            text = self._decoded(b"\n".join(block), place, start)
            if text is not None and self.good(text, f"{place}: line {start}"):
                yield text

    def _text(self, value: Any, where: str, column: str) -> Iterator[str]:
        """A value of the text column, if it is a text, or a list that becomes one."""
        text = readers.joined(value) if isinstance(value, list) else value
        if value is None:
            self.counts.note("no_text", where)
        elif not isinstance(text, str):
            hint = {
                list: " (strings, or messages with role and content, are joined; `jq -c '.NAME[]'` makes lines)",
                dict: "; set `text` to a field of it, as in data.text",
            }.get(type(value), "")
            self._bad("not_text", f"{where}: {column} holds {_JSON_NAMES[type(value)]}, not text{hint}")
        elif self.good(text, where):
            self.counts.joined += text is not value
            yield text

    def _records(self, line: bytes, where: str) -> list[dict]:
        """The object of a line, or those of a list of them."""
        if not line.strip():
            self.counts.note("empty", where)
            return []
        text = self._decoded(line, where)
        if text is None:
            return []
        try:
            record = json.loads(text)
            records: list[Any] = record if isinstance(record, list) and record else [record]
            if all(isinstance(one, dict) for one in records):
                return records
            each = {str: "", list: ".[] | "}.get(type(record))
            hint = "" if each is None else f"; `jq -c '{each}{{text: .}}'` makes objects of strings"
            problem = f"{_JSON_NAMES[type(record)]}, not a JSON object{hint}"
        except (ValueError, RecursionError) as error:
            hint = "; one object a line is read: jq -c '.[]' makes lines of a list" if text[0] == "[" else ""
            if text.strip() == "{":
                hint = "; one object a line is read: jq -c . makes lines of others, or name the data alone in `path`"
            problem = f"not valid JSON ({readers.one_line(error)}{hint})"
        self._bad("bad_json", f"{where}: {problem}")
        return []

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
