"""The report of a mixture study, and of one fit to a table of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.formatting import (
    UNKNOWN,
    count_text,
    counted,
    known,
    listed,
    loss,
    mixture,
    percent,
    scale,
)
from mixopt.mixture import figures
from mixopt.mixture.evidence import (
    accuracy_section,
    by_validation_set_section,
    effects_section,
    epochs_section,
    noise_section,
)
from mixopt.mixture.full_run import full_section
from mixopt.mixture.marginal_value import marginal_value_section
from mixopt.mixture.results import (
    LeftOut,
    Recommendation,
    SearchResult,
    Selection,
    Verification,
)
from mixopt.mixture.runs import Results, Run, read_runs
from mixopt.mixture.summary import (
    loss_table,
    recommendation_document,
    recommendation_sentences,
    reproduce_section,
    shares_table,
    verification_blocks,
)
from mixopt.report.document import (
    Bar,
    Bars,
    Block,
    Column,
    Document,
    Figure,
    Listing,
    Paragraph,
    Section,
    Table,
    Warning,
    in_unit,
)
from mixopt.report.sections import corpora, reproduce
from mixopt.runs.table import read_table
from mixopt.search.certificate import certificate_text
from mixopt.serialization import Json, read_json
from mixopt.study.jobs import LARGER, REPEAT, REPETITION, SHORTER
from mixopt.study.layout import Folder
from mixopt.study.loading import read_text

if TYPE_CHECKING:
    import pandas

TABLE_PLACE = "the scale of the runs"
MAX_RUNS = 60  # in the table
ROLES = {
    REPEAT: "repeating a mixture",
    REPETITION: "of other pools",
    SHORTER: "of fewer tokens",
    LARGER: "of larger models",
    "": "left out",
}
MAX_VALIDATION_SETS = 8  # with a column of their own


def read_report(folder: Path) -> Document:
    """The report of a study folder. Raises MixoptError when a file it needs is missing or can't be read;
    shards/corpora.json and verify.json may be absent.
    """
    files = Folder(folder)
    found = Recommendation.read(files.recommendation, made_by="run")
    verified = Verification.read(files.verification, made_by="verify") if files.verification.is_file() else None
    return study_report(
        found,
        Selection.read(files.selection, made_by="run"),
        read_table(folder),
        prepared=read_json(files.corpora, made_by="run") if files.corpora.is_file() else None,
        study_text=read_text(files.study),
        verified=verified if verified and verified.of == found.stamp else None,  # not of an earlier recommendation
    )


def study_report(
    found: Recommendation,
    selection: Selection,
    runs: pandas.DataFrame,
    *,
    prepared: Json | None,
    study_text: str,
    verified: Verification | None = None,
) -> Document:
    """The answer and all its evidence; equal inputs give equal documents.

    runs: the run table. prepared: the content of shards/corpora.json, None when the study was given finished runs.
    study_text: the study file. Losses are in nats/token at proxy scale; the report names parts that are absent.
    """
    results = Results(found, selection, read_runs(runs, found.target.weights, selection), verified)
    sections = [
        full_section(found),
        _mixture(results),
        _check(results),
        *_evidence(results, epochs_section(found), marginal_value_section(found.shadow_prices, selection.repetition)),
        corpora(prepared),
        reproduce(
            command="mixopt run study.yaml",
            versions={"mixopt": found.mixopt},
            seed=found.seed,
            proxy=scale(found.proxy.to_json()),
            study=study_text,
            answer=found.stamp,
        ),
    ]
    return in_unit(_document(results, _scope(found), [section for section in sections if section]), found.target.unit)


def fit_report(record: Json, runs: pandas.DataFrame) -> Document:
    """One fit to a table of runs: no pools and no full run are known, only shares and losses.

    record: of a fit, as `stored.record_of` gives it. The terminal shows its brief sections.
    """
    evidence, made = record["evidence"], record["made"]
    found = Recommendation.from_json(evidence["recommendation"])
    selection = Selection.from_json(evidence["selection"])
    results = Results(found, selection, read_runs(runs, found.target.weights, selection), place=TABLE_PLACE)
    size = scale(found.proxy.to_json())
    scope = f"Losses are at the scale of the runs{f', {size}' if size else ''}; the loss of a larger run is not "
    sections = [_mixture(results, brief=True), *_evidence(results, brief=True), reproduce_section(made)]
    document = _document(results, scope + "predicted.", [section for section in sections if section])
    return in_unit(replace(document, title=f"Fit to {found.study}: {found.predictor}"), found.target.unit)


def _document(results: Results, scope: str, sections: Sequence[Section]) -> Document:
    found, selection = results.recommendation, results.selection
    limitations = found.limitations
    gone = selection.left_out or [LeftOut(run.run_id, run.left_out) for run in results.runs if run.left_out]
    if gone:
        names = [f"{row.run_id} ({row.reason})" for row in gone]
        names = listed(names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"])
        text = f"{counted(len(gone), 'run')} left out of every fit: {names}."
        limitations = [*[one for one in limitations if one.code != "runs-left-out"], Warning("runs-left-out", text)]
    sentences = recommendation_sentences(found, place=results.place, noise=selection.noise_of().sd)
    return replace(
        recommendation_document(found), summary=sentences, scope=scope, warnings=limitations, sections=sections
    )


def _scope(found: Recommendation) -> str:
    """What the numbers are about: full-scale tokens and epochs, proxy-scale losses."""
    full, proxy = scale(found.full.to_json()), scale(found.proxy.to_json())
    planned = "The study names no full run, so tokens and epochs can't be given."
    if full:
        planned = f"Shares, tokens and epochs are meant for a full run of {full}."
        tokens = known(found.full.tokens)
        planned += "" if tokens else " Its tokens are not given, so tokens and epochs per domain are unknown."
    of = f"proxies of {proxy}" if proxy else "the proxy runs"
    if found.full.predicted:
        return f"{planned} Losses are of that run where the report says so, else of {of}, the smallest rung."
    unknown = f"Every loss in this report is for {of}; the loss of the full run is not predicted"
    ladder = (
        "" if not proxy else "; larger proxies (ladder: in the study file) would show how the answer changes with size"
    )
    return f"{planned} {unknown}{ladder}."


# The mixture


def _mixture(results: Results, *, brief: bool = False) -> Section:
    found = results.recommendation
    if not found.domains:
        return Section("mixture", "The mixture", [Paragraph("The recommendation names no domain.")], "Mixture")
    thin, label = ("natural", "natural") if found.shares("natural") else ("best_measured", "run")
    bars = [
        Bar(
            row.domain,
            row.recommended or 0.0,
            percent(row.recommended),
            second=other if known(other := getattr(row, thin)) else None,
            mark=row.uniform if known(row.uniform) else None,
            aside=f"{label} {percent(other)}",
        )
        for row in found.ranked
    ]
    caption = "Share of training tokens."
    caption += " Natural is each domain's share of the available text." if label == "natural" else ""
    key = ("recommended", "natural" if label == "natural" else "best measured run", "uniform")
    measured = {name: results.measured(name) for name in ("natural", "uniform")}
    measured["recommended"] = _checked(results)
    blocks = [Bars(bars, caption, key), shares_table(found), loss_table(found, place=results.place, measured=measured)]
    return Section("mixture", "The mixture", blocks, "Mixture", brief=brief)


def _checked(results: Results) -> list[float]:
    """Losses of the trained recommendation, where it was trained at the proxies' own size."""
    proxy, sizes = results.recommendation.proxy, results.verified.sizes if results.verified else []
    alike = [size for size in sizes if (size.params, size.tokens) == (proxy.params, proxy.tokens)]
    return [value for size in alike for value in size.arms.get("recommended", []) if known(value)]


def _check(results: Results) -> Section | None:
    verified = results.verified
    if verified is None or not any(size.arms for size in verified.sizes):
        return None
    note = (
        "These runs were trained after the recommendation was made and were not used in any fit. Predicted "
        "differences are at proxy scale."
    )
    plots = [(scale({"params": size.params, "tokens": size.tokens}) or "unnamed size", plot)
             for size in verified.sizes if (plot := figures.trained(size))]  # fmt: skip
    blocks: list[Block] = [Listing(verified.conclusions)]
    if plots:
        choices, drawn = zip(*plots, strict=True)
        blocks.append(Figure("check", "One dot a run; left is better.", drawn, choices))
    blocks += [*verification_blocks(verified, results.recommendation), Paragraph(note, "note")]
    return Section("check", "Measured check", blocks, "Measured check")


def _evidence(results: Results, *more: Section | None, brief: bool = False) -> list[Section | None]:
    """Sections on the accuracy of the predictor. more: sections after what the domains do."""
    return [
        accuracy_section(results, brief=brief),
        effects_section(results),
        *more,
        noise_section(results),
        by_validation_set_section(results),
        _runs(results),
        _search(results),
    ]


# What was done


def _runs(results: Results) -> Section:
    """Every run's mixture and loss."""
    runs, found = results.runs, results.recommendation
    if not runs:
        return Section("runs", "The runs", [Paragraph("The study has no finished runs.")], "Runs")
    roles = Counter(ROLES.get("" if run.left_out else run.role, "fitted and compared") for run in runs)
    text = f"{counted(len(runs), 'run')}: {listed([f'{count} {role}' for role, count in roles.items()])}."
    best = found.predicted.best_measured
    if best and known(best.measured):  # as above: repeats of a mixture are averaged
        text += f" The best mixture, {best.run_id}, measured {loss(best.measured)} nats/token at {results.place}"
        text += f" with {mixture(found.shares('best_measured'))}."
        others = [run for run in runs if run.comparable and known(run.target) and run.target < best.measured - 1e-9]
        lower = listed([run.run_id for run in others[:3]])
        text += f" Lower single runs ({lower}) repeat a mixture, or are outside the limits." if lower else ""
    if not all(run.comparable or run.left_out for run in runs):
        text += " Losses at other pools, lengths and sizes are not comparable with the others and stand last."
    text += f" The table shows {MAX_RUNS} of them." if len(runs) > MAX_RUNS else ""
    blocks: list[Block] = [Paragraph(text)]
    domains = [row.domain for row in found.ranked] or sorted({domain for run in runs for domain in run.shares})
    if plot := figures.heat_strip(runs, domains):
        caption = (
            f"Above, measured target loss at {results.place} of the runs that can be compared, best on the left "
            f"(orange); below, each one's share of each domain, white for none to dark blue for "
            f"{percent(figures.darkest(runs))} and more."
        )
        blocks.append(Figure("runs", caption, [plot]))
    return Section("runs", "The runs", [*blocks, _run_table_of(runs[:MAX_RUNS], results)], "Runs")


def _run_table_of(runs: Sequence[Run], results: Results) -> Table:
    weights = results.recommendation.target.weights
    sets = sorted({text for run in runs for text in run.losses}, key=lambda text: (-weights.get(text, 0.0), text))
    sets = sets[:MAX_VALIDATION_SETS]
    sized = len({(run.params, run.tokens) for run in runs}) > 1
    columns = [Column("Run", numeric=False), Column("Role", numeric=False), Column("Seed")]
    columns += [Column("Parameters"), Column("Tokens")] if sized else []
    columns += [Column("Target loss", strong=True), *map(Column, sets), Column("Mixture", numeric=False, wide=True)]
    rows = [
        (
            run.run_id,
            f"{run.role} (left out: {run.left_out})".strip() if run.left_out else run.role or UNKNOWN,
            run.seed or UNKNOWN,
            *((count_text(run.params), count_text(run.tokens)) if sized else ()),
            loss(run.target),
            *(loss(run.losses.get(text)) for text in sets),
            mixture(run.shares, named=3),
        )
        for run in runs
    ]
    title = f"Measured losses, nats/token, at {results.place}"
    return Table(title, columns, rows, marked=0).without_empty_columns()


def _search(results: Results) -> Section:
    """How the mixture was found and how far it is from what was trained."""
    found = results.recommendation.search
    sentences = ["The recommendation does not record how it was found."]
    if found:
        certificate = certificate_text(found.certificate, found.agreeing_starts, found.starts)
        sentences = [_trials(found, results.place), certificate, _nearness(found)]
    return Section("search", "The search", [Paragraph(text) for text in sentences if text], "Search")


def _trials(found: SearchResult, place: str) -> str:
    text = ""
    if known(found.trials):
        text = f"{counted(int(found.trials), 'mixture')} tried" + (f" with {found.sampler}" if found.sampler else "")
        text += f", {found.seeded} of them seeded with known mixtures" if known(found.seeded) else ""
        best = f"; the best was predicted at {loss(found.found, 4)} nats/token at {place}"
        text += f"{best if known(found.found) else ''}. "
    if known(found.polished):
        gain = f", a gain of {found.polish_gain:.2g}" if known(found.polish_gain) else ""
        text += f"A local search from the best mixtures ended at {loss(found.polished, 4)} nats/token{gain}."
    return text.strip()


def _nearness(found: SearchResult) -> str:
    text = {
        None: "",
        True: "The mixture lies inside the convex hull of the trained ones: the prediction interpolates.",
        False: "The mixture lies outside the convex hull of the trained ones: the prediction extrapolates, so train "
        "the mixture before relying on it.",
    }[found.inside_hull]
    near = found.nearest_run
    if near and known(near.distance):
        text += f" The nearest trained mixture is run {near.run_id}, at a distance of {near.distance:.2g}."
    return text.strip()
