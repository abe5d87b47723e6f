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
Laws = Annotated[str | None, typer.Option(metavar="A,B", help="joint laws to judge (default: all)")]
