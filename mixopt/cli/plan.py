"""`mixopt plan`: questions that are answered without training anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixopt.cli import options
from mixopt.cli.console import command_line, open_console, print_json, show_paths
from mixopt.cli.outputs import Outputs
from mixopt.errors import MixoptError
from mixopt.formatting import comma_separated, name_and_value
from mixopt.report.document import NATS, in_unit
from mixopt.report.terminal import show
from mixopt.version import __version__, versions

if TYPE_CHECKING:
    from rich.console import Console

    from mixopt.report.document import Document, Section
    from mixopt.runs.scaling import Runs as ScalingRuns
    from mixopt.serialization import Json, Record
    from mixopt.study.progress import Progress

plan = typer.Typer(
    help="Answer without training: how often to repeat text, how large a model for how many tokens, how much general "
    "text to keep.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@dataclass(frozen=True)
class PlanOptions:
    """The form of the law that leads, runs that the forms are fitted to first, and where the answer goes."""

    preset: options.PresetName = None
    runs: options.PlanRuns = None
    columns: options.PlanColumns = None
    where: options.Where = None
    seed: options.Seed = 0
    html: options.Html = None
    force: options.Force = False
    as_json: options.AsJson = False


@plan.command()
@options.grouped_options("shared", PlanOptions)
def epochs(
    shared: PlanOptions,
    unique: options.Unique = None,
    compute: options.Compute = None,
    params: options.ModelParams = None,
    tokens: options.RunTokens = None,
) -> None:
    """The best model size and number of epochs for this many unique tokens; what one more epoch is worth."""
    from mixopt.plan.epochs import plan_epochs
    from mixopt.plan.report import epochs_document

    if unique is None:
        raise MixoptError("--unique is missing: how many unique tokens there are, such as --unique 25B")
    counts = {"unique": unique, "compute": compute, "params": params, "tokens": tokens}
    answer(shared, plan_epochs, epochs_document, counts)


@plan.command()
@options.grouped_options("shared", PlanOptions)
def scale(
    shared: PlanOptions,
    compute: options.Compute = None,
    loss: options.TargetLoss = None,
    inference_tokens: options.InferenceTokens = None,
    unique: options.Unique = None,
) -> None:
    """The best model size and tokens for a budget, or the cheapest for a loss, inference cost included."""
    from mixopt.plan.report import scale_document
    from mixopt.plan.scale import plan_scale

    counts = {"compute": compute, "loss": loss, "inference_tokens": inference_tokens, "unique": unique}
    answer(shared, plan_scale, scale_document, counts)


def answer(
    shared: PlanOptions,
    plan_for: Callable[..., Record],
    document_of: Callable[[Any, Section], Document],
    counts: Mapping[str, str | None],
) -> None:
    """The plan for these counts, shown or written as the options say."""
    console, progress = open_console(shared.as_json)
    outputs = Outputs([shared.runs] if shared.runs else [], force=shared.force)
    outputs.check_page(shared.html)
    table = read_runs(shared.runs, shared.columns, shared.where, progress)
    plan = plan_for(**counts, preset=shared.preset, runs=table, seed=shared.seed, progress=progress)
    made = {"command": command_line(), "versions": {"mixopt": __version__}}
    if table is not None:
        made["files"] = list(table.files)
    document = in_unit(document_of(plan, how_to_reproduce(made)), NATS if table is None else table.unit)
    show_plan(console, plan, made, document, outputs, shared.html, shared.as_json)


def read_runs(
    path: Path | None, columns: str | None, where: list[str] | None, progress: Progress
) -> ScalingRuns | None:
    """The user's own runs, where there are any. Raises MixoptError for options about a table without one."""
    if path is None:
        if columns or where:
            raise MixoptError("--columns and --where are about a table of runs: name it with --runs")
        return None
    from mixopt.runs.scaling import read_plan_runs

    runs = read_plan_runs(path, columns=named_columns(columns), where=where or ())
    for note in runs.notes:
        progress.note(note)
    return runs


def named_columns(text: str | None) -> dict[str, str]:
    """params=size,loss=val as a map. Raises MixoptError for anything else."""
    if text is None:
        return {}
    from mixopt.runs.columns import SCALING_ALIASES

    found = dict(name_and_value(part) for part in comma_separated(text))
    if not all(name in SCALING_ALIASES and column for name, column in found.items()):
        raise MixoptError(f"--columns {text}: write name=column, where name is one of {', '.join(SCALING_ALIASES)}")
    return {str(name): column for name, column in found.items()}


def how_to_reproduce(made: Json) -> Section:
    from mixopt.report.sections import reproduce

    files = [f"{file['name']}: sha256 {file['sha256']}" for file in made.get("files", ())]
    return reproduce(command=made["command"], versions=made["versions"], files=files)


def show_plan(
    console: Console, plan: Record, made: Json, document: Document, outputs: Outputs, html: Path | None, as_json: bool
) -> None:
    """On the terminal or as JSON, and as a page where a file for it is named."""
    if as_json:
        print_json(plan.to_json() | {"made": made})
    else:
        show(console, document)
    outputs.write_page(html, document)
    show_paths(console, outputs.written)


def _column(option: str, what: str) -> typer.models.OptionInfo:
    return typer.Option(option, metavar="COLUMN", help=f"column of {what} (default: by its usual names)")


@dataclass(frozen=True)
class ContinualColumns:
    """Columns of a table of runs of continued pretraining, by the names that its reader has for them."""

    share: Annotated[str | None, _column("--share", "the domain's share of the training tokens")] = None
    domain_loss: Annotated[str | None, _column("--domain-loss", "loss on the domain, nats/token")] = None
    general_loss: Annotated[str | None, _column("--general-loss", "loss on general text, nats/token")] = None
    general_start: Annotated[str | None, _column("--start-column", "general loss before continuing")] = None
    params_column: Annotated[str | None, _column("--params-column", "parameters")] = None
    tokens_column: Annotated[
        str | None, _column("--tokens-column", "tokens since the checkpoint that is continued")
    ] = None
    run_column: Annotated[str | None, _column("--run-column", "run ids; rows of one id are its checkpoints")] = None


RUNS = "runs of continued pretraining, one checkpoint per row (.csv, .tsv, .parquet)"
DOMAIN_TOKENS = "unique domain tokens; without --tokens they and --passes set the length of the run"
START = "general loss before continuing, if the table does not give it"
LAW = "one law or curve for both losses (default: weighted by held-out errors)"
TOLERATED = "how far the general loss may rise above its start (default: 3%)"
PASSES = "epochs over --domain-tokens, where they set the length (default: 1)"
R_STAR = "repeats after which text is worth little, R* (default: published)"


@plan.command()
@options.grouped_options("columns", ContinualColumns)
def cpt(
    columns: ContinualColumns,
    runs: Annotated[Path | None, typer.Option(metavar="RUNS.csv", help=RUNS)] = None,
    tolerance: Annotated[str | None, typer.Option(metavar="PERCENT", help=TOLERATED)] = None,
    params: options.ModelParams = None,
    tokens: options.RunTokens = None,
    compute: options.Compute = None,
    domain_tokens: Annotated[str | None, typer.Option(metavar="COUNT", help=DOMAIN_TOKENS)] = None,
    passes: Annotated[float | None, typer.Option(help=PASSES)] = None,
    r_star: Annotated[float | None, typer.Option(help=R_STAR)] = None,
    start: Annotated[float | None, typer.Option("--general-start", metavar="NATS", help=START)] = None,
    where: options.Where = None,
    law: Annotated[str, typer.Option(help=LAW)] = "blend",
    sampler: Annotated[str, typer.Option(help="Optuna sampler for the Pareto front: nsga2 or tpe")] = "nsga2",
    trials: Annotated[int, typer.Option(min=0, help="Optuna trials for the Pareto front; 0: none")] = 600,
    seed: options.Seed = 0,
    html: options.Html = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Continued pretraining: how much general text to replay, and what the domain gains, from a table of runs."""
    from mixopt.continual.fit import fit_continual
    from mixopt.continual.question import TOLERANCE, CptQuestion
    from mixopt.continual.recommend import plan_cpt
    from mixopt.continual.report import plan_document
    from mixopt.continual.summary import refusal
    from mixopt.runs.continual import read_continual
    from mixopt.runs.read import Reading

    if runs is None:
        raise MixoptError("--runs is missing: a table of runs of continued pretraining, a checkpoint a row")
    size, length = options.positive_count("params", params), options.positive_count("tokens", tokens)
    for name, value in {"general-start": start, "passes": passes, "r-star": r_star}.items():
        if value is not None and not 0 < value < float("inf"):
            raise MixoptError(f"--{name} {value:g}: give a number above 0")
    question = CptQuestion(
        tolerance=TOLERANCE if tolerance is None else share_of(tolerance),
        params=size,
        tokens=length,
        compute=options.positive_count("compute", compute, example="1e21"),
        domain_tokens=options.positive_count("domain-tokens", domain_tokens),
        passes=passes,
        r_star=r_star,
    )
    console, progress = open_console(as_json)
    outputs = Outputs([runs], force=force)
    outputs.check_page(html)
    table = read_continual(
        runs, columns=vars(columns), params=size, tokens=length, general_start=start, where=where or ()
    )
    progress.stage("fit", total=2)
    fitted = fit_continual(table, law=law, seed=seed, progress=progress)
    progress.finish(f"both losses, {len(table.share)} rows of {len(set(table.run))} runs, {runs.name}")
    answer = plan_cpt(fitted, question, sampler=sampler, trials=trials)
    if answer.answer is None:
        raise MixoptError(refusal(answer))
    files = Reading([runs]).record()["files"]
    made = {"command": command_line(), "versions": versions(), "files": files}
    document = in_unit(plan_document(answer, [how_to_reproduce(made)]), table.unit)
    show_plan(console, answer, made, document, outputs, html, as_json)


def share_of(text: str) -> float:
    """3% or 0.03 as 0.03. Raises MixoptError for anything else, 3 among it."""
    plain = text.strip()
    percent = plain.endswith("%")
    try:
        value = float(plain.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1:
        raise MixoptError(f"--tolerance {text}: write how much the general loss may rise as 3% or 0.03")
    return value
