"""Plotly figures of a plan of continued pretraining: Pareto front, losses over shares, over tokens and in training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log10
from typing import Any

from mixopt.continual.design import CONTINUATION
from mixopt.continual.results import LOSSES, Checkpoint, Curve, Plan, Run
from mixopt.continual.runs import END, ContinuationTable
from mixopt.continual.summary import change_text, share_text
from mixopt.formatting import count_text, epochs_text, known, loss
from mixopt.report.figures import MEASURED, NATURAL, OTHERS, RECOMMENDED, axis, label, layout
from mixopt.serialization import Json

BAND = "rgba(0,114,178,0.15)"
GREY = "rgba(138,143,152,0.14)"
INK = "#1f2328"
EDGE = {"color": "#ffffff", "width": 1}  # of a marker
DIGITS = (1, 2, 5)  # times powers of ten: where an axis of tokens is labelled
NO_DOMAIN, ALL_DOMAIN = (0, 114, 178), (213, 94, 0)  # colours of runs without and with nothing but domain text


def front_figure(plan: Plan) -> Json:
    """Domain loss against the general loss's change: Pareto front, trained runs' ends, and what could be chosen."""
    traces = _front_lines(plan)
    ends = [row for row in plan.measured if row.last]
    traces.append(_markers("trained runs", ends, INK, "circle-open", 10, line={"width": 2}))
    if plan.search:
        name = f"Optuna {plan.search.sampler}"
        traces.append(_markers(name, plan.search.front, OTHERS[2], "x", 6) | {"visible": "legendonly"})
    for run, name, symbol, colour in (
        (plan.answer, "recommended", "star", MEASURED),
        (plan.sure, f"{plan.sure_at:.0%} sure", "diamond", OTHERS[1]),
        (plan.free, "no forgetting", "square", OTHERS[0]),
    ):
        if run:
            traces.append(_markers(name, [run], colour, symbol, 14))
    across = axis("change of the general loss, %", ticksuffix="%", range=_visible_changes(plan))
    shapes = [_rule("x", 0.0, "dot"), _rule("x", 100 * plan.tolerance, "dash")]
    return _figure(traces, across, "domain", shapes=shapes, hovermode="closest")


def _visible_changes(plan: Plan) -> list[float]:
    """The front's part of the axis, but not what is far above the tolerance and the trained runs."""
    rises = [100 * run.rise for run in plan.front]
    ends = [100 * row.rise for row in plan.measured if row.last and known(row.rise)]
    top = min(max(rises), max([*ends, 100 * plan.tolerance, rises[0]]) + 0.5 * abs(rises[0] or 1))
    bottom = max(min(rises), min([*ends, 0.0]) - (max([*ends, 0.0]) - min([*ends, 0.0])))
    edge = 0.04 * (top - bottom or 1.0)
    return [bottom - edge, top + edge]


def _front_lines(plan: Plan) -> list[Json]:
    """A line, dotted outside what was trained; each part begins where the last one ends."""
    traces: list[Json] = []
    runs = plan.front
    changes = [n for n in range(1, len(runs)) if runs[n].outside != runs[n - 1].outside]
    for begin, end in pairwise([0, *changes, len(runs)]):
        outside = runs[begin].outside
        name = "Pareto front, extrapolated" if outside else "Pareto front"
        line = _markers(name, runs[begin : end + 1], RECOMMENDED, "circle", 4)
        line |= {"mode": "lines+markers", "marker": {"color": RECOMMENDED, "size": 4}, "legendgroup": name}
        line["line"] = {"color": RECOMMENDED, "width": 3, "dash": "dot" if outside else "solid"}
        line["showlegend"] = not any(trace["name"] == name for trace in traces)
        traces.append(line)
    return traces


def _markers(name: str, runs: Sequence[Run | Checkpoint], colour: str, symbol: str, size: int, **marker: Any) -> Json:
    runs = [run for run in runs if known(run.domain) and known(run.rise)]
    rises = [100 * run.rise for run in runs if run.rise is not None]
    marker = {"color": colour, "size": size, "symbol": symbol, "line": EDGE} | marker
    text = [_hover(run) for run in runs]
    hover = f"%{{text}}<extra>{name}</extra>"
    return _scatter(name, rises, [run.domain for run in runs], hover, text=text, marker=marker)


def _hover(run: Run | Checkpoint) -> str:
    counts = ((run.params, "parameters"), (run.tokens, "tokens"))
    lines = [f"{share_text(1 - run.share)} general text"]
    lines += [f"{count_text(count)} {word}" for count, word in counts if count]
    epochs = getattr(run, "passes", None)  # checkpoints have none
    if epochs is not None:
        lines.append(f"{epochs_text(epochs)} epochs of the domain's tokens")
    lines += [f"domain loss {loss(run.domain)}", f"general loss {loss(run.general)} ({change_text(run.rise)})"]
    return "<br>".join(lines)


def share_figure(plan: Plan, of: str) -> Json:
    """One loss over the domain's share."""
    curve = plan.curves.share
    losses: Curve = getattr(curve, of)
    shares = [100 * value for value in curve.share]
    predicted = _line(shares, losses.loss, "predicted", RECOMMENDED, width=3)
    predicted["hovertemplate"] = "%{x:.1f}% domain text: %{y:.4f}<extra>predicted</extra>"
    trained = [(100 * row.share, row) for row in _nearest_in_length(plan)]
    traces = [*_band(shares, losses), predicted, _checkpoints(trained, of, "trained", INK, 9)]
    if plan.answer:
        text = f"recommended: {share_text(plan.answer.general_share)} general text"
        traces.append(_star(100 * plan.answer.share, getattr(plan.answer, of), text))
    low, high = plan.trained_on.share
    shapes = [_untrained(shares[0], 100 * low), _untrained(100 * high, shares[-1])]
    if of == "general":
        start = plan.centre.start
        shapes += [_rule("y", start, "dot"), _rule("y", start * (1 + plan.tolerance), "dash")]
    across = axis("domain's share of the tokens, %", ticksuffix="%", range=[shares[0], shares[-1]])
    return _figure(traces, across, of, shapes=shapes)


def _nearest_size(plan: Plan) -> list[Checkpoint]:
    """Checkpoints of the trained size that is nearest to the answer's."""
    params = plan.centre.params
    if not params:
        return plan.measured
    nearest = min((row.params for row in plan.measured if row.params), key=lambda size: abs(log10(size / params)))
    return [row for row in plan.measured if row.params == nearest]


def _nearest_in_length(plan: Plan) -> list[Checkpoint]:
    """Of every run at the answer's size the checkpoint whose tokens are nearest to the plan's."""
    tokens = plan.centre.tokens

    def gap(row: Checkpoint) -> float:
        return abs(log10(row.tokens / tokens)) if row.tokens and tokens else 0.0

    best: dict[str, Checkpoint] = {}
    for row in _nearest_size(plan):
        best[row.run] = min(best.get(row.run, row), row, key=gap)
    return list(best.values())


def _checkpoints(
    points: Sequence[tuple[float | None, Checkpoint]], of: str, name: str, colour: str, size: int, **more: Any
) -> Json:
    shown = [(x, row) for x, row in points if known(getattr(row, of))]
    text = [_hover_checkpoint(row, of) for _, row in shown]
    losses = [getattr(row, of) for _, row in shown]
    more |= {"text": text, "marker": {"color": colour, "size": size}}
    return _scatter(name, [x for x, _ in shown], losses, f"%{{text}}<extra>{name}</extra>", **more)


def _hover_checkpoint(row: Checkpoint, of: str) -> str:
    lines = [label(row.run, None), f"{share_text(row.share)} domain text"]
    lines += [f"{count_text(row.tokens)} tokens"] if row.tokens else []
    return "<br>".join([*lines, f"{of} loss {loss(getattr(row, of), 4)}"])


def token_figure(plan: Plan, of: str) -> Json:
    """One loss over tokens, where runs differ in them."""
    curves = plan.curves.tokens
    assert curves is not None
    tokens = curves.tokens
    own, *others = curves.lines
    traces = _band(tokens, getattr(own, of))
    for n, line in enumerate(others):
        colour, name = OTHERS[n % len(OTHERS)], f"{share_text(line.share)} domain text"
        traces.append(_line(tokens, getattr(line, of).loss, name, colour, width=1.6))
        rows = [(row.tokens, row) for row in _nearest_size(plan) if abs(row.share - line.share) < 1e-6]
        traces.append(_checkpoints(rows, of, name, colour, 6, legendgroup=name, showlegend=False))
    name = f"{'recommended' if plan.answer else 'least forgetting'}, {share_text(own.share)}"
    traces.append(_line(tokens, getattr(own, of).loss, name, RECOMMENDED, width=3.5))
    if plan.answer and plan.answer.tokens:
        traces.append(_star(plan.answer.tokens, getattr(plan.answer, of), f"{count_text(plan.answer.tokens)} tokens"))
    ends = [log10(tokens[0]), log10(tokens[-1])]
    ticks = [digit * 10.0**k for k in range(3, 16) for digit in DIGITS]
    across = axis("tokens", type="log", range=ends, tickvals=ticks, ticktext=[count_text(value) for value in ticks])
    return _figure(traces, across, of, shapes=[_untrained(plan.trained_on.tokens[1], tokens[-1])])


def training_figures(table: ContinuationTable) -> list[tuple[str, Json]]:
    """Both losses during the longest continuations of every size, with the choice's name."""
    figures = []
    kept = table.kept
    for params, rows in kept.loc[kept["role"] == CONTINUATION].groupby("params"):
        ends = rows.loc[rows["point"] == END]
        longest = ends.loc[ends["tokens"] == ends["tokens"].max()].sort_values("share")
        for of in LOSSES:
            traces = []
            for run_id, share in zip(longest["run_id"], longest["share"], strict=True):
                points = rows.loc[(rows["run_id"] == run_id) & rows[f"{of}_loss"].notna()].sort_values("tokens")
                colour = _between(float(share))
                name = f"{share_text(1 - share)} general text"
                line = _line(points["tokens"].tolist(), points[f"{of}_loss"].tolist(), name, colour, width=2)
                line["mode"] = "lines+markers"
                line["marker"] = {"color": colour, "size": [9 if point == END else 0 for point in points["point"]]}
                line["hovertemplate"] = f"%{{x:.3s}} tokens: %{{y:.3f}}<extra>{name}</extra>"
                traces.append(line)
            figure = _figure(traces, axis("tokens since the base", tickformat=".3~s"), of)
            figures.append((f"{of} loss, {count_text(params)} parameters", figure))
    return figures


def _between(share: float) -> str:
    return "rgb({},{},{})".format(*(round(a + share * (b - a)) for a, b in zip(NO_DOMAIN, ALL_DOMAIN, strict=True)))


def _figure(traces: list[Json], across: Json, of: str, **more: Any) -> Json:
    upward = axis(f"{of} loss (nats/token)")
    return {"data": traces, "layout": layout(height=440, xaxis=across, yaxis=upward, **more)}


def _scatter(name: str, x: Sequence[float | None], y: Sequence[float | None], hover: str, **more: Any) -> Json:
    trace = {"type": "scatter", "mode": "markers", "name": name, "x": list(x), "y": list(y), "hovertemplate": hover}
    return trace | more


def _band(x: Sequence[float], curve: Curve) -> list[Json]:
    if curve.low is None or curve.high is None:
        return []
    ends = [*curve.high, *curve.low[::-1]]
    look = {"mode": "lines", "fill": "toself", "fillcolor": BAND, "line": {"width": 0}, "hoverinfo": "skip"}
    return [{"type": "scatter", "name": "interval", "x": [*x, *x[::-1]], "y": ends} | look]


def _line(x: Sequence[float], y: Sequence[float], name: str, colour: str, *, width: float) -> Json:
    hover = f"%{{x:.3s}} tokens: %{{y:.4f}}<extra>{name}</extra>"
    return _scatter(name, x, y, hover, mode="lines", legendgroup=name, line={"color": colour, "width": width})


def _star(x: float, y: float, text: str) -> Json:
    marker = {"color": MEASURED, "size": 14, "symbol": "star", "line": EDGE}
    return _scatter("recommended", [x], [y], f"{text}<br>%{{y:.4f}}<extra></extra>", marker=marker)


def _rule(key: str, value: float, dash: str) -> Json:
    """A line right across the figure, at a value of the axis x or y."""
    other = "y" if key == "x" else "x"
    across = {f"{other}ref": "paper", f"{other}0": 0, f"{other}1": 1}
    line = {"color": NATURAL, "width": 1.5, "dash": dash}
    return {"type": "line", f"{key}0": value, f"{key}1": value, "line": line} | across


def _untrained(low: float, high: float) -> Json:
    """A part of the picture that was not trained, shaded."""
    shape = {"type": "rect", "x0": low, "x1": high, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    return shape | {"fillcolor": GREY, "line": {"width": 0}}
