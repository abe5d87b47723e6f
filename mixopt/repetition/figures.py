"""Figures of a repetition study as Plotly traces: return curves, isoloss contours, profiles of R*, held-out runs."""

from collections.abc import Sequence
from math import floor, log10

from mixopt.formatting import count_text, known
from mixopt.repetition.curves import Contour, Curve
from mixopt.repetition.design import REPEAT
from mixopt.repetition.fit import GroupFit
from mixopt.repetition.runs import Frame
from mixopt.repetition.scores import HeldOut
from mixopt.report.figures import MEASURED, OTHERS, RECOMMENDED, axis, label, layout, scatter, ticks
from mixopt.serialization import Json

COLOURS = (MEASURED, RECOMMENDED, *OTHERS)  # fewest unique tokens first: repeating them harms first
INK = "#1f2328"
EPOCH_TICKS = ticks([2**k for k in range(11)], lambda epochs: f"{epochs:g}")
HEIGHT = 440
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # between lines of equal loss, nats/token
MAX_R_STAR = 3000.0  # that is drawn: more is as good as no decay at all
MAX_RISE = 6.0  # of a profile
MAX_LINES, SHOWN = 16, 0.85  # of equal loss: at most so many, up to a loss that this share of the picture lies below


def shade(colour: str, opacity: float) -> str:
    """A colour as it shines through."""
    r, g, b = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({r},{g},{b},{opacity:g})"


def return_curves(group: GroupFit, runs: Frame, params: float, top: float) -> Json:
    """Loss against epochs of one size and weight decay, measured and fitted: a colour a number of unique tokens.

    runs: of this weight decay. Beyond a curve's longest run its line is dotted. top: epochs at which the axis ends.
    """
    traces: list[Json] = []
    curves = [curve for curve in group.curves if curve.params == params]
    for n, curve in enumerate(sorted(curves, key=lambda c: c.unique)):
        colour = COLOURS[n % len(COLOURS)]
        name = f"{count_text(curve.unique)} unique"
        trained = runs[(runs["params"] == params) & (runs["unique"] == curve.unique)]
        traces += [band(curve, colour, top), *lines(curve, colour, name, top), dots(trained, colour, name)]
    across = axis("epochs", type="log", range=[-0.03, log10(top) + 0.03], **EPOCH_TICKS)
    return {"data": traces, "layout": layout(height=HEIGHT, xaxis=across, yaxis=axis("nats/token"))}


def points_between(curve: Curve, low: float, high: float) -> list[int]:
    """Places of a curve's points between two numbers of epochs, with the one before the first."""
    inside = [k for k, e in enumerate(curve.epochs) if low * 0.999 <= e <= high * 1.001]
    return [inside[0] - 1, *inside] if inside and low > 1 and inside[0] else inside


def band(curve: Curve, colour: str, top: float) -> Json:
    """The interval around the fitted line."""
    there = points_between(curve, 1.0, top)
    back = there[::-1]
    return scatter(
        [curve.epochs[k] for k in there + back],
        [*(curve.high[k] for k in there), *(curve.low[k] for k in back)],
        fill="toself",
        fillcolor=shade(colour, 0.14),
        line={"width": 0},
        showlegend=False,
    )


def lines(curve: Curve, colour: str, name: str, top: float) -> list[Json]:
    """The fitted line as far as runs were trained, and dotted beyond."""
    parts = (("solid", points_between(curve, 1.0, curve.longest)), ("dot", points_between(curve, curve.longest, top)))
    return [
        scatter(
            [curve.epochs[k] for k in there],
            [curve.loss[k] for k in there],
            hover=f"{label(name)}, fitted: %{{y:.3f}} after %{{x:.3g}} epochs<extra></extra>",
            line={"color": colour, "width": 2.5, "dash": dash},
            showlegend=False,
        )
        for dash, there in parts
        if len(there) > 1
    ]


def dots(runs: Frame, colour: str, name: str) -> Json:
    """Measured losses; repeats are open."""
    repeated = (runs["role"] == REPEAT).tolist()
    fill = ["#ffffff" if again else colour for again in repeated]
    return scatter(
        runs["epochs"],
        runs["target"],
        mode="markers",
        hover="%{text}: %{y:.3f} after %{x:.3g} epochs<extra></extra>",
        name=label(name, None),
        text=[f"{i}{', repeat' if again else ''}" for i, again in zip(runs["run_id"], repeated, strict=True)],
        marker={"color": fill, "size": 9, "line": {"color": colour, "width": 1.5}},
    )


def isoloss(grid: Contour, runs: Frame) -> Json:
    """Lines of equal fitted loss over epochs and parameters at one number of unique tokens, with the trained runs.

    runs: of this weight decay.
    """
    losses = [value for row in grid.loss for value in row]
    least, most = min(losses), sorted(losses)[int(SHOWN * (len(losses) - 1))]
    step = next((size for size in STEPS if (most - least) / size <= MAX_LINES), STEPS[-1])
    start, end = (floor(least / step) + 1) * step, (floor(most / step) + 1) * step
    lines = {
        "type": "contour",
        "x": grid.epochs,
        "y": grid.params,
        "z": grid.loss,
        "contours": {
            "start": start,
            "end": end,
            "size": step,
            "showlabels": True,
            "labelformat": ".2f",
            "labelfont": {"size": 11, "color": INK},
        },
        "colorscale": [[0, "#6fa8d6"], [0.5, "#c3daee"], [1, "#f7fafd"]],
        "zmin": least,
        "zmax": end,
        "showscale": False,
        "line": {"width": 1},
        "hovertemplate": "%{y:.3s} parameters, %{x:.3g} epochs: %{z:.3f}<extra></extra>",
    }
    inside = [(best, size) for best, size in zip(grid.best, grid.params, strict=True) if known(best)]
    ridge = scatter(
        [best for best, _ in inside],
        [size for _, size in inside],
        hover="best for %{y:.3s} parameters: %{x:.3g} epochs<extra></extra>",
        line={"color": INK, "width": 2, "dash": "dash"},
    )
    here = runs[runs["unique"] == grid.unique]
    trained = scatter(
        here["epochs"],
        here["params"],
        mode="markers",
        hover="%{text}<extra></extra>",
        text=[f"measured {loss:.3f}" for loss in here["target"]],
        marker={"color": "#ffffff", "size": 8, "line": {"color": MEASURED, "width": 2}},
    )
    sizes = ticks(sorted(set(runs["params"].tolist())), count_text)
    across = axis("epochs", type="log", showgrid=False, **EPOCH_TICKS)
    up = axis("parameters", type="log", showgrid=False, range=[log10(grid.params[0]), log10(grid.params[-1])], **sizes)
    return {
        "data": [lines, ridge, trained],
        "layout": layout(height=HEIGHT, showlegend=False, xaxis=across, yaxis=up),
    }


def r_star_profiles(groups: Sequence[GroupFit], critical: float) -> Json | None:
    """How much worse the fit gets as R* is moved, for every weight decay's heaviest form that has an R*."""
    traces: list[Json] = []
    for n, group in enumerate(groups):
        if not group.r_star:
            continue
        star = group.r_star[0]
        pairs = zip(star.profile.value, star.profile.rise, strict=True)
        drawn = [(value, rise) for value, rise in pairs if 0 < value <= MAX_R_STAR and rise <= MAX_RISE]
        name = label(f"weight decay {group.weight_decay:g}, {star.form}", None)
        traces.append(
            scatter(
                [value for value, _ in drawn],
                [rise for _, rise in drawn],
                hover=f"R* = %{{x:.3g}}: %{{y:.2f}}<extra>{name}</extra>",
                name=name,
                line={"color": COLOURS[(n + 1) % len(COLOURS)], "width": 2.5},
            )
        )
    values = [value for trace in traces for value in trace["x"]]
    if not values:
        return None
    amounts = ticks([m * 10.0**k for k in range(-2, 6) for m in (1, 3)], lambda v: f"{v:g}")
    across = axis("R*, repeats", type="log", range=[log10(min(values)), log10(max(values))], **amounts)
    up = axis("rise of the objective", range=[-0.2, MAX_RISE])
    dashed = {"color": "#8a8f98", "width": 1, "dash": "dash"}
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": critical, "y1": critical, "line": dashed}
    return {"data": traces, "layout": layout(height=360, shapes=[line], xaxis=across, yaxis=up)}


def held_out(kept: HeldOut, form: str) -> Json:
    """Measured loss of runs over the loss that a form predicted without them."""
    triples = zip(kept.predicted[form], kept.measured, kept.run_id, strict=True)
    points = [(p, m, i) for p, m, i in triples if known(p)]
    values = [value for p, m, _ in points for value in (p, m)] or [0.0, 1.0]
    ends = [min(values), max(values)]
    exact = scatter(ends, ends, line={"color": "#57606a", "width": 1, "dash": "dash"})
    dots = scatter(
        [p for p, _, _ in points],
        [m for _, m, _ in points],
        mode="markers",
        hover="%{text}<br>predicted %{x:.3f}<br>measured %{y:.3f}<extra></extra>",
        text=[i for _, _, i in points],
        marker={"color": RECOMMENDED, "size": 9, "opacity": 0.85},
    )
    across, up = axis("predicted, held out (nats/token)"), axis("measured (nats/token)")
    return {"data": [exact, dots], "layout": layout(height=420, showlegend=False, xaxis=across, yaxis=up)}
