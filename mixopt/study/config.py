"""Study file schema: frozen records that refuse unknown keys and wrong types, every default with its reason."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from mixopt.formatting import parse_count

SUM_TOLERANCE = 1e-6  # of weights typed by hand into a study file; 0.333 x 3 is close enough to be a mistake
MAX_SEED = 2**32 - 1  # of scikit-learn's and LightGBM's generators
MAX_NAME_BYTES = 200  # of a name that becomes a folder: file systems allow 255


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
    if len(value.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"{value[:20]!r}... can't name a domain: it has more than {MAX_NAME_BYTES} bytes")
    if value == "target" or value.endswith(".json"):
        raise ValueError(f"{value!r} can't name a domain: mixopt itself uses that name, choose another")
    return value


def name_of_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", value):
        raise ValueError(f"{value!r} is no device that is supported: set auto, cpu, cuda or cuda:N")
    return value


# Upper bounds keep slips of the exponent from passing for a plan: no run comes near them.
Count = Annotated[float, BeforeValidator(parse_count), Field(gt=0, le=1e32)]
Tokens = Annotated[float, BeforeValidator(parse_count), Field(gt=0, ge=1, le=1e20)]
Parameters = Annotated[float, BeforeValidator(parse_count), Field(gt=0, ge=1, le=1e17)]
WholeCount = Annotated[int, BeforeValidator(parse_whole), Field(gt=0, le=10**15)]
Share = Annotated[float, BeforeValidator(parse_count), Field(ge=0, le=1)]
Rate = Annotated[float, BeforeValidator(parse_count), Field(gt=0, le=1)]
Decay = Annotated[float, BeforeValidator(parse_count), Field(ge=0, le=1_000)]
DomainName = Annotated[str, AfterValidator(name_of_domain)]


class Record(BaseModel):
    """What every part of a study file has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @field_validator("*")
    @classmethod
    def not_blank(cls, value: Any) -> Any:
        """An empty path would stand for the study file's own folder, an empty name for nothing."""
        if isinstance(value, str) and (not value.strip() or "\0" in value):
            raise ValueError(f"{value!r} is no name: write one, or take the key out")
        return value


class Text(Record):
    """Where text comes from: a path, a Hugging Face hub name or a built-in corpus."""

    path: str | None = Field(
        default=None,
        description="a file, folder or glob: jsonl or text (also .gz, .zst, .bz2, .xz), parquet, or a folder of "
        "`save_to_disk`; relative to the study file",
    )
    hub: str | None = Field(default=None, description="a data set's name on the Hugging Face hub, streamed")
    subset: str | None = Field(default=None, description="hub only: the configuration")
    split: str = Field(
        default="train",
        description="of a hub data set, or of a folder or glob whose files are named by split; all: every file",
    )
    builtin: str | None = Field(
        default=None, description="a demo corpus that arrives as a package: see docs/demo-corpus.md"
    )
    text: str = Field(default="text", description="the column that holds the text; data.text: a field of column data")
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

    pool: Tokens | None = Field(
        default=None,
        description="unique tokens the full run can draw on; left out: as many as were read (with a study on runs: no "
        "limit). State it when the corpus given here is a sample of a larger one",
    )


class Tokenizer(Record):
    vocab: WholeCount = Field(
        default=512,
        ge=257,
        le=10_000_000,
        description="byte-level BPE trained on a balanced sample; small, because a tiny proxy would otherwise spend "
        "most of its parameters on embeddings",
    )
    path: str | None = Field(
        default=None, description="a tokenizer.json of your own instead; relative to the study file"
    )
    hub: str | None = Field(default=None, description="a tokenizer's hub name instead")
    end_token: str | None = Field(
        default=None,
        description="its token that ends a document; left out: the one that it names, or a usual name of one that it "
        "has, or <|end|>, which is added",
    )

    @model_validator(mode="after")
    def one_tokenizer(self):
        if self.path and self.hub:
            raise ValueError("has path and hub: keep one of them")
        if self.end_token and not (self.path or self.hub):
            raise ValueError("has end_token, but the tokenizer trained here has one: give path or hub, or take it out")
        return self


class Prepare(Record):
    max_bytes: WholeCount | None = Field(
        default=None, description="read at most this much text of a domain, spread over it; then state its pool"
    )
    val_fraction: float = Field(default=0.1, gt=0, lt=1, description="share of documents for validation, by hash")
    on_bad: Literal["refuse", "skip"] = Field(
        default="refuse", description="broken UTF-8 or JSON: stop, or count and go on"
    )


class ProxyShape(Record):
    """The tiny model that stands in for the full run, but for what a study may vary: tokens and weight decay."""

    layers: WholeCount = Field(default=2, le=1000)
    width: WholeCount = Field(default=64, le=100_000)
    heads: WholeCount = Field(default=2, le=10_000)
    context: WholeCount = Field(default=64, le=1_000_000, description="tokens")
    batch: WholeCount = Field(
        default=8, le=1_000_000, description="sequences per step; small, because tiny runs gain more from more steps"
    )
    learning_rate: Rate = Field(default=8e-3, description="peak; normalised queries and keys keep this rate steady")
    warmup: Share = Field(default=0.05, description="share of the steps")
    decay: Share = Field(default=0.5, description="share of the steps over which the rate falls to 0")
    validation_tokens: WholeCount = Field(
        default=10_000,
        description="of each validation set: its sampling error is common to all runs, evaluation stays under a tenth",
    )
    device: Annotated[str, AfterValidator(name_of_device)] = Field(
        default="auto", description="auto, cpu, cuda or cuda:N"
    )
    workers: WholeCount | None = Field(
        default=None, le=10_000, description="processes on CPU, one thread each; left out: one a core"
    )
    stack: WholeCount = Field(
        default=32, le=100_000, description="proxies trained in lockstep on a GPU; a CPU worker trains one"
    )
    keep_weights: bool | None = Field(
        default=None,
        description="leave trained proxies in weights/: a text held out later is then evaluated without training; "
        "left out: where they take up at most 1 GiB together",
    )

    @model_validator(mode="after")
    def turns_pairs(self):
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x heads ({self.heads})")
        return self


class AnyStudy(Record):
    """What study files of every kind say. `kind` names the others: see `mixopt.study.kind`."""

    name: Annotated[str, AfterValidator(name_of_domain)]
    kind: str
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    domains: dict[DomainName, Domain] = Field(default={}, description="text that may be trained on")
    held_out: dict[DomainName, Text] = Field(default={}, description="text that is evaluated and never trained on")
    tokenizer: Tokenizer = Tokenizer()
    prepare: Prepare = Prepare()
    proxy: ProxyShape = ProxyShape()

    @property
    def brings_runs(self) -> bool:
        """Whether finished runs are given, so that there is no text and nothing to train."""
        return False

    @property
    def target_weights(self) -> dict[str, float]:
        """Validation set -> weight in the target, zero weights left out; empty where the domains' shares are meant."""
        return {}

    @property
    def full_flops(self) -> float | None:
        """Training FLOPs of the run to plan, 6 N D; None where the study file leaves them open."""
        return None


def weights_of(target: str | dict[str, float]) -> dict[str, float]:
    """Validation set -> weight of a target as it is written, zero weights left out."""
    given = {target: 1.0} if isinstance(target, str) else target
    return {text: weight for text, weight in given.items() if weight > 0}


Problems = list[tuple[tuple[str, ...], str]]  # (key path, message)


def sum_problems(where: tuple[str, ...], weights: dict[str, float]) -> Problems:
    """Whether weights sum to 1."""
    total = math.fsum(weights.values())
    if abs(total - 1) <= SUM_TOLERANCE:
        return []
    return [(where, f"its weights sum to {total:.6g}, not 1: divide each by {total:.6g}")]


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


Size = Annotated[float, BeforeValidator(parse_count), Field(gt=0, le=10_000)]


def heads_and_width(proxy: ProxyShape, size: float) -> tuple[int, int]:
    """Of a model of so many times the proxy's parameters, as nearly as whole heads allow."""
    heads = max(1, round(proxy.heads * size**0.5))
    return heads, heads * (proxy.width // proxy.heads)


def size_problems(where: tuple[str, ...], proxy: ProxyShape, sizes: list[float]) -> Problems:
    """Whether every size gives a model of another width."""
    taken: set[int] = set()
    for size in sorted(set(sizes)):
        width = heads_and_width(proxy, size)[1]
        if width in taken:
            return [(where, f"{size:g} and another size both come to a width of {width}, which grows by whole heads: "
                     "set them further apart, or give proxy more heads")]  # fmt: skip
        taken.add(width)
    return []
