"""Report of a repetition study: return curves, the planned run, isoloss contours, R*, cross-validation and the runs."""

from __future__ import annotations

from dataclasses import replace

from mixopt.formatting import UNKNOWN, count_text, epochs_text, known, listed, loss, percent
from mixopt.plan.report import epochs_sections
from mixopt.repetition import figures
from mixopt.repetition.design import LADDER
from mixopt.repetition.fit import GroupFit, RepetitionFit
from mixopt.repetition.recommend import Recommendation
from mixopt.repetition.runs import Frame, LadderRuns
from mixopt.repetition.summary import decay_text, document, epochs, noise_section, scores_section
from mixopt.report.document import Block, Document, Figure, Folded, Paragraph, Section, Table, columns
from mixopt.report.sections import corpora, reproduce
from mixopt.runs.table import read_table
from mixopt.serialization import read_json
from mixopt.study.layout import Folder
from mixopt.study.loading import read_text

MAX_ROWS = 120  # runs in the table


def read_report(folder: Folder) -> Document:
    """The report of a finished study's folder. Raises MixoptError when a file is missing or of other content."""
    found = Recommendation.read(folder.recommendation, made_by="recommend")
    fit = RepetitionFit.read(folder.fits / "repetition.json", made_by="fit")
    measured = LadderRuns(read_table(folder.root), found.target.weights)
    prepared = read_json(folder.corpora, made_by="prepare") if folder.corpora.is_file() else None
    text = read_text(folder.study)
    again = reproduce(
        command="mixopt run study.yaml", versions={"mixopt": found.mixopt}, study=text, answer=found.stamp
    )
    return report(found, fit, measured, [corpora(prepared), again])


def report(found: Recommendation, fit: RepetitionFit, measured: LadderRuns, shared: list[Section]) -> Document:
    """The whole document. shared: the sections that studies of all kinds end with."""
    answer = document(found)
    sections = [
        *answer.sections,
        returns_section(fit, measured),
        answer_section(found),
        isoloss_section(fit, measured),
        r_star_section(fit),
        scores_section(fit),
        noise_section(fit.noise),
        runs_section(measured.frame),
    ]
    return replace(answer, scope=scope(found), sections=[*sections, *shared])


def scope(found: Recommendation) -> str:
    """What the numbers are about."""
    sizes, tokens = (" to ".join(count_text(end) for end in found.scale[key]) for key in ("params", "tokens"))
    weights = found.target.weights
    sets = listed([f"{percent(w)} {name}" if len(weights) > 1 else name for name, w in weights.items()])
    return (
        f"Losses are on {sets}, for models of {sizes} non-embedding parameters and runs of {tokens} tokens; beyond "
        "those everything is extrapolated. Training is counted as 6 N D FLOPs."
    )


def of_group(measured: LadderRuns, group: GroupFit) -> Frame:
    """The runs of one weight decay that didn't diverge, repeats among them."""
    kept = measured.kept
    return kept[kept["weight_decay"] == group.weight_decay]


def returns_section(fit: RepetitionFit, measured: LadderRuns) -> Section:
    """Loss against epochs for every size and weight decay; the size whose curves rise most is shown first."""

    def rise(group: GroupFit, params: float) -> float:
        return max(curve.rise for curve in group.curves if curve.params == params)

    choices = [(group, params) for group in fit.arms for params in sorted({curve.params for curve in group.curves})]
    choices.sort(key=lambda one: -rise(*one))
    top = float(measured.frame["epochs"].max())
    plots = [figures.return_curves(group, of_group(measured, group), params, top) for group, params in choices]
    names = [f"{count_text(params)} parameters, {decay_text(group.weight_decay)}" for group, params in choices]
    caption = (
        "Points are runs, open ones repeats on other seeds and other text; lines are the fitted law, dotted beyond the "
        f"longest run of a curve, with {fit.level:.0%} bands over refits. Where a line turns up, another epoch hurts."
    )
    figure = Figure("returns", caption, plots, names)
    return Section("returns", "Loss against epochs", [figure], "Return curves")


def answer_section(found: Recommendation) -> Section:
    """What `mixopt plan epochs` answers to the question by this study's laws."""
    forms, *others = epochs_sections(found.recommended.plan)
    decay = decay_text(found.recommended.weight_decay)
    text = f"The answer by the laws fitted at {decay}, in the tables and figures of `mixopt plan epochs`."
    blocks: list[Block] = [Paragraph(text), *(block for section in others for block in section.blocks)]
    blocks.append(Folded("Answer of each form of the law", forms.blocks))
    return Section("answer", "The planned run", blocks, "The answer")


def isoloss_section(fit: RepetitionFit, measured: LadderRuns) -> Section:
    choices = [(group, grid) for group in fit.arms for grid in group.contours]
    plots = [figures.isoloss(grid, of_group(measured, group)) for group, grid in choices]
    names = [f"{count_text(grid.unique)} unique tokens, {decay_text(group.weight_decay)}" for group, grid in choices]
    caption = (
        "Fitted loss, nats/token: along a line it is the same. The dashed line is the best number of epochs of each "
        "size; circles are trained runs. Above and below the outermost ones sizes are extrapolated."
    )
    figure = Figure("isoloss", caption, plots, names)
    return Section("isoloss", "Isoloss contours over parameters and epochs", [figure], "Isoloss")


def r_star_section(fit: RepetitionFit) -> Section:
    """R* of every form that has one, with its profile."""
    from scipy.stats import chi2

    meaning = (
        "After R* repeats a token counts for 1/e of a new one: U unique tokens seen E times count for "
        "U (1 + R* (1 − e^(−(E−1)/R*))). Forms in which repetition can hurt also have a penalty, so their R* alone "
        "doesn't tell how many epochs are best."
    )
    blocks: list[Block] = [Paragraph(meaning)]
    figure = figures.r_star_profiles(fit.arms, critical=float(chi2.ppf(fit.level, 1)))
    if figure is not None:
        caption = (
            "Profile of R*, all other parameters refitted. Below the dashed line the runs don't rule it out: a curve "
            "that stays below it has no end on that side."
        )
        blocks.append(Figure("r-star", caption, [figure]))
    rows = [
        (star.form, f"{group.weight_decay:g}", percent(star.weight), epochs_text(star.value), *star.ends)
        for group in fit.arms
        for star in group.r_star
    ]
    names = ("weight decay", "weight in the average", "R*", "from", "to")
    title = f"R* by form, with {fit.level:.0%} profile intervals"
    blocks.append(Table(title, columns("form", *names), rows))
    return Section("r-star", "How fast the value of repeats decays", blocks, "R*")


def runs_section(frame: Frame) -> Section:
    """Every run, lowest loss first."""
    ranked = frame.sort_values("target", na_position="last", kind="stable")
    sets = [str(key) for key in frame.columns if str(key).startswith("loss/")]
    sets = sets if len(sets) > 1 else []
    names = ["role", "parameters", "unique tokens", "epochs", "tokens", "weight decay", "seed", "loss"]
    headings = columns("run", *names, *(key.removeprefix("loss/") for key in sets), text=["role"])
    rows = [
        (
            str(run["run_id"]),
            ("ladder" if run["role"] == LADDER else str(run["role"]))
            + (f" (left out: {run['reason']})" if run["diverged"] else ""),
            count_text(run["params"]),
            count_text(run["unique"]),
            epochs(run["epochs"]),
            count_text(run["tokens"]),
            f"{run['weight_decay']:g}",
            str(run["seed"]),
            *(loss(run[key]) if known(run[key]) else UNKNOWN for key in ("target", *sets)),
        )
        for run in ranked.head(MAX_ROWS).to_dict("records")
    ]
    more = f" The table shows the best {MAX_ROWS}; all are in runs.csv." if len(ranked) > MAX_ROWS else ""
    table = Table("Measured losses, nats/token", headings, rows, 0)
    return Section("runs", "The runs", [Paragraph(f"{len(ranked)} runs.{more}"), table], "Runs")
