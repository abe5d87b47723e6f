"""Configuration of a repetition study: the ladder of runs, and the run whose epochs are to be planned."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mixopt.formatting import listed, parse_count
from mixopt.study.config import (
    AnyStudy,
    Count,
    Decay,
    DomainName,
    Parameters,
    Problems,
    ProxyShape,
    Record,
    Share,
    Size,
    Tokens,
    WholeCount,
    size_problems,
    sum_problems,
    text_problems,
    weights_of,
)

Epochs = Annotated[float, BeforeValidator(parse_count), Field(ge=1, le=10_000)]
BUDGETS = ("compute", "params", "tokens")
LEVELS = ("unique", "tokens", "flops")


class RepetitionQuestion(Record):
    """The run to plan: its unique tokens, and one of compute, params and tokens."""

    unique: Tokens = Field(description="unique tokens available")
    compute: Count | None = Field(default=None, description="training FLOPs, 6 x params x tokens; the split is free")
    params: Parameters | None = Field(default=None, description="non-embedding parameters; the tokens are free")
    tokens: Tokens | None = Field(default=None, description="training tokens; the parameters are free")


class Ladder(Record):
    """Which runs are trained: every size with every number of unique tokens, epochs and weight decay.

    Unique tokens are nested: a smaller subset of the text is the beginning of every larger one.
    """

    sizes: list[Size] = Field(
        default=[0.25, 1.0, 4.0],
        min_length=1,
        description="in times the proxy's parameters; the width grows by whole heads, the learning rate falls with it",
    )
    unique: list[WholeCount] | None = Field(
        default=None, min_length=1, description="unique tokens; each run trains on unique x epochs tokens"
    )
    tokens: list[WholeCount] | None = Field(
        default=None, min_length=1, description="matched tokens instead: as many a run, tokens / epochs of them unique"
    )
    flops: list[Count] | None = Field(
        default=None,
        min_length=1,
        description="matched compute instead: every run takes so many FLOPs, counted from the architecture, so that "
        "a larger model trains on fewer tokens",
    )
    epochs: list[Epochs] = Field(
        default=[1.0, 2.0, 4.0, 8.0, 16.0, 32.0], min_length=2, description="over the unique tokens"
    )
    max_tokens: WholeCount | None = Field(default=None, description="leave out runs that would train on more")
    weight_decay: list[Decay] = Field(
        default=[0.1, 1.0], min_length=1, description="each with its own grid: stronger decay tolerates more epochs"
    )
    repeats: int = Field(
        default=2,
        ge=0,
        le=1000,
        description="more seeds, on other text of the same size, of the middle size's longest run at every number of "
        "unique tokens: the noise floor",
    )

    @property
    def levels(self) -> tuple[str, Sequence[float]]:
        """Which of unique, tokens and flops is laid out, and its values in order."""
        key = next(key for key in LEVELS if getattr(self, key) is not None)
        return key, sorted(getattr(self, key))


class RepetitionStudy(AnyStudy):
    """A study of repetition: one study file."""

    kind: Literal["repetition"] = Field(
        description="how often to repeat text, and the marginal value of one more epoch"
    )
    weights: dict[DomainName, Share] | None = Field(
        default=None,
        description="shares of several domains, the same in every run; left out: as much of each as there is",
    )
    target: str | dict[str, Share] | None = Field(
        default=None,
        description="a validation set, or weights over several that sum to 1; left out: that of the domains trained on",
    )
    full: RepetitionQuestion = Field(description="the run to plan: its unique tokens, and compute, params or tokens")
    proxy: ProxyShape = ProxyShape()
    design: Ladder = Ladder(unique=[16_000, 64_000, 256_000])

    @property
    def full_flops(self) -> float | None:
        return self.full.compute

    @property
    def target_weights(self) -> dict[str, float]:
        """Validation set -> weight in the target, zero weights left out; empty where the domains' shares are meant."""
        if self.target is not None:
            return weights_of(self.target)
        if len(self.domains) == 1:
            return dict.fromkeys(self.domains, 1.0)
        return weights_of(self.weights or {})


def repetition_problems(study: RepetitionStudy) -> Problems:
    """Contradictions between the parts of a study file; empty when there are none."""
    found: Problems = []
    if not study.domains:
        found.append((("domains",), "is missing: name the text to repeat"))
    found += text_problems(study, study.target or {})
    if study.target is not None:
        found += sum_problems(("target",), study.target_weights)
    if study.weights is not None:
        found += [
            (("weights", name), f"no domain has this name; there are {', '.join(study.domains)}")
            for name in study.weights
            if name not in study.domains
        ]
        found += [
            (("domains", name), "has no share in weights: give it one, or take it out")
            for name in study.domains
            if not study.weights.get(name)
        ]
        found += sum_problems(("weights",), weights_of(study.weights))
    if remedy := choose_one(study.full, BUDGETS):
        found.append((("full",), f"{remedy}: the others follow from it and the unique tokens"))
    return found + ladder_problems(study)


def ladder_problems(study: RepetitionStudy) -> Problems:
    """What is wrong with the design."""
    design, found = study.design, []
    if remedy := choose_one(design, LEVELS):
        return [(("design",), f"{remedy}: the tokens of each run follow from it and the epochs")]
    level, values = design.levels
    for key in ("sizes", "epochs", "weight_decay", level):
        twice = [value for value, times in Counter(getattr(design, key)).items() if times > 1]
        found += [(("design", key), f"{value:g} stands there twice") for value in twice[:1]]
    found += size_problems(("design", "sizes"), study.proxy, design.sizes)
    step = study.proxy.batch * study.proxy.context
    least = values[0] if level == "unique" else values[0] / max(design.epochs) if level == "tokens" else step
    if least < step:
        text = f"{least:,.0f} unique tokens are less than one step of {step:,} (proxy.batch x proxy.context)"
        found.append((("design", level), text))
    shortest = values[0] * min(design.epochs) if level == "unique" else values[0] if level == "tokens" else 0
    if design.max_tokens is not None and shortest > design.max_tokens:
        found.append((("design", "max_tokens"), f"leaves no run: the shortest takes {shortest:,.0f} tokens"))
    return found


def choose_one(part: Record, keys: Sequence[str]) -> str:
    """How to fix that none of several keys is given, or more than one; empty where one is."""
    given = [key for key in keys if getattr(part, key) is not None]
    if len(given) == 1:
        return ""
    return f"has {listed(given)}: keep one" if given else f"give one of {listed(keys)}"
