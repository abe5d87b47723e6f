"""Plans of every kind in words and small tables, the same for the terminal and for the page."""

from collections.abc import Mapping
from typing import Any

from mixopt.plan import said_epochs, said_scale
from mixopt.plan.words import Board
from mixopt.report.words import loss, passes, share

SPLITS = {"folds": "at random", "epochs": "epochs", "size": "size", "strain": "strain"}
KINDS = {"epochs": said_epochs, "scale": said_scale}


def said(plan: Mapping[str, Any]) -> list[str]:
    """The answer in a sentence, then how sure it is."""
    kind = KINDS[plan["kind"]]
    return [text for text in (kind.headline(plan), kind.caution(plan)) if text]


def tables(plan: Mapping[str, Any]) -> list[Board]:
    found = KINDS[plan["kind"]].boards(plan)
    return found if plan["fit"] is None else [found[0], fit_board(plan["fit"]), *found[1:]]


def fit_board(fit: Mapping[str, Any]) -> Board:
    """How well each form predicts runs that it was not fitted to."""
    rows = [
        (
            row["form"],
            "" if row["weight"] is None else share(row["weight"]),
            *(loss(row["errors"][kind]) if kind in row["errors"] else "" for kind in SPLITS),
        )
        for row in fit["judged"]
    ]
    note = (
        f"Root mean squared errors of ln loss over {fit['runs']} runs: left out at random, or those with the most "
        "epochs, the largest models, the most parameters a unique token. Published constants are not fitted."
    )
    stars = fit.get("r_star")
    if stars:
        spans = "; ".join(f"{star['form']} {span_of(star)}" for star in stars)
        note += (
            f" R*, the epochs after which a repeat is worth 1/e ({stars[0]['level']:.0%} of its profile, if a form is "
            f"right): {spans}."
        )
    return Board("Errors on runs left out", "form", ("weight", *SPLITS.values()), rows, None, note)


def span_of(star: Mapping[str, Any]) -> str:
    """The interval of a profile, which may have no end on a side."""
    low = "any" if star["open_low"] or star["low"] is None else passes(star["low"])
    high = "no end" if star["open_high"] or star["high"] is None else passes(star["high"])
    return f"{low} to {high}"


def warnings(plan: Mapping[str, Any]) -> list[str]:
    """What limits the answer."""
    return [*plan["notes"], *plan["beyond"]]
