"""The page of a plan of continued pretraining, and its pieces: the front, curves over shares and tokens, the tables."""

from collections.abc import Mapping
from typing import Any

from mixopt.continual.boards import boards
from mixopt.continual.said import said, warnings
from mixopt.report.cptfigures import front_figure, share_figures, token_figures
from mixopt.report.markup import Safe, chart, join, paragraph, section, tag
from mixopt.report.page import page
from mixopt.report.plan import again, board_section
from mixopt.report.words import amount, counted, share

TITLE = "Plan: how much general text to keep"
LOSSES = ("domain loss", "general loss")


def render_cpt(plan: Mapping[str, Any]) -> str:
    """One self-contained HTML page of what `plan_cpt` gave; equal plans give equal pages."""
    parts, figures = pieces(plan)
    return page(
        f"{plan['name']}: {TITLE}", join([tag("header", headline(plan)), limits(plan), *parts, again(plan)]), figures
    )


def headline(plan: Mapping[str, Any]) -> Safe:
    first, *more = said(plan)
    return tag(
        "section",
        tag("h1", f"{plan['name']}: how much general text to keep"),
        paragraph(first, class_="headline"),
        *(paragraph(sentence, class_="prediction") for sentence in more),
        paragraph(scope(plan), class_="scope"),
    )


def scope(plan: Mapping[str, Any]) -> str:
    """What the plan was learned from."""
    runs, known = plan["trained_on"], plan["knows"]
    low, high = runs["share"]
    told = f"Learned from {counted(runs['runs'], 'run')} ({counted(runs['rows'], 'row')}) with {share(low)} to "
    told += f"{share(high)} domain text"
    told += f", {_span(runs['tokens'])} tokens" if "tokens" in known else ""
    told += f", {_span(runs['params'])} parameters" if "params" in known else ""
    return f"{told}. Losses are nats/token; changes of the general loss are against its value before continuing."


def _span(ends: Any) -> str:
    low, high = ends
    return amount(high) if high <= 1.01 * low else f"{amount(low)} to {amount(high)}"


def limits(plan: Mapping[str, Any]) -> Safe:
    """What to be careful about, where there is anything."""
    told = warnings(plan)
    if not told:
        return Safe("")
    return tag(
        "section", tag("h2", "What limits this"), tag("ul", *(tag("li", text) for text in told)), class_="warnings"
    )


def pieces(plan: Mapping[str, Any]) -> tuple[list[Safe], dict[str, Any]]:
    """Sections of the page after the answer, and the figures that they hold by name."""
    figures: dict[str, Any] = {"front": [front_figure(plan)], "shares": share_figures(plan)}
    shown = [
        section(
            "front",
            "The front of both losses",
            chart(
                "front",
                "Domain loss against the change of the general loss: point at the line to read the mixture. No planned "
                "run is predicted below and left of it (trained ones of other sizes and lengths may lie there); "
                "dotted, it is outside what was trained. Upright lines: no change, and the tolerance.",
            ),
        ),
        section(
            "shares",
            "Over the domain's share",
            chart(
                "shares",
                f"Predicted losses with {plan['level']:.0%} intervals, and the trained checkpoints nearest in length. "
                "Shaded grey: shares that were not trained.",
                choices=LOSSES,
            ),
        ),
    ]
    if plan["curves"]["tokens"]:
        figures["tokens"] = token_figures(plan)
        shown.append(
            section(
                "tokens",
                "Over tokens",
                chart(
                    "tokens",
                    "Predicted losses at the answer's share (thick, with its interval) and at trained ones, with their "
                    "checkpoints. Shaded grey: longer than any run.",
                    choices=LOSSES,
                ),
            )
        )
    first, *more = (board_section(n, board) for n, board in enumerate(boards(plan)))
    return [first, *shown, *more], figures
