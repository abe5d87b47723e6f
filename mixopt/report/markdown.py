"""Documents as Markdown, for pull requests and notes."""

import re
from collections.abc import Sequence

from mixopt.report.document import Bars, Block, Code, Document, Figure, Folded, Listing, Paragraph, Table


def render(document: Document) -> str:
    """The whole document but its figures, of which the captions stay."""
    parts = [f"# {escape(document.title)}", f"**{escape(document.headline)}**"]
    parts += [escape(sentence) for sentence in (*document.summary, document.scope) if sentence]
    if document.warnings:
        parts += ["## Limitations", _list([warning.text for warning in document.warnings])]
    for section in document.sections:
        parts += [f"## {escape(section.title)}", *_blocks(section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Text that Markdown and the HTML in it read as it is."""
    return re.sub(r"([\\`*_\[\]<>|#&~$])", r"\\\1", " ".join(text.split()))


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {escape(item)}" for item in items)


def _blocks(blocks: Sequence[Block]) -> list[str]:
    return [part for block in blocks for part in _block(block)]


def _block(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        return [f"**{escape(block.text)}**" if block.role == "strong" else escape(block.text)]
    if isinstance(block, Listing):
        return [_list(block.items)]
    if isinstance(block, Code):
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", block.text)), default=0))
        return [f"{fence}\n{block.text}\n{fence}"]
    if isinstance(block, Table):
        return [escape(block.title), _table(block), escape(block.note)]
    if isinstance(block, Bars):
        return [escape(block.caption), _list([f"{bar.name}: {bar.label} {bar.aside}" for bar in block.bars])]
    if isinstance(block, Figure):
        return [f"*Figure, in the HTML report: {escape(block.caption)}*"]
    assert isinstance(block, Folded)
    return [escape(block.summary), *_blocks(block.blocks)]


def _table(block: Table) -> str:
    head = [escape(column.name) for column in block.columns]
    rule = ["---:" if column.numeric else "---" for column in block.columns]
    rows = [[escape(cell) for cell in row] for row in block.rows]
    if block.marked is not None:
        rows[block.marked] = [f"**{cell}**" if cell else "" for cell in rows[block.marked]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
