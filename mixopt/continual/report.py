"""Report of continued pretraining: the answer, the Pareto front, loss curves, predictors and the trained runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mixopt.continual import summary
from mixopt.continual.design import CONTINUATION
from mixopt.continual.figures import front_figure, share_figure, token_figure, training_figures
from mixopt.continual.results import LOSSES, Plan, Recommendation, Verification
from mixopt.continual.runs import END, START, ContinuationTable
from mixopt.continual.summary import change_text, share_text
from mixopt.formatting import count_text, counted, listed, loss
from mixopt.report.document import Document, Figure, Paragraph, Section, Table, columns
from mixopt.report.sections import corpora, reproduce
from mixopt.runs.table import read_table
from mixopt.serialization import read_json
from mixopt.study.layout import Folder
from mixopt.study.loading import read_text

MAX_ROWS = 120  # continuations in the table
ROLES = {CONTINUATION: "continuation"}  # where a role's name in files isn't the field's


def plan_document(plan: Plan, more: Sequence[Section] = ()) -> Document:
    """The answer with its evidence, then `more`; the terminal shows what is brief."""
    tables = [
        ("sizes", "Trained sizes", summary.sizes_table(plan) if plan.sizes else None),
        ("predictors", "Predictors", summary.predictors_table(plan.losses)),
        ("published", "Published shares", summary.published_table(plan) if plan.published else None),
    ]
    caption = (
        "Domain loss against the change of the general loss: point at the line to read the mixture. No planned run is "
        "predicted below and left of it (trained ones of other sizes and lengths may lie there); dotted, it is outside "
        "what was trained. Vertical lines: no change, and the tolerance."
    )
    front = [Figure("front", caption, [front_figure(plan)]), summary.front_table(plan)]
    return Document(
        title=f"{plan.name}: how much general text to keep",
        headline=summary.headline(plan),
        summary=summary.sentences(plan),
        scope=summary.scope(plan),
        warnings=summary.warnings(plan),
        sections=[
            Section("choices", "Choices", [summary.choices_table(plan)], "Choices", brief=True),
            Section("front", "Pareto front", front, "Pareto front", brief=True),
            *_curves(plan),
            *(Section(key, name, [table], name, brief=True) for key, name, table in tables if table),
            *more,
        ],
    )


def _curves(plan: Plan) -> list[Section]:
    over_shares = (
        f"Predicted losses with {plan.level:.0%} intervals, and the trained checkpoints nearest in length. Shaded: "
        "shares that were not trained."
    )
    over_tokens = (
        "Predicted losses at the recommended share (thick, with its interval) and at trained ones, with their "
        "checkpoints. Shaded: longer than any run."
    )
    figures = [("shares", "Losses over the domain's share", over_shares, share_figure)]
    if plan.curves.tokens:
        figures.append(("tokens", "Losses over tokens", over_tokens, token_figure))
    choices = [f"{of} loss" for of in LOSSES]
    return [
        Section(key, title, [Figure(key, caption, [figure(plan, of) for of in LOSSES], choices)], title)
        for key, title, caption, figure in figures
    ]


def study_document(folder: Folder) -> Document:
    """The answer and all evidence of a finished study. Raises MixoptError when a file is missing or not whole."""
    answer = Recommendation.read(folder.recommendation, made_by="run")
    table = ContinuationTable(read_table(folder.root), answer.texts["domain"], answer.texts["general"])
    prepared = read_json(folder.corpora, made_by="prepare") if folder.corpora.is_file() else None
    text = read_text(folder.study)
    again = reproduce(
        command="mixopt run study.yaml", versions={"mixopt": answer.mixopt}, study=text, answer=answer.stamp
    )
    sections = [*_check(answer, folder), _training(table), _noise(answer), _runs(table), corpora(prepared), again]
    document = plan_document(answer, sections)
    domain, general = (
        listed([f"{100 * w:.3g}% {name}" if len(weights) > 1 else name for name, w in weights.items()])
        for weights in (answer.texts["domain"], answer.texts["general"])
    )
    sets = f"The domain loss is on {domain}, the general loss on {general}."
    return replace(document, scope=f"{sets} {document.scope}")


def _check(answer: Recommendation, folder: Folder) -> list[Section]:
    """The recommended run as trained by `mixopt verify`, where this one was."""
    if not folder.verification.is_file():
        return []
    verified = Verification.read(folder.verification, made_by="verify")
    if verified.of != answer.stamp:
        return []  # of an earlier recommendation
    blocks = [Paragraph(summary.check_text(verified)), summary.check_table(verified)]
    return [Section("check", "Measured check", blocks, "Measured check")]


def _training(table: ContinuationTable) -> Section:
    figures = training_figures(table)
    caption = (
        "Losses during the longest continuations; a dot is the end, where the learning rate has decayed to 0. Before "
        "it losses are above those of a run that ends there."
    )
    figure = Figure("training", caption, [plot for _, plot in figures], [name for name, _ in figures])
    return Section("training", "Losses during training", [figure], "Training")


def _noise(answer: Recommendation) -> Section:
    noise = answer.noise
    if noise is None:
        text = "No continuation was trained twice, so run-to-run noise is unknown: set design.repeats."
    else:
        text = (
            f"{counted(noise.runs, 'run')} of {count_text(noise.params)} parameters, {count_text(noise.tokens)} tokens "
            f"and {share_text(1 - noise.share)} general text, on different seeds, differ by {loss(noise.domain)} in "
            f"the domain loss and {loss(noise.general)} in the general loss (standard deviations)."
        )
    return Section("noise", "Noise", [Paragraph(text)], "Noise")


def _runs(table: ContinuationTable) -> Section:
    """Every continuation's end, smallest model first."""
    frame = table.frame
    first = frame.loc[frame["point"] == START].drop_duplicates("params")
    start = dict(zip(first["params"], first["general_loss"], strict=True))
    ends = frame.loc[frame["point"] == END].sort_values(["params", "tokens", "share", "seed"], kind="stable")
    rows = [
        (
            row["run_id"],
            ROLES.get(row["role"], str(row["role"])) + (f" (left out: {row['reason']})" if row["diverged"] else ""),
            count_text(row["params"]),
            count_text(row["tokens"]),
            share_text(1 - row["share"]),
            str(row["seed"]),
            loss(row["domain_loss"]),
            loss(row["general_loss"]),
            change_text(row["general_loss"] / start[row["params"]] - 1) if row["params"] in start else "",
        )
        for row in ends.head(MAX_ROWS).to_dict("records")
    ]
    names = ("Parameters", "Tokens", "General text", "Seed", "Domain loss", "General loss", "Change")
    more = f" The table shows {MAX_ROWS} of them; all are in runs.csv." if len(ends) > MAX_ROWS else ""
    losses = Table("Measured losses, nats/token", columns("Run", "Role", *names, text=["Role"]), rows)
    text = f"{counted(len(ends), 'continuation')}, with losses at their ends.{more}"
    return Section("runs", "Runs", [Paragraph(text), losses], "Runs")
