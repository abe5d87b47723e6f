"""Documents: the same answer on the terminal, on a page and as Markdown, whatever is in its text."""

import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from mixopt.report import html, markdown, terminal
from mixopt.report.document import (
    Bar,
    Bars,
    Code,
    Column,
    Document,
    Figure,
    Folded,
    Listing,
    Paragraph,
    Section,
    Table,
    Warning,
)
from tests.factories.pages import Page

NASTY = "</script><b>&\"'[bold]$title`|*_"


def document(text="plain"):
    table = Table(f"Shares {text}", [Column("Domain", numeric=False), Column("Share", strong=True)],
                  [(f"web {text}", "60%"), ("code", "40%")], marked=1, note=f"Of tokens. {text}")  # fmt: skip
    plots = [{"data": [{"x": [1.0, float("nan")], "name": text}], "layout": {}}, {"data": [], "layout": {}}]
    bars = Bars([Bar(f"d{n}", 0.5 / n, "50%", second=0.2, mark=0.3, aside=text) for n in range(1, 40)], f"Bars {text}",
                key=("recommended", "natural", "uniform"))  # fmt: skip
    figure = Figure("curve", f"A curve {text}", plots, choices=("one", f"two {text}"))
    return Document(
        title=f"Title {text}",
        headline=f"Train on web {text}.",
        summary=[f"How sure {text}."],
        scope=f"At proxy scale {text}.",
        warnings=[Warning("outside-hull", f"Outside {text}.")],
        sections=[
            Section("mixture", f"Mixture {text}", [Paragraph(f"Said {text}", "note"), table], "Mixture", brief=True),
            Section("more", f"More {text}", [bars, figure, Listing([f"item {text}"]), Code(f"run {text}"),
                    Folded(f"Rest {text}", [Paragraph(f"folded {text}")])], f"More {text}"),
        ],
    )  # fmt: skip


def on_terminal(document):
    out = io.StringIO()
    terminal.show(Console(file=out, width=110), document)
    return out.getvalue()


def test_a_page_holds_every_part_and_closes_every_element():
    page = Page(html.render(document()))
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) == {"#mixture", "#more"} and {"mixture", "more", "figure-curve"} <= set(page.ids)
    for words in ("Title plain", "Train on web plain.", "How sure plain.", "At proxy scale plain.", "Outside plain.",
                  "Shares plain", "60%", "Of tokens.", "Bars plain", "A curve plain", "item plain", "run plain",
                  "folded plain", "9 more"):  # fmt: skip
        assert words in page.text, words


def test_a_page_says_which_program_made_it_and_each_warning_its_code():
    page = html.render(document())
    assert '<meta name="generator" content="mixopt">' in page and 'data-code="outside-hull"' in page


def test_a_page_without_figures_carries_no_plotly():
    assert len(html.render(Document("t", "h"))) < 20_000 < len(html.render(document()))


def test_the_terminal_shows_brief_sections_and_warnings_and_leaves_the_rest_to_the_page():
    shown = on_terminal(document())
    assert "Train on web plain." in shown and "60%" in shown and "! Outside plain." in shown
    assert "Bars" not in shown and "item plain" not in shown


def test_markdown_holds_every_table_and_sentence():
    text = markdown.render(document())
    assert text.startswith("# Title plain\n\n**Train on web plain.**")
    assert "| **code** | **40%** |" in text and "- Outside plain." in text and "d39: 50% plain" in text


def test_nothing_in_a_text_can_break_a_page():
    page = html.render(document(NASTY))
    assert "<b>&" not in page.split("<script>")[0] and Page(page).text.count("[bold]$title") > 10
    figures = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)
    assert figures
    drawn = json.loads(figures[1])["curve"]
    assert drawn[0]["data"][0]["name"] == NASTY and drawn[0]["data"][0]["x"] == [1.0, None]


@settings(max_examples=30)  # a page each
@given(st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), max_size=30))
def test_any_text_is_shown_as_it_is(text):
    plain = " ".join(text.split())
    shown = Page(html.render(Document("t", text, warnings=[Warning("a", text)])))
    assert plain in shown.text
    on_terminal(Document("t", text))


@pytest.mark.parametrize("text", ["<b>", "[link](x)", "a|b", "`code`", "~~~", "&amp;", "# h"])
def test_markdown_takes_no_text_for_markup(text):
    assert not re.search(r"(?<!\\)" + re.escape(text), markdown.render(Document("t", text)))


def test_the_table_of_corpora_says_how_much_of_a_text_the_tokenizer_does_not_know():
    from mixopt.report.sections import corpora

    texts = {"he": {"unknown": 0.34, "problems": {"joined": 3}}, "en": {"unknown": 0.0}, "old": {}}
    (table, *_) = corpora({"texts": texts}).blocks
    assert isinstance(table, Table)
    assert [row[-2] for row in table.rows] == [
        "3 joined from lists of strings or messages, 34% of its characters unknown to the tokenizer", "none", "none"
    ]  # fmt: skip
