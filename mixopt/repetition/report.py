"""The page of a study of repetition: the answer, the return curves, the best epochs, and how far to trust them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError
from mixopt.formatting import UNKNOWN, amount, known, listed, loss, passes
from mixopt.plan import figures as plan_figures
from mixopt.repetition import figures
from mixopt.repetition import summary as words
from mixopt.report.document import Board
from mixopt.report.html import Column, Safe, chart, details, join, page, paragraph, section, table, tag
from mixopt.report.sections import corpora_section, reproduce_section, rows_of
from mixopt.serialization import read_json
from mixopt.study.layout import Folder

if TYPE_CHECKING:
    pass

LISTED = 120  # runs in the table
CONTENTS = (
    ("best", "Best epochs"),
    ("returns", "Return curves"),
    ("answer", "The answer"),
    ("isoloss", "Isoloss"),
    ("r-star", "R*"),
    ("trust", "Trust"),
    ("noise", "Noise"),
    ("runs", "Runs"),
    ("corpora", "Corpora"),
    ("again", "Doing it again"),
)


@dataclass(frozen=True)
class Found:
    """The files of a finished study of repetition."""

    answer: Mapping[str, Any]  # recommendation.json
    fit: Mapping[str, Any]  # fits/repetition.json
    cells: Sequence[Mapping[str, Any]]  # runs.parquet, a row a run
    corpora: Mapping[str, Any] | None
    text: str  # the study file

    @property
    def arms(self) -> Sequence[Mapping[str, Any]]:
        return self.fit["arms"]

    @property
    def chosen(self) -> Mapping[str, Any]:
        """What the answer's own ladder says of the question."""
        return words.chosen_arm(self.answer)["plan"]

    def of(self, arm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The runs of one weight decay that didn't diverge."""
        return [c for c in self.cells if c["weight_decay"] == arm["weight_decay"] and known(c["target"])]


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
        fit=read_json(folder.fits / "repetition.json", made_by="run"),
        cells=rows_of(pandas.read_parquet(runs)),
        corpora=read_json(folder.corpora, made_by="prepare") if folder.corpora.is_file() else None,
        text=folder.study.read_text(encoding="utf-8"),
    )
    return render_repetition(found)


def render_repetition(found: Found) -> str:
    """One self-contained HTML page; equal studies give equal pages."""
    drawn: dict[str, list[Any]] = {}
    parts = [
        tag("header", headline(found)),
        limits(found),
        tag("nav", join((tag("a", title, href=f"#{key}") for key, title in CONTENTS), " "), aria_label="Contents"),
        best(found),
        returns(found, drawn),
        answered(found, drawn),
        isoloss(found, drawn),
        r_star(found, drawn),
        trust(found, drawn),
        noise(found),
        runs_table(found),
        corpora_section(found.corpora),
        reproduce_section(found.answer, found.text),
    ]
    return page(f"{found.answer['study']}: repetition", join(parts), drawn)


def headline(found: Found) -> Safe:
    first, *more = words.sentences(found.answer)[:3]
    scale = found.answer["scale"]
    sizes, tokens = (f"{amount(scale[k][0])} to {amount(scale[k][1])}" for k in ("params", "tokens"))
    weights = found.answer["target"]["weights"]
    texts = listed([f"{100 * w:.3g}% {name}" if len(weights) > 1 else name for name, w in weights.items()])
    scope = (
        f"Losses are on {texts}, for models of {sizes} non-embedding parameters and runs of {tokens} tokens; beyond "
        "those everything is predicted. Training is counted as 6 N D FLOPs."
    )
    return tag(
        "section",
        tag("h1", f"Repetition: {found.answer['study']}"),
        paragraph(first, class_="headline"),
        *(paragraph(sentence, class_="prediction") for sentence in more),
        paragraph(scope, class_="scope"),
        id="recommendation",
    )


def limits(found: Found) -> Safe:
    told = found.answer["warnings"]
    if not told:
        return section("warnings", "Warnings", paragraph("None."))
    listing = tag("ul", *(tag("li", text) for text in told))
    title = tag("h2", "Warnings", id="warnings-title")
    return tag("section", title, listing, id="warnings", class_="warnings", aria_labelledby="warnings-title")


def board(said: Board) -> Safe:
    columns = [Column(said.first, numeric=False), *(Column(heading) for heading in said.headings)]
    drawn = table(said.title, columns, said.rows, marked=said.marked)
    return join((drawn, paragraph(said.note, class_="note"))) if said.note else drawn


def best(found: Found) -> Safe:
    return section("best", "How many epochs were best", board(words.best_board(found.answer)))


def returns(found: Found, drawn: dict[str, list[Any]]) -> Safe:
    """Loss against epochs for every size and weight decay; the size whose curves rise most is shown first."""
    choices = [(arm, params) for arm in found.arms for params in sorted({c["params"] for c in arm["curves"]})]
    top = max(c["epochs"] for c in found.cells)
    choices.sort(key=lambda one: -risen(one[0], one[1]))
    drawn["returns"] = [figures.return_curves(arm, found.of(arm), params, top) for arm, params in choices]
    names = [f"{amount(params)} parameters, {words.decay_of(arm)}" for arm, params in choices]
    caption = (
        "Points are runs, open ones repeats on other seeds and other text; lines are the fitted law, dotted beyond the "
        f"longest cell of a curve, with {found.answer['level']:.0%} bands over refits. Where a line turns up, another "
        "epoch harms."
    )
    return section("returns", "Loss against epochs", chart("returns", caption, choices=names))


def risen(arm: Mapping[str, Any], params: float) -> float:
    return max(c["measured_last"] - c["measured_least"] for c in arm["curves"] if c["params"] == params)


def answered(found: Found, drawn: dict[str, list[Any]]) -> Safe:
    """What `mixopt plan epochs` says of the question by this study's laws."""
    from mixopt.plan.summary import epochs_boards

    plan, decay = found.chosen, words.decay_of(words.chosen_arm(found.answer))
    drawn["plan-compute"], drawn["plan-margin"] = plan_figures.of_compute(plan), plan_figures.of_margin(plan)
    drawn["plan-model"] = [plan_figures.of_model(plan)]
    first, *rest = epochs_boards(plan)
    told = f"The run that was asked for, by the laws fitted at {decay}; its tables as `mixopt plan epochs` gives them."
    return section(
        "answer",
        "The run that was asked for",
        paragraph(told),
        chart("plan-model", "Loss of the answer's model as it repeats its text, beside text that is all new."),
        chart(
            "plan-margin",
            "What repeating is worth to it, epoch by epoch.",
            choices=["a repeated token, in new ones", "loss that the next epoch takes off"],
        ),
        chart(
            "plan-compute",
            "Equal compute: fewer epochs leave more for parameters. A ring marks where each form has its best.",
            choices=["above each form's own best", "as predicted"],
        ),
        *(board(one) for one in rest),
        details("What each form of the law says", board(first)),
    )


def isoloss(found: Found, drawn: dict[str, list[Any]]) -> Safe:
    choices = [(arm, grid) for arm in found.arms for grid in arm["contours"]]
    drawn["isoloss"] = [figures.isoloss(grid, found.of(arm)) for arm, grid in choices]
    names = [f"{amount(grid['unique'])} unique tokens, {words.decay_of(arm)}" for arm, grid in choices]
    caption = (
        "Fitted loss, nats/token: along a line it is the same. The dashed line is the best number of epochs of each "
        "size; circles are trained cells. Above and below the outermost ones sizes are extrapolated."
    )
    return section("isoloss", "Equal loss over parameters and epochs", chart("isoloss", caption, choices=names))


def r_star(found: Found, drawn: dict[str, list[Any]]) -> Safe:
    """R* of every form that has one, with its profile."""
    from scipy.stats import chi2

    critical = float(chi2.ppf(found.answer["level"], 1))
    figure = figures.r_star_profile(found.arms, critical)
    meaning = paragraph(
        "R* says how many repeats it takes until text is worth 1/e: U unique tokens seen E times count for "
        "U (1 + R* (1 − e^(−(E−1)/R*))). Forms that let repetition harm have a penalty besides, so their R* alone "
        "doesn't tell how many epochs are best."
    )
    rows = [
        (
            row["form"],
            f"{arm['weight_decay']:g}",
            f"{row['weight']:.0%}",
            passes(row["value"]),
            passes(row["low"]) if known(row["low"]) else "no lower end",
            passes(row["high"]) if known(row["high"]) else "no upper end",
        )
        for arm in found.arms
        for row in arm["r_star"]
    ]
    names = ("Weight decay", "Weight in the average", "R*", "From", "To")
    listing = table(
        f"R* by form, with {found.answer['level']:.0%} profile intervals",
        [Column("Form", numeric=False), *map(Column, names)],
        rows,
    )
    if figure is None:
        return section("r-star", "How long text stays worth repeating", meaning, listing)
    drawn["r-star"] = [figure]
    caption = (
        "Each R* with all other parameters fitted again. Below the dashed line the runs don't rule it out: a curve "
        "that stays below it has no end on that side."
    )
    return section("r-star", "How long text stays worth repeating", meaning, chart("r-star", caption), listing)


def trust(found: Found, drawn: dict[str, list[Any]]) -> Safe:
    """Held-out errors of every form, and the picture of the average's."""
    sd = max((row["sd"] for row in found.fit["noise"]), default=None)
    drawn["held-out"] = [figures.held_out(arm, arm["scores"][0]["form"], None) for arm in found.arms]
    caption = "Each point is a cell that the average of forms had not seen. On the dashed line the prediction is exact."
    names = [words.decay_of(arm) for arm in found.arms]
    told = f" Runs of one cell differ by up to {loss(sd)} (standard deviation)." if known(sd) else ""
    return section(
        "trust",
        "Predicted against measured",
        paragraph(f"Every form was fitted without some cells and judged on them.{told}"),
        chart("held-out", caption, choices=names),
        *(board(words.score_board(found.fit, arm)) for arm in found.arms),
    )


def noise(found: Found) -> Safe:
    if not found.fit["noise"]:
        told = "No cell was trained twice, so run-to-run noise is unknown."
        return section("noise", "Noise", paragraph(told))
    return section("noise", "Noise", board(words.noise_board(found.fit)))


def runs_table(found: Found) -> Safe:
    """Every run, lowest loss first."""
    shown = sorted(found.cells, key=lambda c: (not known(c["target"]), c["target"] or 0.0))
    texts = [str(key) for key in (found.cells[0] if found.cells else {}) if str(key).startswith("loss/")]
    names = ("Parameters", "Unique", "Epochs", "Tokens", "Weight decay", "Seed", "Loss")
    columns = [Column("Run", numeric=False), Column("Role", numeric=False), *map(Column, names)]
    columns += [Column(text.removeprefix("loss/")) for text in texts] if len(texts) > 1 else []
    body = [
        (
            str(c["run_id"]),
            str(c["role"]) + (f" (left out: {c['reason']})" if c["diverged"] else ""),
            amount(c["params"]),
            amount(c["unique"]),
            words.whole(c["epochs"]),
            amount(c["tokens"]),
            f"{c['weight_decay']:g}",
            str(c["seed"]),
            loss(c["target"]) if known(c["target"]) else UNKNOWN,
            *([loss(c[text]) for text in texts] if len(texts) > 1 else []),
        )
        for c in shown[:LISTED]
    ]
    more = f" The table shows the best {LISTED}; all are in runs.csv." if len(shown) > LISTED else ""
    listing = table("Measured losses, nats/token", columns, body, marked=0)
    return section("runs", "The runs", paragraph(f"{len(shown)} runs.{more}"), listing)
