"""Documents as pages: one self-contained file each, escaped by Jinja2 but for what is marked as safe here."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from mixopt.report.document import Bars, Document
from mixopt.serialization import nan_to_null


def is_page(path: Path) -> bool:
    """Whether a file begins as `render` begins one."""
    with path.open("rb") as file:
        return b'<meta name="generator" content="mixopt">' in file.read(1000)


def render(document: Document) -> str:
    """One self-contained page that needs no network; equal documents give equal pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mixopt", "report"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"width": _width, "top": _top, "kind": lambda block: type(block).__name__}
    figures = document.figures()
    return environment.get_template("page.html").render(
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
