"""Study files as frozen records: unknown keys and wrong types are refused, every default has its reason."""

import difflib
import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mixopt.counts import parse_count
from regressors import PREDICTORS

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
SUM_TOLERANCE = 1e-6  # of weights typed by hand into a study file; 0.333 x 3 is close enough to be a mistake


def parse_whole(value: Any) -> Any:
    """A count that must be a whole number, as an int."""
    number = parse_count(value)
    if not isinstance(number, float) or not math.isfinite(number):
        return number
    if number != round(number):
        raise ValueError(f"{number:g} is not a whole number")
    return round(number)


def name_of_domain(value: str) -> str:
    if not value.strip() or value.startswith(".") or re.search(r"[/\\\x00-\x1f]", value):
        raise ValueError(f"{value!r} can't name a domain: it becomes a folder, so no slashes and no leading dot")
    if value == "target" or value.endswith(".json"):
        raise ValueError(f"{value!r} can't name a domain: mixopt itself uses that name, choose another")
    return value


def name_of_predictor(value: str) -> str:
    if value not in PREDICTORS:
        near = difflib.get_close_matches(value, PREDICTORS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(PREDICTORS)}"
        raise ValueError(f"no predictor is called {value!r}: {hint}")
    return value


Count = Annotated[float, BeforeValidator(parse_count), Field(gt=0, allow_inf_nan=False)]
WholeCount = Annotated[int, BeforeValidator(parse_whole), Field(gt=0, le=10**15)]
Share = Annotated[float, BeforeValidator(parse_count), Field(ge=0, le=1)]
Number = Annotated[float, BeforeValidator(parse_count), Field(allow_inf_nan=False)]
DomainName = Annotated[str, AfterValidator(name_of_domain)]
PredictorName = Annotated[str, AfterValidator(name_of_predictor), Field(json_schema_extra={"enum": list(PREDICTORS)})]


class Record(BaseModel):
    """What every part of a study file has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Text(Record):
    """Where text comes from: a path, a Hugging Face hub name or a built-in corpus."""

    path: str | None = Field(
        default=None,
        description="a file, folder or glob: jsonl (.gz, .zst), parquet or text; relative to the study file",
    )
    hub: str | None = Field(default=None, description="a data set's name on the Hugging Face hub, streamed")
    subset: str | None = Field(default=None, description="hub only: the configuration")
    split: str = Field(default="train", description="hub only")
    builtin: str | None = Field(
        default=None, description="a demo corpus that arrives as a package: see docs/demo-corpus.md"
    )
    text: str = Field(default="text", description="the column that holds the text")
    unit: Literal["paragraph", "line", "file"] = Field(
        default="paragraph", description="what a document is in text files"
    )

    @property
    def has_source(self) -> bool:
        return any((self.path, self.hub, self.builtin))

    @model_validator(mode="after")
    def one_source(self):
        given = [key for key in ("path", "hub", "builtin") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(given)}: keep one of path, hub and builtin")
        return self


class Domain(Text):
    """Text that may be trained on."""

    pool: Count | None = Field(
        default=None,
        description="unique tokens the full run can draw on; left out: as many as were read (with a study on runs: no "
        "limit). State it when the corpus given here is a sample of a larger one",
    )


class FullRun(Record):
    """The run that the recommendation is for."""

    params: Count = Field(description="non-embedding parameters")
    tokens: Count = Field(description="training tokens; with the pools it decides how often text is repeated")


class Tokenizer(Record):
    vocab: WholeCount = Field(
        default=512,
        ge=257,
        description="byte-level BPE trained on a balanced sample; small, because a tiny proxy would otherwise spend "
        "most of its parameters on embeddings",
    )
    path: str | None = Field(
        default=None, description="a tokenizer.json of your own instead; relative to the study file"
    )
    hub: str | None = Field(default=None, description="a tokenizer's hub name instead")

    @model_validator(mode="after")
    def one_tokenizer(self):
        if self.path and self.hub:
            raise ValueError("has path and hub: keep one of them")
        return self


class Prepare(Record):
    max_bytes: WholeCount | None = Field(
        default=None, description="read at most this much text of a domain, spread over it; then state its pool"
    )
    val_fraction: float = Field(default=0.1, gt=0, lt=1, description="of documents, chosen by hash, that validate")
    on_bad: Literal["refuse", "skip"] = Field(
        default="refuse", description="broken UTF-8 or JSON: stop, or count and go on"
    )


class ProxyShape(Record):
    """The tiny model that stands in for the full run, but for what a study may vary: tokens and weight decay."""

    layers: WholeCount = 2
    width: WholeCount = 64
    heads: WholeCount = 2
    context: WholeCount = Field(default=64, description="tokens")
    batch: WholeCount = Field(
        default=8, description="sequences a step; small, because tiny runs gain more from more steps"
    )
    learning_rate: Number = Field(
        default=8e-3, gt=0, description="peak; normalised queries and keys keep this rate steady"
    )
    warmup: Share = Field(default=0.05, description="share of the steps")
    decay: Share = Field(default=0.5, description="share of the steps over which the rate falls to 0")
    validation_tokens: WholeCount = Field(
        default=10_000,
        description="of each text: its sampling error is common to all runs, evaluation stays under a tenth",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    workers: WholeCount | None = Field(
        default=None, description="processes on CPU, one thread each; left out: one a core"
    )
    stack: WholeCount = Field(default=32, description="proxies trained in lockstep on a GPU; a CPU worker trains one")

    @model_validator(mode="after")
    def turns_pairs(self):
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x heads ({self.heads})")
        return self


class Proxy(ProxyShape):
    """The tiny model that stands in for the full run."""

    tokens: WholeCount = Field(default=512_000, description="training tokens of one proxy")
    weight_decay: Number = Field(default=0.1, ge=0)


class Design(Record):
    mixtures: WholeCount = Field(default=40, ge=4, description="different mixtures, natural and uniform among them")
    repeats: Annotated[int, BeforeValidator(parse_whole), Field(ge=0, le=1000)] = Field(
        default=3, description="more runs of one mixture with other seeds: the noise floor"
    )
    repetition_matched: bool = Field(
        default=True,
        description="proxies draw from a fixed part of each pool, so that their epochs match the full run's",
    )
    repetition_runs: Annotated[int, BeforeValidator(parse_whole), Field(ge=0, le=1000)] = Field(
        default=6,
        description="more runs of some mixtures from a third and three times their pools: they tell weight and "
        "repetition apart. None are needed, and none made, where no mixture repeats anything",
    )
    shorter_runs: Annotated[int, BeforeValidator(parse_whole), Field(ge=0, le=1000)] = Field(
        default=3,
        description="more runs of half the tokens at the same epochs, beside repetition_runs: they tell what unique "
        "tokens are worth in training tokens",
    )


class Search(Record):
    """What a recommended mixture may look like, and how it is looked for."""

    sampler: Literal["cma-es", "gp", "tpe", "random"] = "cma-es"
    trials: WholeCount = 1000
    max_epochs: Count | dict[str, Count] | None = Field(
        default=None,
        description="a hard cap on passes over a domain, one for all or by domain; left out: the proxies' own "
        "repetition decides",
    )
    min_weight: Share | dict[str, Share] = Field(
        default=0.0, description="floor, a share of training tokens; or by domain"
    )
    max_weight: Share | dict[str, Share] = Field(default=1.0, description="ceiling; or by domain")
    fixed: dict[str, Share] = Field(default={}, description="weights that are settled")


class RunsFile(Record):
    """A table of runs that you already have."""

    path: str = Field(description="CSV or parquet: a run a row; relative to the study file")
    metrics: str | None = Field(
        default=None, description="a second file with the losses, as RegMix and olmix publish them"
    )
    on: str | None = Field(default=None, description="the column that joins the two files")
    weights: str | list[str] | dict[str, str] | None = Field(
        default=None, description="prefix of the weight columns, their list, or a map domain: column"
    )
    losses: str | list[str] | dict[str, str] | None = Field(
        default=None, description="prefix of the loss columns, their list, or a map text: column"
    )
    where: str | list[str] = Field(
        default=[], description="conditions on columns, such as model_size=122M: only rows that keep them are read"
    )
    last_step: bool = Field(default=False, description="of a run with rows for several steps keep the last")
    params: Count | str | None = Field(default=None, description="a column, or one number for all runs")
    tokens: Count | str | None = Field(default=None, description="a column, or one number for all runs")
    seed: str | None = Field(default=None, description="a column")
    renormalise: bool = Field(default=False, description="divide weights that don't sum to 1 by their sum")


class Verify(Record):
    """How `mixopt verify` trains the recommendation, the natural and the uniform mixture."""

    seeds: WholeCount = 3
    params_scale: Number = Field(default=4.0, ge=1, description="the second size, in times the proxy's parameters")
    tokens_scale: Number = Field(default=2.0, ge=1, description="its training tokens, in times the proxy's")


class AnyStudy(Record):
    """What study files of every kind say. `kind` names the others: see `mixopt.kinds`."""

    name: Annotated[str, AfterValidator(name_of_domain)]
    kind: str
    seed: int = Field(default=0, ge=0)
    domains: dict[DomainName, Domain] = Field(default={}, description="text that may be trained on")
    held_out: dict[DomainName, Text] = Field(default={}, description="text that is evaluated and never trained on")
    tokenizer: Tokenizer = Tokenizer()
    prepare: Prepare = Prepare()
    proxy: ProxyShape = ProxyShape()

    @property
    def brings_runs(self) -> bool:
        """Whether finished runs are given, so that there is no text and nothing to train."""
        return False


class Study(AnyStudy):
    """A study of mixtures: one study file."""

    kind: Literal["mixture"] = Field(default="mixture", description="what is asked: the best mixture for a full run")
    target: str | dict[str, Share] = Field(description="a validation text, or weights over several that sum to 1")
    full: FullRun | None = Field(default=None, description="the run to plan; needed unless runs: is given")
    runs: str | RunsFile | None = Field(default=None, description="runs that you already have: nothing is trained")
    proxy: Proxy = Proxy()
    design: Design = Design()
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
    def runs_file(self) -> RunsFile | None:
        return RunsFile(path=self.runs) if isinstance(self.runs, str) else self.runs


def weights_of(target: str | dict[str, float]) -> dict[str, float]:
    """Text -> weight of a target as it is written, zero weights left out."""
    given = {target: 1.0} if isinstance(target, str) else target
    return {text: weight for text, weight in given.items() if weight > 0}


Problems = list[tuple[tuple[str, ...], str]]  # (key path, message)


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
    return found


def sum_problems(where: tuple[str, ...], weights: dict[str, float]) -> Problems:
    """Whether weights sum to 1."""
    total = math.fsum(weights.values())
    if abs(total - 1) <= SUM_TOLERANCE:
        return []
    return [(where, f"its weights sum to {total:.6g}, not 1: divide each by {total:.6g}")]


def without_runs(study: Study) -> Problems:
    found: Problems = []
    if len(study.domains) < 2:
        found.append((("domains",), "a mixture needs at least 2 domains (or give runs: with a table of your own)"))
    if study.full is None:
        found.append((("full",), "is missing: state params and tokens of the run to plan"))
    found += text_problems(study, study.target)
    if study.design.mixtures < 4:
        found.append((("design", "mixtures"), "needs 4 or more"))
    return found


def text_problems(study: AnyStudy, target: str | dict[str, float]) -> Problems:
    """What is wrong with the texts that are trained on and evaluated, and with a target among them."""
    found: Problems = []
    for part in ("domains", "held_out"):
        texts: dict[str, Text] = getattr(study, part)
        found += [
            ((part, name), "has no text: give path, hub or builtin") for name, t in texts.items() if not t.has_source
        ]
    found += [
        (("held_out", name), "is a domain too: text that is trained on can't be held out")
        for name in study.held_out
        if name in study.domains
    ]
    known = [*study.domains, *study.held_out]
    found += [
        (("target", name) if isinstance(target, dict) else ("target",), f"{name!r} is none of the texts "
         f"{', '.join(known)}")
        for name in weights_of(target)
        if name not in known
    ]  # fmt: skip
    return found
