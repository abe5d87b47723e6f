"""The figures of losses on the way of continued runs, as Plotly's JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.continual.said import told_share
from mixopt.report.figures import axis, layout
from mixopt.report.words import amount, known

HEIGHT = 440
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
            height=HEIGHT, xaxis=axis("tokens since the base", tickformat=".3~s"), yaxis=axis(f"{name} (nats/token)")
        ),
    }


def _between(share: float) -> str:
    mixed = (round(a + share * (b - a)) for a, b in zip(FEWEST, MOST, strict=True))
    return "rgb({},{},{})".format(*mixed)
