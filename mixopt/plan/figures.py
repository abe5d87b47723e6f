"""Plotly figures of the plans: loss against epochs and parameters, marginal value of repeats, profiles of R*."""

from collections.abc import Sequence
from math import log10
from typing import Any

from mixopt.formatting import count_text, epochs_text, flops, known
from mixopt.plan.epochs import EpochsPlan
from mixopt.plan.fit import RStar
from mixopt.plan.scale import LossCurve, ScalePlan
from mixopt.report.figures import OTHERS, RECOMMENDED, axis, label, layout, ticks
from mixopt.serialization import Json

Plot = Json  # or a part of one

BAND = "rgba(0,114,178,0.15)"
COLOURS = (*OTHERS, "#d55e00", "#0b3d5c", "#7a5c00")
HEIGHT = 420
MAX_RISE = 5.0  # of a profile: more is of no interest
EPOCH_TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536)


def loss_at_equal_compute(plan: EpochsPlan) -> list[Plot]:
    """Loss of every form against epochs at equal compute: above its own best, and as predicted."""
    curves, epochs = plan.curves.equal_compute, plan.curves.equal_compute.epochs
    sizes = [f"{count_text(size)} parameters" for size in curves.params]
    figures = []
    for above in (True, False):
        traces = []
        for n, (name, losses) in enumerate(curves.loss.items()):
            least = min(value for value in losses if value is not None)
            base = least if above else 0.0
            values = [None if value is None else value - base for value in losses]
            traces += marked(name, epochs, values, sizes, leads=name == plan.form, n=n)
        title = "nats/token above the form's best" if above else "nats/token"
        figures.append(figure(traces, epochs, title, top=steep(traces) if above else None, at=plan.answer.epochs))
    return figures


def steep(traces: Sequence[Plot]) -> float:
    """Where an axis of losses above the best ends: at what the flattest sides reach, not the steepest."""
    ends = sorted(max(value for value in trace["y"] if value is not None) for trace in traces if len(trace["y"]) > 1)
    return max(ends[0], min(ends[len(ends) // 2], 0.25))


def marked(
    name: str, x: Sequence[float], y: Sequence[float | None], text: Sequence[str], *, leads: bool, n: int
) -> list[Plot]:
    """A line and a ring at its lowest point; nothing where no value is known."""
    if not any(known(value) for value in y):
        return []
    colour = RECOMMENDED if leads else COLOURS[(n - 1) % len(COLOURS)]
    at = min((value, place) for place, value in enumerate(y) if known(value))[1]
    line = drawn(name, x, y, colour, width=3.5 if leads else 1.6, dash="solid" if leads else "dot")
    hover = "%{x:.3g}: %{y:.4f}<br>%{text}<extra>" + label(name, None) + "</extra>"
    line |= {"legendgroup": name, "text": list(text), "hovertemplate": hover}
    marker = {"color": "#ffffff", "size": 10 if leads else 8, "line": {"color": colour, "width": 2.5}}
    ring = point(name, x[at], y[at], marker) | {"legendgroup": name, "showlegend": False, "hoverinfo": "skip"}
    return [line, ring]


def loss_of_same_model(plan: EpochsPlan) -> Plot:
    """Loss of the answer's model against epochs, with its range, beside tokens that are all new."""
    curves, run = plan.curves.same_model, plan.answer
    epochs = curves.epochs
    band = drawn("range", [*epochs, *epochs[::-1]], [*curves.high, *curves.low[::-1]], width=0)
    band |= {"fill": "toself", "fillcolor": BAND, "hoverinfo": "skip"}
    new = drawn("all tokens new", epochs, curves.all_new, "#57606a", width=2, dash="dash")
    line = drawn(plan.form, epochs, curves.loss, width=3.5)
    here = point("the answer", run.epochs, run.loss, {"color": RECOMMENDED, "size": 11})
    here["hovertemplate"] = f"{epochs_text(run.epochs)} epochs: %{{y:.4f}}<extra></extra>"
    return figure([band, new, line, here], epochs, "nats/token", what=f"epochs of a model of {count_text(run.params)}")


def value_of_epochs(plan: EpochsPlan) -> list[Plot]:
    """What a repeated token is worth in new ones against epochs, and what the next epoch takes off the loss."""
    curves, run = plan.curves.same_model, plan.answer
    epochs = curves.epochs
    repeated = [(e, value) for e, value in zip(epochs, curves.repeat_value, strict=True) if e > 1]
    x, values = [e for e, _ in repeated], [value for _, value in repeated]
    taken = [None if change is None else -change for change in curves.change]
    first = figure([drawn("a repeated token", x, values)], x, "new tokens", at=run.epochs)
    second = figure([drawn("the next epoch", epochs, taken)], epochs, "nats/token", at=run.epochs)
    for one in (first, second):
        one["layout"]["showlegend"] = False
    return [first, second]


def curve_over_params(plan: ScalePlan) -> Plot:
    """Against parameters: every form's loss at equal compute, or FLOPs at equal loss."""
    curve, params = plan.curve, plan.curve.params
    if isinstance(curve, LossCurve):
        none = [""] * len(params)
        traces = [
            trace
            for n, (name, losses) in enumerate(curve.loss.items())
            for trace in marked(name, params, losses, none, leads=name == plan.form, n=n)
        ]
        title = "nats/token"
    else:
        seen = [f"{count_text(tokens)} tokens" for tokens in curve.tokens]
        traces = marked("training", params, curve.training, seen, leads=False, n=1)
        if plan.given.get("inference_tokens"):
            traces += marked("training and inference", params, curve.lifetime, seen, leads=True, n=0)
        title = "FLOPs"
    drawing = figure(traces, params, title, what="parameters")
    ends = [value for trace in traces for value in trace["y"] if known(value)]
    if curve.of == "compute" and ends:
        drawing["layout"]["yaxis"] |= {"type": "log", "range": [log10(min(ends)) - 0.1, log10(min(ends) * 30)]}
        drawing["layout"]["yaxis"] |= ticks(sorted(10.0**k for k in range(int(log10(min(ends))), 40)), flops)
    drawing["layout"]["xaxis"] |= ticks([m * 10.0**k for k in range(4, 18) for m in (1, 3)], count_text)
    return drawing


def r_star_profile(star: RStar) -> Plot:
    """Rise of the objective at other values of R*, each with everything else fitted again."""
    points = [point for point in star.profile if point.rise <= MAX_RISE]
    x, y = [point.value for point in points], [point.rise for point in points]
    drawing = figure([drawn("rise", x, y)], x, "rise of the objective", what="R*, epochs")
    drawing["layout"] |= {"showlegend": False, "height": 300}
    drawing["layout"]["xaxis"] |= ticks(
        [m * 10.0**k for k in range(-2, 9) for m in (1, 3)], lambda x: f"{x:g}" if x < 1000 else count_text(x)
    )
    drawing["layout"]["shapes"] = [upright(end) for end in (star.low, star.high) if end is not None]
    return drawing


def upright(at: float) -> Plot:
    """A dotted line across a figure."""
    line = {"color": "#8a8f98", "width": 1, "dash": "dot"}
    return {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def point(name: str, x: float | None, y: float | None, marker: Plot) -> Plot:
    return {"type": "scatter", "mode": "markers", "name": name, "x": [x], "y": [y], "marker": marker}


def drawn(
    name: str, x: Sequence[float], y: Sequence[Any], colour: str = RECOMMENDED, *, width: float = 3, dash: str = "solid"
) -> Plot:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(name, None),
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "width": width, "dash": dash},
        "hovertemplate": "%{x:.3g}: %{y:.4f}<extra>" + label(name, None) + "</extra>",
    }


def figure(
    traces: list[Plot],
    x: Sequence[float],
    title: str,
    *,
    what: str = "epochs",
    top: float | None = None,
    at: float | None = None,
) -> Plot:
    """Lines over a logarithmic axis. top: where the other axis ends. at: where a line is drawn across."""
    across = axis(what, type="log", range=[log10(min(x)), log10(max(x))], **ticks(EPOCH_TICKS, lambda e: f"{e:g}"))
    up = axis(title) | ({} if top is None else {"range": [-0.02 * top, top]})
    more: Plot = {"xaxis": across, "yaxis": up}
    if at is not None:
        more["shapes"] = [upright(at)]
    return {"data": traces, "layout": layout(height=HEIGHT, **more)}
