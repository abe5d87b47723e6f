"""The figures of a study of repetition, as Plotly's JSON."""

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any

from mixopt.formatting import amount, known
from mixopt.plan.figures import ticks
from mixopt.report.figures import OTHERS, axis, label, layout
from mixopt.report.svg import MEASURED, RECOMMENDED

COLOURS = (MEASURED, RECOMMENDED, *OTHERS)  # scarcest text first: it is the one that is harmed
EPOCHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
HEIGHT = 440
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # between lines of equal loss, nats/token
FARTHEST = 3000.0  # R* drawn: more is as good as no decay at all
LINES, SHOWN = 16, 0.85  # at most so many, up to a loss that this share of the picture lies below


def shade(colour: str, opacity: float) -> str:
    """A colour as it shines through."""
    r, g, b = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({r},{g},{b},{opacity:g})"


def return_curves(
    arm: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], params: float, top: float
) -> dict[str, Any]:
    """Loss against epochs of one size and weight decay: a colour an amount of text, points measured, lines fitted.

    Beyond a curve's longest cell its line is dotted. top: epochs at which the axis ends.
    """
    traces: list[dict[str, Any]] = []
    curves = [curve for curve in arm["curves"] if curve["params"] == params]
    for n, curve in enumerate(sorted(curves, key=lambda c: c["unique"])):
        colour = COLOURS[n % len(COLOURS)]
        name = f"{amount(curve['unique'])} unique"
        mine = [c for c in cells if c["params"] == params and c["unique"] == curve["unique"]]
        traces += [band(curve, colour, top), *lines(curve, colour, name, top), dots(mine, colour, name)]
    return {
        "data": traces,
        "layout": layout(
            height=HEIGHT,
            xaxis=axis("epochs", type="log", range=[-0.03, log10(top) + 0.03], **ticks(EPOCHS, lambda e: f"{e:g}")),
            yaxis=axis("nats/token"),
        ),
    }


def upto(curve: Mapping[str, Any], low: float, high: float) -> list[int]:
    """Places of a curve's points between two numbers of epochs, with the one before the first."""
    inside = [k for k, e in enumerate(curve["epochs"]) if low * 0.999 <= e <= high * 1.001]
    return [inside[0] - 1, *inside] if inside and low > 1 and inside[0] else inside


def band(curve: Mapping[str, Any], colour: str, top: float) -> dict[str, Any]:
    there = upto(curve, 1.0, top)
    x = [curve["epochs"][k] for k in there]
    high, low = [curve["high"][k] for k in there], [curve["low"][k] for k in there]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, *x[::-1]],
        "y": [*high, *low[::-1]],
        "fill": "toself",
        "fillcolor": shade(colour, 0.14),
        "line": {"width": 0},
        "showlegend": False,
        "hoverinfo": "skip",
    }


def lines(curve: Mapping[str, Any], colour: str, name: str, top: float) -> list[dict[str, Any]]:
    """The fitted line as far as cells were trained, and dotted beyond."""
    parts = (("solid", upto(curve, 1.0, curve["longest"])), ("dot", upto(curve, curve["longest"], top)))
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [curve["epochs"][k] for k in there],
            "y": [curve["loss"][k] for k in there],
            "line": {"color": colour, "width": 2.5, "dash": dash},
            "showlegend": False,
            "hovertemplate": f"{label(name)}, fitted: %{{y:.3f}} after %{{x:.3g}} epochs<extra></extra>",
        }
        for dash, there in parts
        if len(there) > 1
    ]


def dots(cells: Sequence[Mapping[str, Any]], colour: str, name: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(name, None),
        "x": [c["epochs"] for c in cells],
        "y": [c["target"] for c in cells],
        "text": [f"{c['run_id']}{', repeat' if c['role'] == 'repeat' else ''}" for c in cells],
        "marker": {
            "color": ["#ffffff" if c["role"] == "repeat" else colour for c in cells],
            "size": 9,
            "line": {"color": colour, "width": 1.5},
        },
        "hovertemplate": "%{text}: %{y:.3f} after %{x:.3g} epochs<extra></extra>",
    }


def isoloss(grid: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lines of equal fitted loss over epochs and parameters for one amount of unique text, with the trained cells."""
    losses = [value for row in grid["loss"] for value in row]
    least, most = min(losses), sorted(losses)[int(SHOWN * (len(losses) - 1))]
    step = next((size for size in STEPS if (most - least) / size <= LINES), STEPS[-1])
    start, end = (floor(least / step) + 1) * step, (floor(most / step) + 1) * step
    lines = {
        "type": "contour",
        "x": grid["epochs"],
        "y": grid["params"],
        "z": grid["loss"],
        "contours": {
            "start": start,
            "end": end,
            "size": step,
            "showlabels": True,
            "labelformat": ".2f",
            "labelfont": {"size": 11, "color": "#1f2328"},
        },
        "colorscale": [[0, "#6fa8d6"], [0.5, "#c3daee"], [1, "#f7fafd"]],
        "zmin": least,
        "zmax": end,
        "showscale": False,
        "line": {"width": 1},
        "hovertemplate": "%{y:.3s} parameters, %{x:.3g} epochs: %{z:.3f}<extra></extra>",
    }
    mine = [c for c in cells if c["unique"] == grid["unique"]]
    trained = {
        "type": "scatter",
        "mode": "markers",
        "x": [c["epochs"] for c in mine],
        "y": [c["params"] for c in mine],
        "text": [f"measured {c['target']:.3f}" for c in mine],
        "marker": {"color": "#ffffff", "size": 8, "line": {"color": MEASURED, "width": 2}},
        "hovertemplate": "%{text}<extra></extra>",
    }
    sizes = grid["params"]
    return {
        "data": [lines, ridge(grid), trained],
        "layout": layout(
            height=HEIGHT,
            showlegend=False,
            xaxis=axis("epochs", type="log", showgrid=False, **ticks(EPOCHS, lambda e: f"{e:g}")),
            yaxis=axis(
                "parameters",
                type="log",
                showgrid=False,
                range=[log10(sizes[0]), log10(sizes[-1])],
                **ticks(sorted({c["params"] for c in cells}), amount),
            ),
        ),
    }


def ridge(grid: Mapping[str, Any]) -> dict[str, Any]:
    """The best number of epochs of every size, where it lies inside the grid."""
    inside = [(best, size) for best, size in zip(grid["best"], grid["params"], strict=True) if known(best)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, _ in inside],
        "y": [y for _, y in inside],
        "line": {"color": "#1f2328", "width": 2, "dash": "dash"},
        "hovertemplate": "best for %{y:.3s} parameters: %{x:.3g} epochs<extra></extra>",
    }


def r_star_profile(arms: Sequence[Mapping[str, Any]], critical: float, highest: float = 6.0) -> dict[str, Any] | None:
    """How much worse the fit gets as R* is moved, for every weight decay's heaviest form that has an R*."""
    traces: list[dict[str, Any]] = []
    for n, arm in enumerate(arms):
        if not arm["r_star"]:
            continue
        row = arm["r_star"][0]
        pairs = [(v, r) for v, r in zip(row["profile"]["value"], row["profile"]["rise"], strict=True) if known(r)]
        pairs = [(v, r) for v, r in pairs if 0 < v <= FARTHEST and r <= highest]
        name = f"weight decay {arm['weight_decay']:g}, {row['form']}"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": label(name, None),
                "x": [v for v, _ in pairs],
                "y": [r for _, r in pairs],
                "line": {"color": COLOURS[(n + 1) % len(COLOURS)], "width": 2.5},
                "hovertemplate": "R* = %{x:.3g}: %{y:.2f}<extra>" + label(name, None) + "</extra>",
            }
        )
    values = [v for trace in traces for v in trace["x"]]
    if not values:
        return None
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": critical, "y1": critical}
    return {
        "data": traces,
        "layout": layout(
            height=360,
            shapes=[line | {"line": {"color": "#8a8f98", "width": 1, "dash": "dash"}}],
            xaxis=axis("R*, repeats", type="log", range=[log10(min(values)), log10(max(values))],
                       **ticks([m * 10.0**k for k in range(-2, 6) for m in (1, 3)], lambda v: f"{v:g}")),
            yaxis=axis("rise of the misfit", range=[-0.2, highest]),
        ),
    }  # fmt: skip


def held_out(arm: Mapping[str, Any], form: str, sd: float | None) -> dict[str, Any]:
    """Measured loss of cells over the loss predicted without them."""
    kept = arm["held_out"]
    triples = list(zip(kept["predicted"][form], kept["measured"], kept["run_id"], strict=True))
    known_ones = [(p, m, i) for p, m, i in triples if known(p) and known(m)]
    ends = [value for p, m, _ in known_ones for value in (p, m)] or [0.0, 1.0]
    exact = {
        "type": "scatter",
        "mode": "lines",
        "x": [min(ends), max(ends)],
        "y": [min(ends), max(ends)],
        "line": {"color": "#57606a", "width": 1, "dash": "dash"},
        "hoverinfo": "skip",
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": [p for p, _, _ in known_ones],
        "y": [m for _, m, _ in known_ones],
        "text": [i for _, _, i in known_ones],
        "error_y": {"type": "constant", "value": sd, "thickness": 1, "width": 0} if known(sd) else {},
        "marker": {"color": RECOMMENDED, "size": 9, "opacity": 0.85},
        "hovertemplate": "%{text}<br>predicted %{x:.3f}<br>measured %{y:.3f}<extra></extra>",
    }
    return {
        "data": [exact, points],
        "layout": layout(
            height=420,
            showlegend=False,
            xaxis=axis("predicted, held out (nats/token)"),
            yaxis=axis("measured (nats/token)"),
        ),
    }
