"""Plotly traces of held-out predictions, effects, losses by validation set, runs and trained recommendations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from mixopt.formatting import known
from mixopt.mixture.results import Selection, VerifiedSize
from mixopt.report.figures import MEASURED, NATURAL, OTHERS, RECOMMENDED, axis, label, layout, scatter
from mixopt.runs.objective import TARGET

if TYPE_CHECKING:
    from mixopt.mixture.runs import Run

Plot = dict[str, Any]  # {"data": [...], "layout": {...}}, or one trace
SYMBOLS = ("square", "diamond", "triangle-up", "x", "cross")


def _labels(names: Sequence[str]) -> list[str]:
    """Short names for an axis; those that would fall together keep their full length."""
    short = [label(name) for name in names]
    return [label(name, None) if short.count(s) > 1 else s for name, s in zip(names, short, strict=True)]


def held_out_targets(selection: Selection) -> list[str]:
    """Losses with held-out predictions: the weighted target first, then the validation sets."""
    return sorted(selection.held_out.measured, key=lambda name: name != TARGET)


def held_out(selection: Selection, target: str) -> Plot | None:
    """Measured loss over the loss predicted without that mixture; None when nothing was held out."""
    kept = selection.held_out
    measured = kept.measured.get(target, [])
    names = [escape(f"{run_id} {role}") for run_id, role in zip(kept.run_id, kept.role, strict=False)]
    names = names or [""] * len(measured)
    traces, shown = [], []
    for n, predictor in enumerate(sorted(kept.predicted, key=lambda name: (name != selection.chosen, name))):
        predicted = kept.predicted[predictor].get(target, [])
        pairs = [(p, m, t) for p, m, t in zip(predicted, measured, names, strict=False) if known(p) and known(m)]
        if not pairs:
            continue
        shown = shown or [value for p, m, _ in pairs for value in (p, m)]
        traces.append(_points(predictor, pairs, n))
    if not traces:
        return None
    shape = layout(height=460, xaxis=axis("predicted, held out (nats/token)"), yaxis=axis("measured (nats/token)"))
    return {"data": [*_diagonal(min(shown), max(shown), selection.noise_of(target).sd), *traces], "layout": shape}


def _points(predictor: str, pairs: list[tuple[float, float, str]], n: int) -> Plot:
    colour = RECOMMENDED if n == 0 else OTHERS[(n - 1) % len(OTHERS)]
    predicted, measured, names = zip(*pairs, strict=True)
    return scatter(
        predicted,
        measured,
        mode="markers",
        hover="%{text}<br>predicted %{x:.3f}<br>measured %{y:.3f}<extra></extra>",
        name=escape(predictor),
        text=list(names),
        marker={"color": colour, "size": 9, "opacity": 0.85, "symbol": "circle" if n == 0 else SYMBOLS[(n - 1) % 5]},
        visible=True if n == 0 else "legendonly",
    )


def _diagonal(low: float, high: float, sd: float | None) -> list[Plot]:
    """The line of perfect prediction and, when noise is known, one standard deviation of it to both sides."""
    dashes = {"color": "#57606a", "width": 1, "dash": "dash"}
    line = scatter([low, high], [low, high], line=dashes, name="exact", showlegend=False)
    if not known(sd):
        return [line]
    band = scatter(
        [low, high, high, low],
        [low - sd, high - sd, high + sd, low + sd],
        fill="toself",
        fillcolor="rgba(138,143,152,0.25)",
        line={"width": 0},
        name="noise of one run",
        showlegend=True,
    )
    return [band, line]


def by_text(rows: Mapping[str, Mapping[str, float | None]]) -> Plot | None:
    """Predicted change of each validation set's loss against the natural mixture."""
    texts = [text for text, row in rows.items() if known(row.get("natural"))]
    if not texts:
        return None
    texts = texts[::-1]  # Plotly counts from the bottom
    traces = [
        scatter(
            [_gap(rows[text], mixture) for text in texts],
            range(len(texts)),
            mode="markers",
            hover="%{text}: %{x:+.3f}<extra>" + mixture + "</extra>",
            name=mixture,
            text=[label(text, None) for text in texts],
            marker={"color": colour, "size": 11, "symbol": symbol},
        )
        for mixture, colour, symbol in (("recommended", RECOMMENDED, "circle"), ("uniform", MEASURED, "diamond-open"))
    ]
    shape = layout(
        height=130 + 26 * len(texts),
        xaxis=axis("change against natural (nats/token)", zeroline=True, zerolinecolor="#57606a"),
        yaxis=axis("", tickvals=list(range(len(texts))), ticktext=_labels(texts), range=[-0.6, len(texts) - 0.4]),
    )
    return {"data": traces, "layout": shape}


def _gap(row: Mapping[str, float | None], mixture: str) -> float | None:
    value, natural = row.get(mixture), row["natural"]
    return value - natural if known(value) and known(natural) else None


def heat_strip(runs: Sequence[Run], domains: Sequence[str]) -> Plot | None:
    """Every run's mixture as a column, best target loss first, under its loss."""
    drawn = [run for run in runs if known(run.target) and run.comparable]
    if not drawn or not domains:
        return None
    rows = list(domains)[::-1]  # Plotly counts from the bottom
    named = [label(domain, None) for domain in rows]
    at = [escape(f"{run.run_id} {run.role}".strip()) for run in drawn]
    heat = {
        "type": "heatmap",
        "x": at,
        "y": named,
        "z": [[round(w, 4) if known(w := run.shares.get(domain)) else None for run in drawn] for domain in rows],
        "hovertemplate": "%{x}<br>%{y} %{z:.1%}<extra></extra>",
        "colorscale": [[0, "#eef3f8"], [0.5, "#5b9bd0"], [1, "#08306b"]],
        "zmin": 0,
        "zmax": darkest(drawn),
        "showscale": False,
        "xgap": 1 if len(drawn) <= 80 else 0,
        "ygap": 1,
    }
    marker = {"color": [MEASURED, *[NATURAL] * (len(drawn) - 1)], "size": 7}
    hover = "%{x}<br>%{y:.3f} nats/token<extra></extra>"
    dots = scatter(at, [run.target for run in drawn], mode="markers", hover=hover, yaxis="y2", marker=marker)
    tall = (20 if len(rows) <= 30 else 14) * len(rows)
    split, gap = tall / (tall + 150), 16 / (tall + 150)
    shape = layout(
        height=tall + 180,
        margin={"l": 60, "r": 16, "t": 12, "b": 16},
        showlegend=False,
        xaxis=axis("", type="category", showticklabels=False, ticks="", showgrid=False),
        yaxis=axis(
            "", type="category", domain=[0, split], tickvals=named, ticktext=_labels(rows), ticks="", showgrid=False
        ),
        yaxis2=axis("", domain=[split + gap, 1]),
    )
    return {"data": [heat, dots], "layout": shape}


def darkest(runs: Sequence[Run]) -> float:
    """The share drawn darkest: one in fifty is as large or larger, so that a lone outlier doesn't pale the rest."""
    shares = sorted(w for run in runs if not run.left_out for w in run.shares.values() if known(w))
    return shares[min(int(0.98 * len(shares)), len(shares) - 1)] if shares else 1.0


def effect(
    shares: Sequence[float], losses: Sequence[float], *, here: float | None, natural: float | None, top: float
) -> Plot:
    """Predicted objective over one domain's share, up to the loss `top`; here: the recommended share."""
    hover = "%{x:.1%}: %{y:.3f} nats/token<extra></extra>"
    curve = scatter(shares, losses, hover=hover, line={"color": RECOMMENDED, "width": 2.5}, showlegend=False)
    floor = min(losses)
    marks = [
        scatter(
            [share, share],
            [floor, top],
            hover=f"{name} %{{x:.1%}}<extra></extra>",
            name=name,
            line={"color": colour, "width": 1.5, "dash": dash},
        )
        for name, share, colour, dash in (
            ("recommended", here, MEASURED, "solid"),
            ("natural", natural, NATURAL, "dash"),
        )
        if share is not None
    ]
    margin = 0.04 * (top - floor)
    shape = layout(
        height=340,
        xaxis=axis("share of training tokens", tickformat=".0%"),
        yaxis=axis("predicted target loss (nats/token)", range=[floor - margin, top + margin]),
    )
    return {"data": [curve, *marks], "layout": shape}


def trained(size: VerifiedSize) -> Plot | None:
    """Measured objective of every run by mixture, at one size."""
    groups = {name: [value for value in values if known(value)] for name, values in size.arms.items()}
    groups = dict(sorted(((k, v) for k, v in groups.items() if v), key=lambda pair: pair[0] == "recommended"))
    traces = [
        scatter(
            values,
            [label(name)] * len(values),
            mode="markers",
            hover="%{x:.3f} nats/token<extra></extra>",
            marker={"color": RECOMMENDED if name == "recommended" else NATURAL, "size": 10},
        )
        for name, values in groups.items()
    ]
    shape = layout(
        height=120 + 34 * len(groups),
        showlegend=False,
        xaxis=axis("measured target loss (nats/token)"),
        yaxis=axis("", type="category"),
    )
    return {"data": traces, "layout": shape} if traces else None
