"""HTML from Python values, escaped unless it was made here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple

from mixopt.report.document import Bars, Document
from mixopt.serialization import nan_to_null

VOID = frozenset({"br", "circle", "line", "polyline", "rect"})


class Safe(str):
    """HTML that is already escaped. Joining it with a plain str gives a plain str, which is escaped again."""


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Safe:
    """One element: children are escaped unless Safe; `aria_label` becomes aria-label, None is left out."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Safe(f"<{name}{pairs}/>")
    return Safe(f"<{name}{pairs}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Safe:
    """The parts one after another, each escaped unless Safe."""
    return Safe(escape(between).join(part if isinstance(part, Safe) else escape(part) for part in parts))


def paragraph(*children: str, class_: str | None = None) -> Safe:
    return tag("p", *children, class_=class_)


def section(key: str, title: str, *children: str) -> Safe:
    """A section with its heading; `key` is its anchor."""
    return tag("section", tag("h2", title, id=f"{key}-title"), *children, id=key, aria_labelledby=f"{key}-title")


def details(summary: str, *children: str) -> Safe:
    """A part that is folded on screen; the page's script unfolds it for printing."""
    return tag("details", tag("summary", summary), *children)


class Column(NamedTuple):
    name: str
    numeric: bool = True
    wide: bool = False  # sentences: keep it from being squeezed


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, marked: int | None = None) -> Safe:
    """A table in a box of its own that scrolls sideways where the page is narrow.

    The first cell of a row is its heading. `marked` is the row to set off.
    """

    def cell(position: int, text: str) -> Safe:
        column = columns[position]
        class_ = "number" if column.numeric else "wide" if column.wide else None
        if position == 0:
            return tag("th", text, scope="row", class_=class_)
        return tag("td", text, class_=class_)

    head = tag("tr", *(tag("th", c.name, scope="col", class_="number" if c.numeric else None) for c in columns))
    body = (
        tag("tr", *(cell(i, text) for i, text in enumerate(row)), class_="marked" if n == marked else None)
        for n, row in enumerate(rows)
    )
    inner = tag("table", tag("caption", tag("span", caption)), tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def chart(key: str, caption: str, *, label: str = "Show", choices: Sequence[str] = ()) -> Safe:
    """The place where the page's script draws figure `key`, with a list of choices when there are several."""
    options = (tag("option", choice, value=str(n)) for n, choice in enumerate(choices))
    chooser = tag(
        "p",
        tag("label", label + " ", tag("select", *options, data_for=key)),
        class_="chooser",
        hidden="hidden",
    )
    place = tag(
        "div",
        paragraph("This figure needs JavaScript. The tables and bars of this page do not.", class_="needs-script"),
        id=f"figure-{key}",
        class_="chart",
        role="img",
        aria_label=caption,
    )
    return tag("figure", chooser if len(choices) > 1 else Safe(""), place, tag("figcaption", caption))


# The page put together: sections, styles, figures and Plotly itself in one file that needs no network.


def page(title: str, body: Safe, figures: Mapping[str, Any]) -> str:
    """A whole page: its style, its body, and its figures by name with all that draws them."""
    return Template(_text("page.html")).substitute(
        title=tag("title", title),
        style=_text("page.css"),
        body=body,
        figures=script_json(figures),
        plotly=_plotly() if figures else "",
        script=_text("page.js"),
    )


# Documents as pages: the template does the work, everything in it is escaped but what is marked as safe here.


def render(document: Document) -> str:
    """One self-contained page that needs no network; equal documents give equal pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mixopt", "report"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"width": _width, "top": _top, "kind": lambda block: type(block).__name__}
    figures = document.figures()
    return environment.get_template("document.html").render(
        document=document,
        style=Markup(_text("page.css")),
        figures=Markup(script_json(figures)),
        plotly=Markup(_plotly() if figures else ""),
        script=Markup(_text("page.js")),
    )


def _width(value: float, top: float) -> str:
    return f"{100 * min(max(value / top, 0.0), 1.0):.2f}%"


def _top(block: Bars) -> float:
    """What fills the width: the largest of all bars and marks."""
    values = [value for bar in block.bars for value in (bar.value, bar.second, bar.mark) if value is not None]
    return max(values, default=0.0) or 1.0


def script_json(value: Any) -> str:
    """JSON that can't end the script element it stands in; what is not finite becomes null."""
    text = json.dumps(nan_to_null(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(name: str) -> str:
    return files("mixopt.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    # imported late: plotly takes a while and the rest of a study doesn't need it
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
