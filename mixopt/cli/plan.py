"""`mixopt plan cpt`: the options of the plan of continued pretraining."""

from __future__ import annotations

import atexit
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mixopt.cli import options
from mixopt.errors import MixoptError
from mixopt.version import __version__


def _column(option: str, what: str) -> typer.models.OptionInfo:
    return typer.Option(option, metavar="COLUMN", help=f"column of {what} (default: by usual names)")


Runs = Annotated[
    Path | None,
    typer.Option(metavar="RUNS.csv", help="runs of continued pretraining, a checkpoint a row (.csv, .tsv, .parquet)"),
]
Tolerance = Annotated[
    str | None, typer.Option(metavar="PERCENT", help="how far the general loss may rise above its start (default: 3%)")
]
DomainTokens = Annotated[
    str | None,
    typer.Option(metavar="COUNT", help="different domain tokens there are; without --tokens a run is passes over them"),
]
Passes = Annotated[float | None, typer.Option(help="over --domain-tokens, where they set the length (default: 1)")]
RStar = Annotated[
    float | None, typer.Option(help="passes after the first until repeated text is worth little (default: published)")
]
GeneralStart = Annotated[
    float | None, typer.Option(metavar="NATS", help="general loss before continuing, where the table doesn't say it")
]
Share = Annotated[str | None, _column("--share", "the domain's share of the training tokens")]
DomainLoss = Annotated[str | None, _column("--domain-loss", "loss on the domain, nats/token")]
GeneralLoss = Annotated[str | None, _column("--general-loss", "loss on general text, nats/token")]
StartColumn = Annotated[str | None, _column("--start-column", "general loss before continuing")]
ParamsColumn = Annotated[str | None, _column("--params-column", "parameters")]
TokensColumn = Annotated[
    str | None,
    _column("--tokens-column", "tokens since the checkpoint that is continued"),
]
RunColumn = Annotated[str | None, _column("--run-column", "run ids; rows of one id are its checkpoints")]
Law = Annotated[str, typer.Option(help="one law or curve for both losses (default: weighted by held-out errors)")]
Sampler = Annotated[str, typer.Option(help="of Optuna's search for the front: nsga2 or tpe")]
Trials = Annotated[int, typer.Option(min=0, help="of Optuna's search for the front; 0: none")]


def cpt(
    runs: Runs = None,
    tolerance: Tolerance = None,
    params: options.ModelParams = None,
    tokens: options.RunTokens = None,
    compute: options.Compute = None,
    domain_tokens: DomainTokens = None,
    passes: Passes = None,
    r_star: RStar = None,
    general_start: GeneralStart = None,
    share: Share = None,
    domain_loss: DomainLoss = None,
    general_loss: GeneralLoss = None,
    start_column: StartColumn = None,
    params_column: ParamsColumn = None,
    tokens_column: TokensColumn = None,
    run_column: RunColumn = None,
    where: options.Where = None,
    law: Law = "blend",
    sampler: Sampler = "nsga2",
    trials: Trials = 600,
    seed: options.Seed = 0,
    html: options.Html = None,
    as_json: options.AsJson = False,
) -> None:
    """Continued pretraining: how much general text to keep, and what the domain gains, from a table of runs."""

    columns = {
        "share": share,
        "domain_loss": domain_loss,
        "general_loss": general_loss,
        "general_start": start_column,
        "params_column": params_column,
        "tokens_column": tokens_column,
        "run_column": run_column,
    }
    counts = {"params": params, "tokens": tokens, "compute": compute, "domain_tokens": domain_tokens}
    answer_cpt(
        runs,
        columns=columns,
        where=where or (),
        asked={"tolerance": tolerance, **counts},
        general_start=general_start,
        passes=passes,
        r_star=r_star,
        law=law,
        sampler=sampler,
        trials=trials,
        seed=seed,
        html=html,
        as_json=as_json,
    )


# What `mixopt plan cpt` does: reads runs, fits both losses, answers, shows it.


COUNTS = ("params", "tokens", "compute", "domain_tokens")


def answer_cpt(
    runs: Path | None,
    *,
    columns: Mapping[str, str | None],
    where: Sequence[str],
    asked: Mapping[str, str | None],
    general_start: float | None,
    passes: float | None,
    r_star: float | None,
    law: str,
    sampler: str,
    trials: int,
    seed: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Answers, shows it, writes what is asked for. asked: tolerance and counts, as they are typed."""
    from mixopt.cli.console import TerminalProgress, standard_console
    from mixopt.continual.fit import fit_continual
    from mixopt.continual.question import TOLERANCE, CptQuestion
    from mixopt.continual.recommend import plan_cpt
    from mixopt.continual.summary import refusal
    from mixopt.runs.continual import read_continual

    if runs is None:
        raise MixoptError("--runs is missing: a table of runs of continued pretraining, a checkpoint a row")
    counts = {key: count(key, asked[key]) for key in COUNTS}
    tolerance = TOLERANCE if asked["tolerance"] is None else share_of(asked["tolerance"])
    for name, value in (("general-start", general_start), ("passes", passes), ("r-star", r_star)):
        if value is not None and not 0 < value < float("inf"):
            raise MixoptError(f"--{name} {value:g}: give a number above 0")
    table = read_continual(
        runs,
        columns=columns,
        params=counts["params"],
        tokens=counts["tokens"],
        general_start=general_start,
        where=where,
    )
    question = CptQuestion(tolerance=tolerance, passes=passes, r_star=r_star, **counts)
    console = standard_console(error=as_json)
    progress = TerminalProgress(console)
    atexit.register(progress.close)  # however it ends, the terminal's cursor comes back
    progress.stage("fit", total=2)
    fitted = fit_continual(table, law=law, seed=seed, progress=progress)
    progress.finish(f"both losses, {len(table.share)} rows of {len(set(table.run))} runs, {runs.name}")
    plan = plan_cpt(fitted, question, sampler=sampler, trials=trials)
    if plan["answer"] is None:
        raise MixoptError(refusal(plan))
    tell(console, plan | cpt_provenance(runs), html, as_json)


def cpt_provenance(runs: Path) -> dict[str, Any]:
    """The command, the table's hash and the versions."""
    from mixopt.runs.read import Reading
    from mixopt.version import versions

    command = shlex.join(["mixopt", *sys.argv[1:]])
    return {"made": {"command": command, "versions": versions(), "files": Reading([runs]).record()["files"]}}


def tell(console: Console, plan: Mapping[str, Any], html: Path | None, as_json: bool) -> None:
    """On the terminal or as JSON, and as a page."""
    from mixopt.cli.console import show_paths
    from mixopt.continual.summary import show_plan

    if as_json:
        sys.stdout.write(json.dumps(plan, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    else:
        show_plan(console, plan)
    if html is not None:
        from mixopt.continual.report import render_cpt

        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(render_cpt(plan), encoding="utf-8")
        show_paths(console, [("page", html)])


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


def count(name: str, text: str | None) -> float | None:
    """1.8B, 1e21 and the like as numbers. Raises MixoptError for what isn't a count above 0."""
    from mixopt.plan.questions import as_number

    if text is None:
        return None
    value = as_number(text)
    if value is None or not 0 < value < float("inf"):
        example = "1e21" if name == "compute" else "10B, 300M or 1e9"
        raise MixoptError(f"--{name.replace('_', '-')} {text}: write a count above 0, such as {example}")
    return value


# `mixopt plan`: questions that are answered without training anything.


plan = typer.Typer(
    help="Answer without training: how often to repeat text, how large a model for how many tokens, how much general "
    "text to keep.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@plan.command()
def epochs(
    unique: options.Unique = None,
    compute: options.Compute = None,
    params: options.ModelParams = None,
    tokens: options.RunTokens = None,
    preset: options.PresetName = None,
    runs: options.PlanRuns = None,
    columns: options.PlanColumns = None,
    where: options.Where = None,
    seed: options.Seed = 0,
    html: options.Html = None,
    as_json: options.AsJson = False,
) -> None:
    """The best model and number of epochs for a text of so many unique tokens; what one more epoch is worth."""

    given = {"unique": unique, "compute": compute, "params": params, "tokens": tokens, "preset": preset}
    table = Source(runs, columns, tuple(where or ()), seed)
    answer_epochs(given, table, html=html, as_json=as_json)


@plan.command()
def scale(
    compute: options.Compute = None,
    loss: options.TargetLoss = None,
    inference_tokens: options.InferenceTokens = None,
    unique: options.Unique = None,
    preset: options.PresetName = None,
    runs: options.PlanRuns = None,
    columns: options.PlanColumns = None,
    where: options.Where = None,
    seed: options.Seed = 0,
    html: options.Html = None,
    as_json: options.AsJson = False,
) -> None:
    """The best model size and tokens for a budget, or the cheapest for a loss, with the cost of using it."""

    given = {
        "compute": compute,
        "loss": loss,
        "inference_tokens": inference_tokens,
        "unique": unique,
        "preset": preset,
    }
    table = Source(runs, columns, tuple(where or ()), seed)
    answer_scale(given, table, html=html, as_json=as_json)


# What `mixopt plan` does: answers from published laws, or from laws fitted to the user's own runs.


@dataclass(frozen=True)
class Source:
    """Where a plan's laws come from: a table of runs with options as they are typed, or nothing."""

    path: Path | None
    columns: str | None
    where: tuple[str, ...]
    seed: int

    def options(self, progress: Any) -> dict[str, Any]:
        """What the plan takes of it: the runs, read. Raises MixoptError for options without a table."""
        if self.path is None:
            if self.columns or self.where:
                raise MixoptError("--columns and --where are about a table of runs: name it with --runs")
            return {}
        from mixopt.runs.scaling import read_plan_runs

        runs = read_plan_runs(self.path, columns=named_columns(self.columns), where=self.where)
        for note in runs.notes:
            progress.note(note)
        return {"runs": runs, "seed": self.seed, "progress": progress}


def named_columns(text: str | None) -> dict[str, str]:
    """params=size,loss=val as a map. Raises MixoptError for anything else."""
    if text is None:
        return {}
    from mixopt.runs.scaling import NAMES

    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    found = {name.strip(): column.strip() for name, _, column in pairs}
    if not all(name in NAMES and column for name, column in found.items()):
        raise MixoptError(f"--columns {text}: write name=column, where name is one of {', '.join(NAMES)}")
    return found


def answer_epochs(given: Mapping[str, Any], source: Source, *, html: Path | None, as_json: bool) -> None:
    """`mixopt plan epochs`: given are the options of `plan_epochs` as they are typed."""
    from mixopt.plan.questions import plan_epochs

    if given["unique"] is None:
        raise MixoptError("--unique is missing: how many tokens of different text there are, such as --unique 25B")
    answer(plan_epochs, given, source, html, as_json)


def answer_scale(given: Mapping[str, Any], source: Source, *, html: Path | None, as_json: bool) -> None:
    """`mixopt plan scale`: given are the options of `plan_scale` as they are typed."""
    from mixopt.plan.questions import plan_scale

    answer(plan_scale, given, source, html, as_json)


def answer(
    plan: Callable[..., dict[str, Any]], given: Mapping[str, Any], source: Source, html: Path | None, as_json: bool
) -> None:
    """Answers; tells it on the terminal or as JSON, and as a page."""
    from mixopt.cli.console import TerminalProgress, show_paths, standard_console
    from mixopt.plan.summary import show

    console = standard_console(error=as_json)
    progress = TerminalProgress(console)
    read = source.options(progress)
    told = plan(**given, **read) | {"made": plan_provenance(read.get("runs"))}
    if as_json:
        sys.stdout.write(json.dumps(told, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    else:
        show(console, told)
    if html is not None:
        from mixopt.plan.report import render_plan

        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(render_plan(told), encoding="utf-8")
        show_paths(console, [("page", html)])


def plan_provenance(runs: Any) -> dict[str, Any]:
    """The command, the version, and the files with their hashes."""
    record: dict[str, Any] = {"command": shlex.join(["mixopt", *sys.argv[1:]]), "versions": {"mixopt": __version__}}
    return record | ({} if runs is None else {"files": list(runs.files)})
