"""Readers of the packages that carry the demo's corpora. Each takes the package's files, sorted by name."""

import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_VERSE = re.compile(r"\b\d+:\d+ ")  # verse numbers within a passage
_MIN_NEW = 0.6  # share of a kept paragraph's shingles that are new
_SHINGLE = 6  # words
_NOTES = {  # tags of notes in the ICD-10-CM table, and how they read
    "inclusionTerm": "",
    "includes": "Includes: ",
    "excludes1": "Excludes: ",
    "excludes2": "Not included here: ",
    "useAdditionalCode": "",
    "codeFirst": "Code first: ",
    "codeAlso": "Code also: ",
    "notes": "",
}


def encyclopedia(files: list[Path]) -> Iterator[str]:
    """Title and opening of Wikipedia articles."""
    for path in files:
        for article in json.loads(path.read_bytes()).values():
            if article["extract"].strip():
                yield f"{article['title']}\n\n{article['extract']}"


def whole_files(files: list[Path]) -> Iterator[str]:
    """Every file a document."""
    for path in files:
        yield path.read_text("utf-8")


def scripture(files: list[Path]) -> Iterator[str]:
    """Chapters, a passage a line, without verse numbers."""
    # immutable: SQLite then neither locks the file nor writes beside it.
    with closing(sqlite3.connect(f"{files[0].resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        rows = database.execute(
            "SELECT TestamentID, BookID, ChapterID, Passage1, Passage2 FROM Bible ORDER BY 1, 2, 3, VerseID"
        ).fetchall()
    chapters: dict[tuple[int, int, int], list[str]] = {}
    for testament, book, chapter, *passages in rows:
        verses = (_VERSE.sub("", passage).strip() for passage in passages)
        chapters.setdefault((testament, book, chapter), []).extend(verse for verse in verses if verse)
    for verses in chapters.values():
        yield "\n".join(verses)


def licences(files: list[Path]) -> Iterator[str]:
    """Licences without paragraphs that stand, nearly the same, in an earlier one.

    Licences copy each other: left as they are, most of this text could be learned by heart. A paragraph is near an
    earlier text when 40% of its six-word shingles have been seen before.
    """
    seen: set[tuple[str, ...]] = set()
    for path in files:
        kept = []
        for paragraph in re.split(r"\n\s*\n", _decoded(path.read_bytes())):
            words = re.findall(r"\w+", paragraph.lower())
            shingles = {tuple(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1))}
            if len(shingles - seen) >= _MIN_NEW * len(shingles):
                kept.append(paragraph.strip("\n"))
            seen |= shingles
        if text := "\n\n".join(kept).strip():
            yield text


def diseases(files: list[Path]) -> Iterator[str]:
    """Categories of ICD-10-CM (A00, A01, ...): codes with their descriptions and notes."""
    for path in files:
        for section in ET.parse(path).getroot().iter("section"):
            for category in section.findall("diag"):
                yield "\n".join(_disease(category))


def fortunes(files: list[Path]) -> Iterator[str]:
    """Entries, parted by lines of a single %."""
    for path in files:
        for entry in re.split(r"(?m)^%[ \t]*$", path.read_text("utf-8")):
            if "$FreeBSD$" not in entry and entry.strip():
                yield entry.strip("\n")


def _disease(diagnosis: ET.Element) -> Iterator[str]:
    yield f"{diagnosis.findtext('name')} {diagnosis.findtext('desc')}"
    for part in diagnosis:
        if part.tag in _NOTES:
            notes = [" ".join((note.text or "").split()) for note in part.findall("note")]
            yield f"  {_NOTES[part.tag]}{'; '.join(notes)}"
        elif part.tag == "diag":
            yield from _disease(part)


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("mac_roman")  # two licences are: their section signs and French accents come out right
