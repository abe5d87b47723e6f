"""Options of the command line that several commands share, each declared once, and their values parsed."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixopt.errors import MixoptError
from mixopt.formatting import as_number, comma_separated, count_advice, did_you_mean

if TYPE_CHECKING:
    from mixopt.runs.read import Reading


ALL = "all"  # stands for every loss, or every predictor, of that name there is none
ESCAPE = r"\, for a comma within a name"
TABLES = "a .csv, .tsv or .parquet file with one run per row, or two: mixtures, then losses"


def path_of(option: str) -> Callable[[str], Path]:
    """Parses an option's path. It raises MixoptError for an empty one, which would stand for the current folder."""

    def parse(text: str) -> Path:
        if not text.strip():
            raise MixoptError(f"{option} is empty: give it a name, or . for the current folder")
        return Path(text)

    return parse


def output(*names: str, metavar: str, help: str) -> Any:
    """An option that names a file or folder to write."""
    return typer.Option(*names, metavar=metavar, parser=path_of(names[0]), help=help)


Tables = Annotated[list[Path], typer.Argument(metavar="RUNS.csv [METRICS.csv]", help=TABLES)]
Target = Annotated[
    str | None,
    typer.Option("--target", "-t", metavar="LOSS", help=f"the loss to minimise, a=0.7,b=0.3 or all ({ESCAPE})"),
]
Predictors = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="predictors to score, or all (see README); default: those that studies try"),
]
AllPredictors = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="predictors to score (see README); default: all that end within minutes"),
]
Folds = Annotated[int | None, typer.Option(min=2, help="folds of held-out mixtures (default: by the number of runs)")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="random seed of folds, starts and search")]
Where = Annotated[
    list[str] | None,
    typer.Option(metavar="CONDITION", help="read only rows with e.g. model_size=122M, step>=1000; may be repeated"),
]
Html = Annotated[Path | None, output("--html", metavar="FILE.html", help="write a report as well")]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite output files that mixopt didn't write; never files that it reads.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, progress elsewhere.")]
AtParams = Annotated[
    str | None,
    typer.Option(metavar="COUNT", help="parameters to predict at, such as 1B (default: the largest trained)"),
]
AtTokens = Annotated[
    str | None, typer.Option(metavar="COUNT", help="tokens to predict at, such as 20B (default: the most trained)")
]
Pools = Annotated[
    list[str] | None,
    typer.Option(
        "--pool",
        metavar="DOMAIN=COUNT",
        help="unique tokens of a domain in the larger run, such as math=5B; may be repeated; others: no limit",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option("--compute", metavar="FLOPS", help="training budget, 6 N D, such as 1e22; finds the size to train"),
]
Laws = Annotated[str | None, typer.Option(metavar="A,B", help="joint laws to score (default: all)")]

# Options of `mixopt plan`
Unique = Annotated[str | None, typer.Option(metavar="COUNT", help="unique tokens available, such as 25B")]
Compute = Annotated[str | None, typer.Option(metavar="FLOPS", help="training budget, 6 N D, such as 1e22")]
ModelParams = Annotated[str | None, typer.Option("--params", metavar="COUNT", help="parameters, such as 7B")]
RunTokens = Annotated[
    str | None, typer.Option("--tokens", metavar="COUNT", help="training tokens, repeats included, such as 200B")
]
TargetLoss = Annotated[str | None, typer.Option(metavar="NATS", help="the loss to reach, nats/token, such as 2.2")]
InferenceTokens = Annotated[
    str | None, typer.Option(metavar="COUNT", help="tokens served over the model's lifetime, such as 1T")
]
PresetName = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="form of the law, such as data-constrained")
]
PlanRuns = Annotated[Path | None, typer.Option("--runs", metavar="RUNS.csv", help="fit the laws to these runs")]
PlanColumns = Annotated[
    str | None,
    typer.Option("--columns", metavar="MAP", help=f"columns of --runs, as params=size,unique=U,loss=val ({ESCAPE})"),
]


# How a table of runs is read


@dataclass(frozen=True)
class TableOptions:
    """Which columns and rows of a table are the runs: options as they are typed."""

    weights: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS", help=f"weight columns: a prefix, a,b or domain=column,domain=column ({ESCAPE})"
        ),
    ] = None
    losses: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help=f"loss columns: a prefix, a,b or name=column,name=column ({ESCAPE})"),
    ] = None
    where: Where = None
    on: Annotated[str | None, typer.Option(metavar="COLUMN", help="run id column, which joins two files")] = None
    params: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="parameters: a column, or a number such as 70M")
    ] = None
    tokens: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="training tokens: a column, or a number such as 20B")
    ] = None
    last_step: Annotated[
        bool, typer.Option("--last-step", help="Keep only the last row of each run that has losses.")
    ] = False
    renormalise: Annotated[
        bool, typer.Option("--renormalise", help="Divide weights that don't sum to 1 by their sum (percents, say).")
    ] = False

    def of(self, files: Sequence[Path]) -> Reading:
        """These files, read with these options."""
        from mixopt.runs.read import Reading

        where = tuple(self.where or ())
        return Reading(
            files, self.weights, self.losses, self.on, where, self.params, self.tokens, self.last_step, self.renormalise
        )


def table_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command: its parameter `table` becomes the options of TableOptions, after its own.

    names: of the options that the command takes; all by default.
    """
    return grouped_options("table", TableOptions, *names)


def grouped_options(group: str, record: type, *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command: its parameter `group` becomes the options that the record declares, or those of these names,
    after the command's own."""
    declared = inspect.signature(record, eval_str=True).parameters
    taken = [declared[name] for name in names or declared]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            options = record(**{option.name: given.pop(option.name) for option in taken})
            command(**given, **{group: options})

        own = inspect.signature(command, eval_str=True)
        parameters = [option for name, option in own.parameters.items() if name != group] + taken
        with_options.__signature__ = own.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
        return with_options

    return decorate


# Their values


def positive_count(option: str, text: str | None, *, example: str = "1e9, 300M or 20B") -> float | None:
    """1.8B, 1e21 and the like as numbers. Raises MixoptError for what isn't a count above 0."""
    if text is None:
        return None
    value = as_number(text)
    if value is None or not 0 < value < math.inf:
        raise MixoptError(f"--{option} {text}: {count_advice(text, f'write a count above 0, such as {example}')}")
    return value


def target_weights(
    text: str | None, losses: Sequence[str], problems: Mapping[str, str] | None = None
) -> dict[str, float]:
    """A target as an option gives it: a loss, several (a,b: equal weights), a=0.7,b=0.3, or all of them.

    losses: those that the runs have. problems: why others can't be minimised, by name. Raises MixoptError for others,
    and for weights that don't sum to 1.
    """
    from mixopt.study.config import SUM_TOLERANCE

    if text is None:
        if len(losses) == 1:
            return {losses[0]: 1.0}
        raise MixoptError(
            f"--target is missing: name the loss to minimise, a=0.7,b=0.3 or {ALL} (equal weights); "
            + did_you_mean("", losses)
        )
    if text in losses:
        return {text: 1.0}
    if text == ALL:
        return {name: 1 / len(losses) for name in losses}
    parts = comma_separated(text)
    weighted = [_weighted(part, losses) for part in parts]
    names = [name for name, _ in weighted]
    for name in names:
        if name not in losses:
            raise MixoptError(
                (problems or {}).get(name) or f"--target: the runs have no loss {name!r}: {did_you_mean(name, losses)}"
            )
    if len(set(names)) < len(names) or not names:
        raise MixoptError(f"--target {text!r}: name each loss once")
    shares = [share for _, share in weighted]
    if all(share is None for share in shares):
        return {name: 1 / len(names) for name in names}
    given = [share for share in shares if share is not None]
    total = sum(given)  # math.fsum raises for infinities of both signs
    if len(given) < len(shares) or min(given) < 0 or not abs(total - 1) <= SUM_TOLERANCE:
        raise MixoptError(
            f"--target {text!r}: give every loss a weight of 0 or more, and all of them a sum of 1, not {total:g}"
        )
    return {name: share for name, share in zip(names, given, strict=True) if share > 0}


def _weighted(part: str, losses: Sequence[str]) -> tuple[str, float | None]:
    """name=weight, or a name alone; names may hold = themselves."""
    name, equals, weight = part.rpartition("=")
    if part in losses or not equals:
        return part, None
    try:
        return name.strip(), float(weight)
    except ValueError:
        raise MixoptError(f"--target: {weight!r} in {part!r} is not a number: write name=0.7") from None


def losses_to_fit(text: str | None, target: Mapping[str, float], losses: Sequence[str]) -> list[str]:
    """The losses to fit: those of the target, and those that --also names, in the table's order."""
    names = [] if text is None else comma_separated(text)
    if names == [ALL] and ALL not in losses:
        return list(losses)
    for name in names:
        if name not in losses:
            raise MixoptError(f"--also: the runs have no loss {name!r}: {did_you_mean(name, losses)}")
    return [name for name in losses if name in target or name in names]


def names_among(known: Iterable[str], text: str, option: str) -> list[str]:
    """a,b as names, each once; all: every known one. Raises MixoptError for others."""
    every = list(known)
    if text == ALL:
        return every
    names = list(dict.fromkeys(comma_separated(text)))
    for name in names:
        if name not in every:
            hint = did_you_mean(name, every, otherwise=f"choose from {', '.join(every)}")
            raise MixoptError(f"{option}: there is no {name!r}: {hint}")
    if not names:
        raise MixoptError(f"{option}: name one or more of {', '.join(every)}, or {ALL}")
    return names


def predictor_names(text: str) -> list[str]:
    """The predictors to judge, of a,b,c or all."""
    from regressors import PREDICTORS

    return names_among(PREDICTORS, text, "--predictors")
