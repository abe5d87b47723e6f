"""Study files of mixtures: domains, target, full run, proxies, design, search and verification."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mixopt.errors import MixoptError
from mixopt.formatting import did_you_mean, parse_count
from mixopt.study.config import (
    AnyStudy,
    Count,
    Decay,
    Parameters,
    Problems,
    ProxyShape,
    Record,
    Share,
    Tokens,
    WholeCount,
    parse_whole,
    size_problems,
    sum_problems,
    text_problems,
    weights_of,
)
from regressors import PREDICTORS

if TYPE_CHECKING:
    from mixopt.search.simplex import Feasible

# Tried when a study or a command names none: each good on some published table and quick enough for all.
TRIED = (
    "effective-data",
    "effective-data-epochs",
    "gp-log",
    "ensemble",
    "exponential-mixing",
    "regmix-lightgbm",
    "regmix-linear",
)


def name_of_predictor(value: str) -> str:
    if value not in PREDICTORS:
        hint = did_you_mean(value, PREDICTORS, otherwise=f"choose from {', '.join(PREDICTORS)}")
        raise ValueError(f"no predictor is called {value!r}: {hint}")
    return value


def storage_url(value: str) -> str:
    if not re.match(r"\w[\w+]*://", value):
        raise ValueError(
            "is no database URL: write one such as sqlite:////data/search.db or postgresql://user@host/name"
        )
    return value


PredictorName = Annotated[str, AfterValidator(name_of_predictor), Field(json_schema_extra={"enum": list(PREDICTORS)})]


Times = Annotated[int, BeforeValidator(parse_whole), Field(ge=0, le=1000)]
Scale = Annotated[float, BeforeValidator(parse_count), Field(ge=1, le=10_000)]


class FullRun(Record):
    """The run that the recommendation is for."""

    params: Parameters = Field(description="non-embedding parameters")
    tokens: Tokens = Field(description="training tokens; with the pools it decides how often text is repeated")


class Proxy(ProxyShape):
    """The tiny model that stands in for the full run."""

    tokens: WholeCount = Field(default=512_000, description="training tokens of one proxy")
    weight_decay: Decay = 0.1


class Design(Record):
    mixtures: WholeCount = Field(
        default=40, ge=4, le=100_000, description="distinct mixtures, natural and uniform included"
    )
    repeats: Times = Field(default=3, description="more runs of one mixture with other seeds: the noise floor")
    repetition_matched: bool = Field(
        default=True,
        description="proxies draw from a fixed part of each pool, so that their epochs match the full run's",
    )
    repetition_runs: Times = Field(
        default=6,
        description="more runs of some mixtures from a third and three times their pools: they separate "
        "the effects of weight and repetition; none are made where no mixture repeats anything",
    )
    shorter_runs: Times = Field(
        default=3,
        description="more runs with half the tokens at the same epochs, next to repetition_runs: they show what "
        "unique tokens are worth in training tokens",
    )


class Rung(Record):
    """Proxies of one larger size. Their mixtures are chosen after the smallest rung: those that it predicts to be best,
    natural and uniform, and others spread around them."""

    params: Scale = Field(default=4.0, description="times the proxy's parameters")
    tokens: Scale = Field(default=2.0, description="times the proxy's training tokens")
    mixtures: WholeCount = Field(default=12, ge=3, le=1000, description="of those that smaller rungs train")
    repetition_runs: Times = Field(default=2, description="more runs of some mixtures from other pools, as in design")
    shorter_runs: Times = Field(
        default=1, description="more runs, of uniform first, with half the tokens, as in design"
    )
    repeats: Times = Field(default=1, description="more runs of the uniform and the best mixture with other seeds")


class Search(Record):
    """Constraints on the recommended mixture, and how it is searched."""

    sampler: Literal["cma-es", "gp", "tpe", "random"] = "cma-es"
    trials: WholeCount = Field(default=1000, le=1_000_000)
    storage: Annotated[str, AfterValidator(storage_url)] | None = Field(
        default=None,
        description="URL of the database that keeps the Optuna study, such as postgresql://user@host/name; left out: "
        "search.journal in the study folder. optuna-dashboard opens both; a database takes minutes to fill",
    )
    max_epochs: Count | dict[str, Count] | None = Field(
        default=None,
        description="a hard cap on epochs over a domain, one for all or by domain; left out: the proxies' own "
        "repetition decides",
    )
    min_weight: Share | dict[str, Share] = Field(
        default=0.0, description="floor, a share of training tokens; or by domain"
    )
    max_weight: Share | dict[str, Share] = Field(default=1.0, description="ceiling; or by domain")
    fixed: dict[str, Share] = Field(default={}, description="weights that are fixed in advance")


class RunsFile(Record):
    """A table of runs that you already have."""

    path: str = Field(description="CSV or parquet: one run per row; relative to the study file")
    metrics: str | None = Field(
        default=None, description="a second file with the losses, as RegMix and olmix publish them"
    )
    on: str | None = Field(default=None, description="the column that joins the two files")
    weights: str | list[str] | dict[str, str] | None = Field(
        default=None, description="prefix of the weight columns, their list, or a map domain: column"
    )
    losses: str | list[str] | dict[str, str] | None = Field(
        default=None, description="prefix of the loss columns, their list, or a map name: column"
    )
    where: str | list[str] = Field(
        default=[], description="conditions on columns, such as model_size=122M: only rows that satisfy them are read"
    )
    last_step: bool = Field(default=False, description="of a run with rows for several steps keep the last")
    params: Parameters | str | None = Field(default=None, description="a column, or one number for all runs")
    tokens: Tokens | str | None = Field(default=None, description="a column, or one number for all runs")
    seed: str | None = Field(default=None, description="a column")
    renormalise: bool = Field(default=False, description="divide weights that don't sum to 1 by their sum")


class Verify(Record):
    """How `mixopt verify` trains the recommendation, the natural and the uniform mixture."""

    seeds: WholeCount = Field(default=3, le=1000)
    params_scale: Scale = Field(
        default=4.0,
        description="the second size, in times the parameters of the proxy, or of the ladder's largest rung",
    )
    tokens_scale: Scale = Field(
        default=2.0, description="its training tokens, in times those of the proxy or the largest rung"
    )


class Study(AnyStudy):
    """A study of mixtures: one study file."""

    kind: Literal["mixture"] = Field(default="mixture", description="the question: the best mixture for a full run")
    target: str | dict[str, Share] = Field(description="a validation set, or weights over several that sum to 1")
    full: FullRun | None = Field(default=None, description="the run to plan; needed unless runs: is given")
    runs: str | RunsFile | None = Field(default=None, description="runs that you already have: nothing is trained")
    proxy: Proxy = Proxy()
    design: Design = Design()
    ladder: list[Rung] = Field(
        default=[],
        description="larger rungs, smallest first: the loss of the full run is predicted from how losses change from "
        "rung to rung; left out: proxies of one size, which can't tell what changes with scale",
    )
    predictors: list[PredictorName] = Field(
        default=list(TRIED), min_length=1, description="fitted and judged by cross-validation; the best is used"
    )
    search: Search = Search()
    verify: Verify = Verify()

    @property
    def brings_runs(self) -> bool:
        return self.runs is not None

    @property
    def target_weights(self) -> dict[str, float]:
        """Text -> weight in the target, zero weights left out."""
        return weights_of(self.target)

    @property
    def full_flops(self) -> float | None:
        return 6 * self.full.params * self.full.tokens if self.full else None

    @property
    def runs_file(self) -> RunsFile | None:
        return RunsFile(path=self.runs) if isinstance(self.runs, str) else self.runs


def problems(study: Study) -> Problems:
    """What the parts of a study say against each other, empty when all is well."""
    found = sum_problems(("target",), study.target_weights)
    if study.runs is None:
        found += without_runs(study)
    else:
        found += [
            (("domains", name), f"the study takes its runs from {study.runs_file.path}: state only pool here")  # type: ignore[union-attr]
            for name, domain in study.domains.items()
            if domain.has_source
        ]
        if study.ladder:
            found.append((("ladder",), "has no use with runs: nothing is trained, the runs' own sizes count"))
        if study.held_out:
            found.append((("held_out",), "has no use with runs: every loss column of the runs can be the target"))
    for key in ("max_epochs", "min_weight", "max_weight", "fixed"):
        value = getattr(study.search, key)
        if isinstance(value, dict) and study.domains and study.runs is None:
            found += [
                (("search", key, name), f"no domain has this name; there are {', '.join(study.domains)}")
                for name in value
                if name not in study.domains
            ]
    if not found and study.runs is None:
        try:
            feasible_mixtures(study, list(study.domains), {name: domain.pool for name, domain in study.domains.items()})
        except MixoptError as error:
            found.append((("search",), str(error)))
    return found


def feasible_mixtures(
    study: Study, domains: Sequence[str], pools: Mapping[str, float | None], *, place: str = ""
) -> "Feasible":
    """The mixtures that keep the study's limits. pools: unique tokens by domain, None where they aren't known.

    Raises MixoptError, which begins with place, for limits that contradict each other or name no domain.
    """
    from mixopt.search.simplex import feasible

    limits = study.search.model_dump(include={"min_weight", "max_weight", "fixed", "max_epochs"})
    try:
        return feasible(domains, **limits, pools=pools, tokens=study.full and study.full.tokens)
    except MixoptError as error:
        raise MixoptError(f"{place}{error}") from None


def without_runs(study: Study) -> Problems:
    found: Problems = []
    if len(study.domains) < 2:
        found.append((("domains",), "a mixture needs at least 2 domains (or give runs: with a table of your own)"))
    if study.full is None:
        found.append((("full",), "is missing: state params and tokens of the run to plan"))
    found += text_problems(study, study.target)
    for i, (below, rung) in enumerate(pairwise([(1.0, 1.0), *((rung.params, rung.tokens) for rung in study.ladder)])):
        if rung[0] <= below[0] or rung[1] < below[1]:
            found.append((("ladder", str(i)), "has no more parameters, or fewer tokens, than the rung below it: list "
                         "rungs from the smallest to the largest, in times the proxy's"))  # fmt: skip
    if not found:
        found += size_problems(("ladder",), study.proxy, [1.0, *(rung.params for rung in study.ladder)])
    for i, (below, above) in enumerate(pairwise(study.ladder)):
        if above.mixtures > below.mixtures:
            found.append((("ladder", str(i + 1), "mixtures"), f"{above.mixtures} are more than the {below.mixtures} of "
                         "the rung below, and each rung trains some of those"))  # fmt: skip
    return found
