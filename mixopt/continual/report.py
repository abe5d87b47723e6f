"""The page of a study of continued pretraining: the answer, the front, the curves, what was really trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixopt.continual.figures import front_figure, share_figures, token_figures, way_figures
from mixopt.continual.summary import boards, change, said, told_share, warnings
from mixopt.errors import MixoptError
from mixopt.formatting import amount, counted, known, listed, loss, share
from mixopt.plan.report import again, board_section
from mixopt.report.html import Column, Safe, chart, join, page, paragraph, section, table, tag
from mixopt.report.sections import corpora_section, reproduce_section, rows_of
from mixopt.serialization import read_json
from mixopt.study.layout import Folder

if TYPE_CHECKING:
    pass


LISTED = 120  # forks in the table


@dataclass(frozen=True)
class Found:
    """The files of a finished study of continued pretraining."""

    answer: Mapping[str, Any]  # recommendation.json
    rows: Sequence[Mapping[str, Any]]  # runs.parquet, a row a look
    corpora: Mapping[str, Any] | None
    text: str  # the study file
    verified: Mapping[str, Any] | None

    @property
    def ends(self) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["point"] == "end"]


def read_page(folder: Folder) -> str:
    """The page of a finished study's folder. Raises MixoptError when a file is missing."""
    import pandas

    runs = folder.root / "runs.parquet"
    if not (runs.is_file() and folder.recommendation.is_file()):
        raise MixoptError(
            f"{folder.root} has no finished study yet, so there is nothing to report: finish it with `mixopt run` first"
        )
    found = Found(
        answer=read_json(folder.recommendation, made_by="run"),
        rows=rows_of(pandas.read_parquet(runs)),
        corpora=read_json(folder.corpora, made_by="prepare") if folder.corpora.is_file() else None,
        text=folder.study.read_text(encoding="utf-8"),
        verified=read_json(folder.verification, made_by="verify") if folder.verification.is_file() else None,
    )
    return render_continual(found)


def render_continual(found: Found) -> str:
    """One self-contained HTML page; equal studies give equal pages."""
    parts, figures = pieces(found.answer)
    body = [
        tag("header", headline(found.answer)),
        limits(found.answer),
        checked(found),
        texts(found),
        *parts,
        on_the_way(found, figures),
        noise(found),
        forks_table(found),
        corpora_section(found.corpora),
        reproduce_section(found.answer, found.text),
    ]
    return page(f"{found.answer['study']}: how much general text to keep", join(body), figures)


def texts(found: Found) -> Safe:
    """What the two losses are on."""
    named = {
        key: listed([f"{100 * w:.3g}% {name}" if len(weights) > 1 else name for name, w in weights.items()])
        for key, weights in found.answer["texts"].items()
    }
    told = f"The domain loss is on {named['domain']}, the general loss on {named['general']}."
    return section("texts", "What is measured", paragraph(told))


def checked(found: Found) -> Safe:
    """What came of the recommended run when it was trained, where it was."""
    verified = found.verified
    if verified is None or abs(verified["share"] - (found.answer["answer"] or {}).get("share", -1)) > 1e-9:
        return Safe("")
    names = ("Trained", "Seeds differ by", "Predicted", "From", "To")
    columns = [Column("", numeric=False), *map(Column, names)]
    rows = [
        (word, *(loss(verified[key][part]) for part in ("measured", "sd", "predicted", "low", "high")))
        for key, word in (("domain", "Domain loss"), ("general", "General loss"))
    ]
    rise, seeds = verified["rise"]["measured"], counted(len(verified["runs"]), "fresh seed")
    kept = "Both losses lie within their intervals" if verified["kept"] else "Not both losses lie in their intervals"
    told = (
        f"The recommended run was trained with {seeds}. {kept}; the general loss ends {change(rise)} from its start, "
        f"{change(verified['tolerance'])} was allowed."
    )
    caption = "Nats/token; means over seeds, and the standard deviation between them"
    return section("check", "Measured check", paragraph(told), table(caption, columns, rows))


def on_the_way(found: Found, figures: dict[str, Any]) -> Safe:
    """Losses along the longest forks."""
    drawn = way_figures(found.rows)
    figures["way"] = [figure for _, figure in drawn]
    caption = (
        "Losses while the longest forks are trained; a dot is the end, where the rate has fallen to 0. On the way the "
        "rate is high and losses are above those of a run that ends there."
    )
    return section("way", "On the way", chart("way", caption, choices=[name for name, _ in drawn]))


def noise(found: Found) -> Safe:
    told = found.answer["noise"]
    if not told:
        text = "No fork was trained twice, so run-to-run noise is unknown: set design.repeats."
    else:
        text = (
            f"{counted(told['runs'], 'run')} of {amount(told['params'])} parameters, {amount(told['tokens'])} tokens "
            f"and {told_share(1 - told['share'])} general text, on different seeds, differ by {loss(told['domain'])} "
            f"in the domain loss and {loss(told['general'])} in the general loss (standard deviations)."
        )
    return section("noise", "Noise", paragraph(text))


def forks_table(found: Found) -> Safe:
    """Every fork's end, smallest model first."""
    names = ("Parameters", "Tokens", "General text", "Seed", "Domain loss", "General loss", "Change")
    columns = [Column("Run", numeric=False), Column("Role", numeric=False), *map(Column, names)]
    start = {row["params"]: row["general_loss"] for row in found.rows if row["point"] == "start"}
    shown = sorted(found.ends, key=lambda row: (row["params"], row["tokens"], row["share"], row["seed"]))
    body = [
        (
            str(row["run_id"]),
            str(row["role"]) + (f" (left out: {row['reason']})" if row["diverged"] else ""),
            amount(row["params"]),
            amount(row["tokens"]),
            told_share(1 - row["share"]),
            str(row["seed"]),
            loss(row["domain_loss"]),
            loss(row["general_loss"]),
            change(row["general_loss"] / start[row["params"]] - 1)
            if known(row["general_loss"]) and row["params"] in start
            else "",
        )
        for row in shown[:LISTED]
    ]
    more = f" The table shows {LISTED} of them; all are in runs.csv." if len(shown) > LISTED else ""
    told = paragraph(f"{counted(len(shown), 'fork')}, with losses at their ends.{more}")
    return section("runs", "The forks", told, table("Measured losses, nats/token", columns, body))


# The page of a plan of continued pretraining, and its pieces: the front, curves over shares and tokens, the tables.


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
