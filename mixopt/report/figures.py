"""Parts that all Plotly figures share: colours, traces, axes, layout and names on axes."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from mixopt.serialization import Json

# Okabe and Ito's colours, told apart with any colour vision
RECOMMENDED = "#0072b2"
NATURAL = "#8a8f98"
MEASURED = "#d55e00"
OTHERS = ("#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#999999")


LONGEST = 22  # characters of a name on an axis; the whole name is in the tables and under the pointer


def label(name: str, longest: int | None = LONGEST) -> str:
    """A name as Plotly text, which reads some HTML; a long one loses its middle."""
    if longest is not None and len(name) > longest:
        name = name[: longest // 2] + "…" + name[len(name) - longest // 2 + 1 :]
    return escape(name)


def layout(*, height: int, **more: Any) -> Json:
    base = {
        "height": height,
        "margin": {"l": 60, "r": 16, "t": 12, "b": 52},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1f2328"},
        "dragmode": False,
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    return base | more


def axis(title: str, **more: Any) -> Json:
    base = {
        "title": {"text": title, "font": {"size": 13}},
        "gridcolor": "#e6e9ed",
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
    }
    return base | more


def ticks(values: Sequence[float], text: Callable[[float], str]) -> Json:
    """An axis's ticks, for `axis`."""
    return {"tickvals": list(values), "ticktext": [text(value) for value in values]}


def scatter(x: Sequence[Any], y: Sequence[Any], *, mode: str = "lines", hover: str | None = None, **more: Any) -> Json:
    """A trace of lines or markers. hover: Plotly's template of what the pointer shows; None: nothing."""
    pointer = {"hoverinfo": "skip"} if hover is None else {"hovertemplate": hover}
    return {"type": "scatter", "mode": mode, "x": list(x), "y": list(y)} | pointer | more
