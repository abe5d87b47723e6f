"""The page of a plan: the answer in words, loss against epochs or parameters, what one more epoch is worth, tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from mixopt.formatting import share
from mixopt.plan.figures import of_compute, of_margin, of_model, of_r_star, of_size
from mixopt.plan.summary import said, tables, warnings
from mixopt.report.document import Board
from mixopt.report.html import Column, Safe, chart, join, page, paragraph, section, table, tag

TITLES = {"epochs": "Plan: how often to repeat", "scale": "Plan: how large, how long"}


def render_plan(plan: Mapping[str, Any]) -> str:
    """One self-contained HTML page of what `plan_epochs` or `plan_scale` gave; equal plans give equal pages."""
    first, *more = said(plan)
    headline = tag(
        "section",
        tag("h1", TITLES[plan["kind"]]),
        paragraph(first, class_="headline"),
        *(paragraph(sentence, class_="prediction") for sentence in more),
        paragraph(scope(plan), class_="scope"),
    )
    drawn, figures = charts(plan)
    stars = [star for star in (plan["fit"] or {}).get("r_star") or [] if len(star["profile"]) > 2]
    if stars:
        drawn.append(profiles(stars))
        figures["r-star"] = [of_r_star(star) for star in stars]
    boards = [board_section(n, board) for n, board in enumerate(tables(plan))]
    body = [tag("header", headline), limits(plan), *drawn, *boards, forms(plan), again(plan)]
    return page(TITLES[plan["kind"]], join(body), figures)


def profiles(stars: Sequence[Mapping[str, Any]]) -> Safe:
    """The place of the profiles of R*, one a form."""
    caption = (
        "Rise of the fit's objective when R*, the epochs after which a repeat is worth 1/e, is held elsewhere and all "
        f"else is fitted again. Dotted: the ends of its {stars[0]['level']:.0%} interval, if the form is right."
    )
    names = [f"{star['form']}, weight {share(star['weight'])}" for star in stars]
    return section("r-star", "What the runs know of R*", chart("r-star", caption, choices=names))


def scope(plan: Mapping[str, Any]) -> str:
    return (
        f"By the form {plan['form']}. Training is counted as 6 N D FLOPs, losses are nats/token of the text and the "
        "tokenizer that the form was fitted to."
    )


def limits(plan: Mapping[str, Any]) -> Safe:
    """What to be careful about, where there is anything."""
    told = warnings(plan)
    if not told:
        return Safe("")
    return tag(
        "section", tag("h2", "What limits this"), tag("ul", *(tag("li", text) for text in told)), class_="warnings"
    )


def charts(plan: Mapping[str, Any]) -> tuple[list[Safe], dict[str, Any]]:
    """Sections with the places of figures, and the figures."""
    if plan["kind"] == "scale":
        caption = (
            "Loss of every form at equal compute; a ring marks its best size."
            if plan["curve"]["of"] == "loss"
            else "FLOPs of training and of a whole life for models of equal loss; a ring marks the cheapest."
        )
        return [section("size", "Against parameters", chart("size", caption))], {"size": [of_size(plan)]}
    equal, model, margin = of_compute(plan), of_model(plan), of_margin(plan)
    shown = [
        section(
            "compute",
            "Loss against epochs at equal compute",
            chart(
                "compute",
                "Fewer epochs leave compute for more parameters. A ring marks where each form has its best.",
                choices=["above each form's own best", "as predicted"],
            ),
        ),
        section(
            "model",
            "Going on with this model",
            chart("model", "Loss of the model of the answer, with the range that the evidence allows."),
            chart(
                "margin",
                "What repeating is worth to it, epoch by epoch.",
                choices=["a repeated token, in new ones", "loss that the next epoch takes off"],
            ),
        ),
    ]
    return shown, {"compute": equal, "model": [model], "margin": margin}


def board_section(n: int, board: Board) -> Safe:
    columns = [Column(board.first, numeric=False), *(Column(heading) for heading in board.headings)]
    return section(
        f"table-{n}", board.title, table(board.note or board.title, columns, board.rows, marked=board.marked)
    )


def forms(plan: Mapping[str, Any]) -> Safe:
    """Where each form's constants come from."""
    rows = [(row["form"], row["source"], row["note"]) for row in plan["forms"]]
    columns = [Column("Form", numeric=False), Column("Source", numeric=False, wide=True)]
    columns.append(Column("Fitted to", numeric=False, wide=True))
    return section("forms", "The forms and their sources", table("Where the constants come from", columns, rows))


def again(plan: Mapping[str, Any]) -> Safe:
    made: Mapping[str, Any] = plan.get("made") or {}
    versions = ", ".join(f"{name} {number}" for name, number in (made.get("versions") or {}).items())
    files: Sequence[Mapping[str, Any]] = made.get("files") or []
    listed = tag("ul", *(tag("li", f"{one['name']}: sha256 {one['sha256']}") for one in files)) if files else Safe("")
    code = tag("pre", tag("code", made.get("command") or "mixopt plan"), tabindex="0")
    return section("again", "Doing it again", code, paragraph(f"{versions}.") if versions else Safe(""), listed)
