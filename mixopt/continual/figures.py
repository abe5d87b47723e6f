"""The figures of a plan of continued pretraining, as Plotly's JSON."""

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

from mixopt.continual.summary import change, told_share
from mixopt.formatting import amount, known, loss
from mixopt.report.figures import OTHERS, axis, label, layout
from mixopt.report.svg import MEASURED, NATURAL, RECOMMENDED

BAND = "rgba(0,114,178,0.15)"
GREY = "rgba(138,143,152,0.14)"
HEIGHT = 440
COUNTS = (1, 2, 5)  # times powers of ten: where an axis of tokens is labelled
Trace = dict[str, Any]


def front_figure(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Domain loss against the change of the general loss: the front, the trained runs' ends, what could be chosen."""
    runs = plan["front"]
    traces = _split("the front", runs, plan)
    traces.append(_trained_ends(plan))
    if plan["search"]:
        found = plan["search"]["front"]
        name = f"Optuna {plan['search']['sampler']}"
        traces.append(_marks(name, found, plan, colour=OTHERS[2], symbol="x", size=6, visible="legendonly"))
    for key, name, symbol, colour in (
        ("answer", "the answer", "star", MEASURED),
        ("sure", f"{plan['sure_at']:.0%} sure", "diamond", OTHERS[1]),
        ("free", "costs nothing", "square", OTHERS[0]),
    ):
        if plan[key]:
            traces.append(_marks(name, [plan[key]], plan, colour=colour, symbol=symbol, size=14))
    shapes = [_upright(0.0, "dot"), _upright(100 * plan["tolerance"], "dash")]
    return {
        "data": traces,
        "layout": layout(
            height=HEIGHT,
            xaxis=axis("change of the general loss, %", ticksuffix="%", range=_seen(plan)),
            yaxis=axis("domain loss (nats/token)"),
            shapes=shapes,
            hovermode="closest",
        ),
    }


def _seen(plan: Mapping[str, Any]) -> list[float]:
    """The part of the axis that matters: the front's, but not what is far above the tolerance and the trained runs."""
    rises = [100 * run["rise"] for run in plan["front"]]
    ends = [100 * row["rise"] for row in plan["measured"] if row["last"] and known(row["rise"])]
    top = min(max(rises), max([*ends, 100 * plan["tolerance"], rises[0]]) * 1.0 + 0.5 * abs(rises[0] or 1))
    bottom = max(min(rises), min([*ends, 0.0]) - (max([*ends, 0.0]) - min([*ends, 0.0])))
    edge = 0.04 * (top - bottom or 1.0)
    return [bottom - edge, top + edge]


def _split(name: str, runs: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> list[Trace]:
    """A line, dotted where it lies outside what was trained; each part begins where the last one ends."""
    traces: list[Trace] = []
    begin = 0
    for n in range(1, len(runs) + 1):
        if n < len(runs) and runs[n]["outside"] == runs[begin]["outside"]:
            continue
        part, away = runs[begin : min(n + 1, len(runs))], runs[begin]["outside"]
        line = _marks(name, part, plan, colour=RECOMMENDED, symbol="circle", size=4) | {"mode": "lines+markers"}
        line |= {"line": {"color": RECOMMENDED, "width": 3, "dash": "dot" if away else "solid"}}
        line |= {"marker": {"color": RECOMMENDED, "size": 4}}
        line |= {"legendgroup": f"{name}{away}", "name": f"{name}, extrapolated" if away else name}
        line["showlegend"] = not any(trace["legendgroup"] == line["legendgroup"] for trace in traces)
        traces.append(line)
        begin = n
    return traces


def _marks(
    name: str,
    runs: Sequence[Mapping[str, Any]],
    plan: Mapping[str, Any],
    *,
    colour: str,
    symbol: str,
    size: int,
    visible: Any = True,
) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [100 * run["rise"] for run in runs],
        "y": [run["domain"] for run in runs],
        "text": [_hover(run) for run in runs],
        "visible": visible,
        "marker": {"color": colour, "size": size, "symbol": symbol, "line": {"color": "#ffffff", "width": 1}},
        "hovertemplate": f"%{{text}}<extra>{name}</extra>",
    }


def _hover(run: Mapping[str, Any]) -> str:
    told = [f"{told_share(1 - run['share'])} general text"]
    told += [f"{amount(run[key])} {word}" for key, word in (("params", "parameters"), ("tokens", "tokens")) if run[key]]
    if known(run.get("passes")):
        told.append(f"{run['passes']:.3g} passes over the domain's text")
    told.append(f"domain loss {loss(run['domain'])}")
    told.append(f"general loss {loss(run['general'])} ({change(run['rise'])})")
    return "<br>".join(told)


def _trained_ends(plan: Mapping[str, Any]) -> Trace:
    """The last checkpoint of every trained run."""
    rows = [row for row in plan["measured"] if row["last"] and known(row["domain"]) and known(row["rise"])]
    marks = _marks("trained runs", rows, plan, colour="#1f2328", symbol="circle-open", size=10)
    return marks | {"marker": {"color": "#1f2328", "size": 10, "symbol": "circle-open", "line": {"width": 2}}}


# Over shares


def share_figures(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Domain loss, then general loss, over the domain's share."""
    return [_over_share(plan, of) for of in ("domain", "general")]


def _over_share(plan: Mapping[str, Any], of: str) -> dict[str, Any]:
    curve = plan["curves"]["share"]
    shares = [100 * value for value in curve["share"]]
    traces = [
        _band(shares, curve[of]),
        {
            "type": "scatter",
            "mode": "lines",
            "name": "predicted",
            "x": shares,
            "y": curve[of]["loss"],
            "line": {"color": RECOMMENDED, "width": 3},
            "hovertemplate": "%{x:.1f}% domain text: %{y:.4f}<extra>predicted</extra>",
        },
        _checkpoints(_nearest_in_length(plan), of, "share", "trained"),
    ]
    run = plan["answer"]
    if run:
        traces.append(_here(100 * run["share"], run[of], f"answer: {told_share(run['general_share'])} general text"))
    shapes = [_grey(shares[0], 100 * plan["trained_on"]["share"][0])]
    shapes.append(_grey(100 * plan["trained_on"]["share"][1], shares[-1]))
    if of == "general":
        start = (run or plan["least_rise"])["start"]
        shapes += [_level(start, "dot"), _level(start * (1 + plan["tolerance"]), "dash")]
    return {
        "data": traces,
        "layout": layout(
            height=HEIGHT,
            xaxis=axis("domain's share of the tokens, %", ticksuffix="%", range=[shares[0], shares[-1]]),
            yaxis=axis(f"{of} loss (nats/token)"),
            shapes=shapes,
        ),
    }


def _nearest_in_length(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of every run at the answer's size the checkpoint whose tokens are nearest to the plan's."""
    run = plan["answer"] or plan["least_rise"]
    rows = plan["measured"]
    if run["params"]:
        size = min({row["params"] for row in rows}, key=lambda params: abs(log10(params / run["params"])))
        rows = [row for row in rows if row["params"] == size]
    best: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        old = best.get(row["run"])
        if old is None or (run["tokens"] and _gap(row, run) < _gap(old, run)):
            best[row["run"]] = row
    return list(best.values())


def _gap(row: Mapping[str, Any], run: Mapping[str, Any]) -> float:
    return abs(log10(row["tokens"] / run["tokens"]))


def _checkpoints(
    rows: Sequence[Mapping[str, Any]], of: str, key: str, name: str, colour: str = "#1f2328", **more: Any
) -> Trace:
    shown = [row for row in rows if known(row[of])]
    scale = 100 if key == "share" else 1
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [scale * row[key] for row in shown],
        "y": [row[of] for row in shown],
        "text": [_hover_checkpoint(row, of) for row in shown],
        "marker": {"color": colour, "size": 9 if key == "share" else 6},
        "hovertemplate": f"%{{text}}<extra>{name}</extra>",
    } | more


def _hover_checkpoint(row: Mapping[str, Any], of: str) -> str:
    told = [label(row["run"], None), f"{told_share(row['share'])} domain text"]
    told += [f"{amount(row['tokens'])} tokens"] if row["tokens"] else []
    return "<br>".join([*told, f"{of} loss {loss(row[of], 4)}"])


# Over tokens


def token_figures(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Domain loss, then general loss, over tokens."""
    return [_over_tokens(plan, of) for of in ("domain", "general")]


def _over_tokens(plan: Mapping[str, Any], of: str) -> dict[str, Any]:
    curves = plan["curves"]["tokens"]
    tokens = curves["tokens"]
    own = curves["lines"][0]
    traces: list[Trace] = [_band(tokens, own[of])]
    for n, line in enumerate(curves["lines"][1:]):
        colour = OTHERS[n % len(OTHERS)]
        name = f"{told_share(line['share'])} domain text"
        traces.append(_line(tokens, line[of]["loss"], name, colour, width=1.6))
        rows = [row for row in _same_size(plan) if abs(row["share"] - line["share"]) < 1e-6]
        traces.append(_checkpoints(rows, of, "tokens", name, colour, legendgroup=name, showlegend=False))
    traces.append(_line(tokens, own[of]["loss"], f"answer, {told_share(own['share'])}", RECOMMENDED, width=3.5))
    run = plan["answer"]
    if run:
        traces.append(_here(run["tokens"], run[of], f"answer: {amount(run['tokens'])} tokens"))
    ends = [log10(tokens[0]), log10(tokens[-1])]
    values = [m * 10.0**k for k in range(3, 16) for m in COUNTS]
    across = axis("tokens", type="log", range=ends, tickvals=values, ticktext=[amount(value) for value in values])
    return {
        "data": traces,
        "layout": layout(
            height=HEIGHT,
            xaxis=across,
            yaxis=axis(f"{of} loss (nats/token)"),
            shapes=[_grey(plan["trained_on"]["tokens"][1], tokens[-1])],
        ),
    }


def _same_size(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    names = {row["params"] for row in _nearest_in_length(plan)}
    return [row for row in plan["measured"] if row["params"] in names]


# Parts


def _band(x: Sequence[float], ends: Mapping[str, Sequence[float]]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, *list(x)[::-1]],
        "y": [*ends["high"], *list(ends["low"])[::-1]],
        "fill": "toself",
        "fillcolor": BAND,
        "line": {"width": 0},
        "name": "interval",
        "hoverinfo": "skip",
    }


def _line(x: Sequence[float], y: Sequence[float], name: str, colour: str, *, width: float) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "width": width},
        "hovertemplate": "%{x:.3s} tokens: %{y:.4f}<extra>" + name + "</extra>",
    }


def _here(x: float, y: float, text: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "the answer",
        "x": [x],
        "y": [y],
        "marker": {"color": MEASURED, "size": 14, "symbol": "star", "line": {"color": "#ffffff", "width": 1}},
        "hovertemplate": f"{text}<br>%{{y:.4f}}<extra></extra>",
    }


def _upright(x: float, dash: str) -> dict[str, Any]:
    line = {"color": NATURAL, "width": 1.5, "dash": dash}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _level(y: float, dash: str) -> dict[str, Any]:
    line = {"color": NATURAL, "width": 1.5, "dash": dash}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _grey(low: float, high: float) -> dict[str, Any]:
    """A part of the picture that was not trained."""
    shape = {"type": "rect", "x0": low, "x1": high, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    return shape | {"fillcolor": GREY, "line": {"width": 0}}


# The figures of losses on the way of continued runs, as Plotly's JSON.


WAY_HEIGHT = 440
LOSSES = (("domain_loss", "domain loss"), ("general_loss", "general loss"))
FEWEST, MOST = (0, 114, 178), (213, 94, 0)  # colours of no domain text and of nothing else


def way_figures(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Both losses along the longest forks of every size, with the choice's name: rows as in runs.parquet."""
    drawn = []
    for params in sorted({row["params"] for row in rows}):
        mine = [row for row in rows if row["params"] == params and row["role"] == "fork" and not row["diverged"]]
        if not mine:
            continue
        longest = max(row["tokens"] for row in mine if row["point"] == "end")
        runs = {row["run_id"] for row in mine if row["point"] == "end" and row["tokens"] == longest}
        lines = [[row for row in mine if row["run_id"] == run] for run in runs]
        lines.sort(key=lambda line: line[0]["share"])
        for key, name in LOSSES:
            drawn.append((f"{name}, {amount(params)} parameters", _figure(lines, key, name)))
    return drawn


def _figure(lines: Sequence[Sequence[Mapping[str, Any]]], key: str, name: str) -> dict[str, Any]:
    traces = []
    for line in lines:
        points = sorted((row for row in line if known(row[key])), key=lambda row: row["tokens"])
        told = f"{told_share(1 - line[0]['share'])} general text"
        colour = _between(line[0]["share"])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": told,
                "x": [row["tokens"] for row in points],
                "y": [row[key] for row in points],
                "line": {"color": colour, "width": 2},
                "marker": {"color": colour, "size": [9 if row["point"] == "end" else 0 for row in points]},
                "hovertemplate": f"%{{x:.3s}} tokens: %{{y:.3f}}<extra>{told}</extra>",
            }
        )
    return {
        "data": traces,
        "layout": layout(
            height=WAY_HEIGHT,
            xaxis=axis("tokens since the base", tickformat=".3~s"),
            yaxis=axis(f"{name} (nats/token)"),
        ),
    }


def _between(share: float) -> str:
    mixed = (round(a + share * (b - a)) for a, b in zip(FEWEST, MOST, strict=True))
    return "rgb({},{},{})".format(*mixed)
