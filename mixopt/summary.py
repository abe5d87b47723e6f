"""The recommendation as the terminal shows it: plain text, drawn by the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADER = ("Domain", "Natural", "Recommended", "Tokens", "Epochs")
NONE = "–"


def summary_rows(recommendation: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of text a domain under HEADER, the largest recommended share first."""
    rows = sorted(recommendation["domains"], key=lambda row: -row["recommended"])
    return [
        (
            row["domain"],
            _share(row["natural"]),
            _share(row["recommended"]),
            count(row["tokens"]),
            _epochs(row["epochs"]),
        )
        for row in rows
    ]


def told_optimism(recommendation: Mapping[str, Any]) -> str:
    """A sentence on the expected optimism, for a reader of the recommendation; empty where it isn't known."""
    expected = recommendation.get("optimism") or {}
    loss, error = expected.get("loss"), expected.get("standard_error")
    if loss is None or error is None:
        return ""
    told = f"{abs(loss):.3f} ± {error:.3f} nats/token"
    if loss <= 0:
        return (
            f"Rehearsed choices measured no worse than predicted ({told} better): no optimism is to be expected at the "
            "recommended mixture."
        )
    return (
        f"Expected optimism {told}: a mixture chosen for its low prediction measures so much higher on average. The "
        "interval of the recommended mixture takes it into account."
    )


def count(value: float | None) -> str:
    """1234567 as 1.23M."""
    if value is None:
        return NONE
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def _epochs(value: float | None) -> str:
    return NONE if value is None else f"{value:.2g}" if value < 10 else f"{value:.0f}"
