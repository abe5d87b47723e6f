"""Documents on the terminal, drawn by Rich."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from mixopt.report.document import Block, Code, Document, Listing, Paragraph, Table


def show(console: Console, document: Document) -> None:
    """The answer, how sure it is, the sections that the terminal shows, and what limits all of it."""
    console.print()
    console.print(escape(document.headline), highlight=False, style="bold")
    for sentence in document.summary:
        console.print(escape(sentence), highlight=False)
    for section in document.sections:
        if section.brief:
            _show_blocks(console, section.blocks)
    if document.warnings:
        console.print()
    for warning in document.warnings:
        console.print(f"[yellow]![/] {escape(warning.text)}", highlight=False)


def _show_blocks(console: Console, blocks: Sequence[Block]) -> None:
    """Tables and sentences; figures, and what a page folds away, are for pages."""
    for block in blocks:
        if isinstance(block, Table):
            console.print()
            console.print(drawn_table(block))
            if block.note:
                console.print(escape(block.note), highlight=False, style="dim")
        elif isinstance(block, Paragraph):
            style = {"strong": "bold", "note": "dim"}.get(block.role)
            console.print(escape(block.text), highlight=False, style=style)
        elif isinstance(block, Listing):
            for item in block.items:
                console.print(f"- {escape(item)}", highlight=False)
        elif isinstance(block, Code):
            console.print(escape(block.text), highlight=False, soft_wrap=True)


def drawn_table(block: Table) -> RichTable:
    """Wide enough for its title where the terminal is; long names are folded rather than cut."""
    table = RichTable(title=escape(block.title), title_justify="left", min_width=min(len(block.title), 76))
    for column in block.columns:
        table.add_column(escape(column.name), justify="right" if column.numeric else "left", overflow="fold")
    for n, row in enumerate(block.rows):
        table.add_row(*map(escape, row), style="bold" if n == block.marked else None)
    return table
