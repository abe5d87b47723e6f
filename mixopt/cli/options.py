"""Options that several commands on tables of runs share."""

from pathlib import Path
from typing import Annotated

import typer

TABLES = "Options for a table of runs"

Predictors = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="predictors to judge, or all (see README); default: those that studies try"),
]
Folds = Annotated[int | None, typer.Option(min=2, help="folds of held-out mixtures (default: as the runs bear)")]
Seed = Annotated[int, typer.Option(min=0, help="of folds, starts and search")]
Weights = Annotated[
    str | None,
    typer.Option(metavar="COLUMNS", help="weight columns: a prefix, a,b or domain=column,domain=column"),
]
Losses = Annotated[
    str | None,
    typer.Option(metavar="COLUMNS", help="loss columns: a prefix, a,b or text=column,text=column"),
]
Where = Annotated[
    list[str] | None,
    typer.Option(metavar="CONDITION", help="read only rows with e.g. model_size=122M, step>=1000; may be repeated"),
]
On = Annotated[str | None, typer.Option(metavar="COLUMN", help="the runs' id, which joins two files")]
Params = Annotated[str | None, typer.Option(metavar="COLUMN", help="parameters: a column, or a number such as 70M")]
Tokens = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="training tokens: a column, or a number such as 20B")
]
LastStep = Annotated[bool, typer.Option("--last-step", help="Of a run with several rows keep the last.")]
Renormalise = Annotated[
    bool, typer.Option("--renormalise", help="Divide weights that don't sum to 1 by their sum (percents, say).")
]
Html = Annotated[Path | None, typer.Option(metavar="FILE.html", help="write a report as well")]
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
        help="unique tokens that the larger run has of a domain, such as math=5B; may be repeated; others: no limit",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option("--compute", metavar="FLOPS", help="training budget, 6 N D, such as 1e22; finds the size to train"),
]
Laws = Annotated[str | None, typer.Option(metavar="A,B", help="joint laws to judge (default: all)")]

# Options of `mixopt plan`
Unique = Annotated[str | None, typer.Option(metavar="COUNT", help="tokens of different text there are, such as 25B")]
Compute = Annotated[str | None, typer.Option(metavar="FLOPS", help="training budget, 6 N D, such as 1e22")]
ModelParams = Annotated[str | None, typer.Option("--params", metavar="COUNT", help="parameters, such as 7B")]
RunTokens = Annotated[
    str | None, typer.Option("--tokens", metavar="COUNT", help="training tokens, repeats counted, such as 200B")
]
TargetLoss = Annotated[str | None, typer.Option(metavar="NATS", help="the loss to reach, nats/token, such as 2.2")]
InferenceTokens = Annotated[
    str | None, typer.Option(metavar="COUNT", help="tokens that the model will serve in its life, such as 1T")
]
PresetName = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="the form that leads, such as data-constrained")
]
PlanRuns = Annotated[Path | None, typer.Option("--runs", metavar="RUNS.csv", help="fit to these finished runs first")]
PlanColumns = Annotated[
    str | None,
    typer.Option("--columns", metavar="MAP", help="of --runs, such as params=size,tokens=seen,unique=U,loss=val"),
]
