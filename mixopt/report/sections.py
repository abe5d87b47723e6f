"""Sections that the pages of all kinds of studies share: the corpora, and how to reproduce the study."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mixopt.formatting import UNKNOWN, bytes_text, count_text, known, listed, percent
from mixopt.report.document import Block, Code, Column, Listing, Paragraph, Section, Table
from proxies.corpora import PROBLEMS as READING_PROBLEMS

if TYPE_CHECKING:
    import pandas


LISTED = 60  # overlaps that are listed
PROBLEMS = READING_PROBLEMS | {
    "cut_files": "files read from their start only",
    "left_out": "left out by max_bytes",
    "joined": "joined from lists of strings or messages",
    "duplicates": "repeating an earlier one",
}


def corpora(prepared: Mapping[str, Any] | None) -> Section:
    """What text there is, and what was wrong with it. prepared: the content of shards/corpora.json, if there is one."""
    if not prepared:
        text = "This study was given finished runs, so nothing is known about the text they were trained on."
        return Section("corpora", "Corpora", [Paragraph(text)], "Corpora")
    names = ("Documents", "Training tokens", "Validation tokens", "Bytes")
    columns = [Column("Domain", numeric=False), *map(Column, names)]
    columns += [Column("Problems", numeric=False, wide=True), Column("Source", numeric=False)]
    rows = [
        (
            name,
            f"{row['documents']:,.0f}" if known(row.get("documents")) else UNKNOWN,
            count_text(row.get("train_tokens")),
            count_text(row.get("val_tokens")),
            bytes_text(row.get("bytes")),
            _problems(row),
            str(row.get("source") or UNKNOWN),
        )
        for name, row in prepared["texts"].items()
    ]
    caption = "Text by domain; problems count documents unless they say files"
    overlaps = prepared.get("duplicates")
    shared = [_shared(pair) for pair in overlaps] if isinstance(overlaps, list) else []
    blocks: list[Block] = [Table(caption, columns, rows)]
    if shared:
        blocks += [Paragraph("Documents that stand word for word in two domains:"), Listing(shared[:LISTED])]
    else:
        blocks.append(Paragraph("No two domains share a document."))
    return Section("corpora", "Corpora", blocks, "Corpora")


def reproduce(
    *,
    command: str,
    versions: Mapping[str, Any],
    seed: int | None = None,
    proxy: str = "",
    study: str | None = None,
    files: Sequence[str] = (),
    answer: str = "",
) -> Section:
    """The command, the versions and the inputs that give the same answer again.

    proxy: the size of the proxies in words. study: the study file's text, for a command on one. files: hashes of the
    tables that were read, a line each. answer: recommendation.json's stamp, which exports and checks name too.
    """
    made_with = listed([f"{name} {version}" for name, version in versions.items() if version])
    text = f"Made with {made_with or 'an unnamed version'}"
    text += (f", seed {seed}" if seed is not None else "") + (f", proxies of {proxy}" if proxy else "")
    text += f"; the answer's stamp is {answer[:12]}." if answer else "."
    blocks: list[Block] = [Paragraph(text), Code(command)]
    if study is not None:
        blocks += [Paragraph("study.yaml:"), Code(study or "(the study file's text is not at hand)")]
    if files:
        blocks.append(Listing(files))
    return Section("reproduce", "Reproduce", blocks, "Reproduce")


def _problems(row: Mapping[str, Any]) -> str:
    """What reading a domain met: '12 empty, 3 repeating an earlier one'."""
    counts = {**(row.get("problems") or {}), "duplicates": row.get("duplicates")}
    met = [f"{counts[key]:,.0f} {words}" for key, words in PROBLEMS.items() if known(counts.get(key)) and counts[key]]
    if row.get("unknown"):
        met.append(f"{percent(row['unknown'])} of its characters unknown to the tokenizer")
    return ", ".join(met) or "none"


def _shared(pair: Any) -> str:
    """One overlap of two domains in words."""
    if not isinstance(pair, Mapping):
        return str(pair)
    text = f"{pair.get('first')} and {pair.get('second')}: {pair.get('texts', 'some')} documents"
    parts = [
        f"{percent(pair[key])} of {pair.get(domain)}"
        for key, domain in (("first_share", "first"), ("second_share", "second"))
        if known(pair.get(key))
    ]
    return f"{text} ({listed(parts)})" if parts else text


def rows_of(frame: "pandas.DataFrame") -> list[dict[str, Any]]:
    """The run table as plain rows; missing cells are None."""
    whole = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in whole.to_dict("records")]
