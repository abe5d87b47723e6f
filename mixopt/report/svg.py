"""Small drawings that need no script: bars and curves as inline SVG."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from mixopt.report.figures import MEASURED as MEASURED
from mixopt.report.figures import NATURAL, RECOMMENDED
from mixopt.report.html import Safe, tag

UNIFORM = "#1f2328"


def _percent(value: float) -> str:
    return f"{100 * min(max(value, 0.0), 1.0):.2f}%"


def compared_bars(recommended: float, natural: float | None, uniform: float | None, *, top: float) -> Safe:
    """Recommended share as a thick bar, natural as a thin one, uniform as an upright line; `top` fills the width."""
    parts = [tag("rect", x="0", y="2", width=_percent(recommended / top), height="12", fill=RECOMMENDED)]
    if natural is not None:
        parts.append(tag("rect", x="0", y="15", width=_percent(natural / top), height="6", fill=NATURAL))
    if uniform is not None:
        at = _percent(uniform / top)
        parts.append(
            tag("line", x1=at, x2=at, y1="0", y2="23", stroke=UNIFORM, stroke_width="1.5", stroke_dasharray="3 2")
        )
    return tag("svg", *parts, class_="bars", width="100%", height="23", aria_hidden="true")


def bar(value: float, *, top: float, colour: str = RECOMMENDED, line: float | None = None) -> Safe:
    """One bar; `line` is a value to mark across it."""
    parts = [tag("rect", x="0", y="3", width=_percent(value / top), height="12", fill=colour)]
    if line is not None and line <= top:
        at = _percent(line / top)
        parts.append(
            tag("line", x1=at, x2=at, y1="0", y2="18", stroke=UNIFORM, stroke_width="1.5", stroke_dasharray="3 2")
        )
    return tag("svg", *parts, class_="bars", width="100%", height="18", aria_hidden="true")


class Window(NamedTuple):
    """The vertical range that all curves share, nats/token."""

    low: float
    high: float


WIDTH, HEIGHT, EDGE = 160.0, 84.0, 4.0


def curve(x: Sequence[float], y: Sequence[float], window: Window, *, here: float | None, natural: float | None) -> Safe:
    """Loss over one domain's share: the recommended share is a dot, the natural one an upright dashed line.

    What lies above the window is cut off.
    """
    left, right = min(x), max(x)
    wide = right - left or 1.0
    tall = window.high - window.low or 1.0

    def across(value: float) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * (value - left) / wide

    def down(value: float) -> float:
        return EDGE + (HEIGHT - 2 * EDGE) * (window.high - value) / tall

    parts = [tag("rect", x="0.5", y="0.5", width=WIDTH - 1, height=HEIGHT - 1, fill="#fff", stroke="#d0d7de")]
    if natural is not None and left <= natural <= right:
        at = f"{across(natural):.1f}"
        parts.append(tag("line", x1=at, x2=at, y1="1", y2=HEIGHT - 1, stroke=NATURAL, stroke_dasharray="3 2"))
    points = " ".join(f"{across(a):.1f},{down(b):.1f}" for a, b in zip(x, y, strict=True))
    parts.append(tag("polyline", points=points, fill="none", stroke=RECOMMENDED, stroke_width="2"))
    if here is not None and left <= here <= right:
        parts.append(
            tag("circle", cx=f"{across(here):.1f}", cy=f"{down(between(x, y, here)):.1f}", r="4", fill=MEASURED)
        )
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", class_="curve", aria_hidden="true")


def between(x: Sequence[float], y: Sequence[float], at: float) -> float:
    """y at `at`, straight between the known points; the end's value beyond them."""
    pairs = sorted(zip(x, y, strict=True))
    for (a, low), (b, high) in pairwise(pairs):
        if a <= at <= b:
            return low if a == b else low + (high - low) * (at - a) / (b - a)
    return pairs[0][1] if at < pairs[0][0] else pairs[-1][1]


def strip(groups: Sequence[tuple[str, Sequence[float]]], *, low: float, high: float, marked: str) -> Safe:
    """One line of dots a group, on a common scale from `low` to `high`; the group named `marked` is coloured."""
    wide = high - low or 1.0
    parts: list[Safe] = []
    for row, (name, values) in enumerate(groups):
        y = 12 + 22 * row
        parts.append(tag("line", x1="0", x2="100%", y1=y, y2=y, stroke="#d0d7de"))
        colour = MEASURED if name == marked else NATURAL
        for value in values:
            parts.append(
                tag(
                    "circle",
                    cx=_percent(0.02 + 0.96 * (value - low) / wide),
                    cy=y,
                    r="5",
                    fill=colour,
                    fill_opacity="0.75",
                )
            )
    return tag("svg", *parts, class_="bars", width="100%", height=24 + 22 * (len(groups) - 1), aria_hidden="true")
