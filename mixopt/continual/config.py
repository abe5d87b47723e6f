"""The study file of continued pretraining: base models, their continuations and the question, as frozen records."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mixopt.study.config import (
    AnyStudy,
    Count,
    Decay,
    DomainName,
    Parameters,
    Problems,
    Rate,
    Record,
    Share,
    Size,
    Tokens,
    WholeCount,
    parse_whole,
    size_problems,
    sum_problems,
    text_problems,
    weights_of,
)

Times = Annotated[int, BeforeValidator(parse_whole), Field(ge=0, le=1000)]


class Base(Record):
    """The general model that is continued: trained here at each size, or one that mixopt trained before."""

    sizes: list[Size] = Field(
        default=[1.0],
        min_length=1,
        description="in times the proxy's parameters; the width grows by whole heads, the learning rate falls with it",
    )
    tokens: WholeCount = Field(default=1_500_000, description="general text that each base is trained on")
    weight_decay: Decay = 0.1
    store: str | None = Field(
        default=None,
        description="a folder of bases that several studies share, relative to the study file; left out: bases/ in "
        "the study folder",
    )
    checkpoint: str | None = Field(
        default=None, description="a base (.npz) that mixopt trained, in place of new ones; relative to the study file"
    )


class Continuing(Record):
    """How a base is trained on: a schedule of its own, its learning rate warmed up again."""

    learning_rate: Rate = Field(default=2e-3, description="peak; a quarter of a base's default forgets less")
    warmup: Share = Field(default=0.05, description="share of the steps")
    decay: Share = Field(default=0.3, description="share of the steps over which the rate falls to 0")
    weight_decay: Decay = 0.1


class ContinuationDesign(Record):
    """Which continuations are trained: every size with every share of the new domain and every token count."""

    shares: list[Share] = Field(
        default=[0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0], min_length=3, description="shares of the new domain"
    )
    tokens: list[WholeCount] = Field(
        default=[100_000, 200_000, 400_000],
        min_length=1,
        description="each is a run with its own schedule: a loss before its end is not that of a shorter run",
    )
    repeats: Times = Field(default=2, description="more seeds of the middle share's longest run: the noise floor")
    looks: WholeCount = Field(default=8, le=1000, description="evaluations before a run's end, besides the start")


class ContinualQuestion(Record):
    """The run to plan."""

    params: Parameters | None = Field(
        default=None, description="non-embedding parameters; left out: the largest trained"
    )
    tokens: Tokens | None = Field(default=None, description="to continue on; left out: the most trained on")
    compute: Count | None = Field(default=None, description="FLOPs (6 N D), in place of both: the best split is found")
    domain_tokens: Tokens | None = Field(
        default=None, description="unique tokens of the new domain; left out: no limit"
    )
    tolerance: Share = Field(default=0.03, description="how far the general loss may end above its start, as a share")


class ContinualStudy(AnyStudy):
    """A study of continued pretraining: one study file."""

    kind: Literal["continual"] = Field(description="the question: how much general text to keep (replay)")
    new: DomainName = Field(description="the domain to learn; all others are the general text that is kept")
    general: dict[DomainName, Share] | None = Field(
        default=None,
        description="shares of the general domains within what is kept, in bases and continuations; left out: as much "
        "of each as there is",
    )
    domain_loss: str | dict[str, Share] | None = Field(
        default=None, description="validation sets of the domain loss; left out: the new domain's own"
    )
    general_loss: str | dict[str, Share] | None = Field(
        default=None, description="validation sets of the general loss; left out: the general domains by their share"
    )
    base: Base = Base()
    continuing: Continuing = Continuing()
    design: ContinuationDesign = ContinuationDesign()
    full: ContinualQuestion = ContinualQuestion()

    @property
    def kept(self) -> list[str]:
        """The general domains."""
        return [name for name in self.domains if name != self.new]

    @property
    def full_flops(self) -> float | None:
        full = self.full
        return full.compute or (6 * full.params * full.tokens if full.params and full.tokens else None)

    @property
    def target_weights(self) -> dict[str, float]:
        """Validation sets of either loss, with their weight in it."""
        return weights_of(self.general_loss or dict.fromkeys(self.kept, 1.0)) | weights_of(self.domain_loss or self.new)


def continual_problems(study: ContinualStudy) -> Problems:
    """What the parts of a study say against each other, empty when all is well."""
    found: Problems = []
    if study.new not in study.domains:
        found.append((("new",), f"{study.new!r} is none of the domains {', '.join(study.domains) or '(none given)'}"))
    elif not study.kept:
        found.append((("domains",), "has the new domain alone: name the general text that is kept"))
    for key in ("domain_loss", "general_loss"):
        wanted = getattr(study, key)
        if wanted is not None:
            found += [((key, *where[1:]), what) for where, what in text_problems(study, wanted) if where[0] == "target"]
            found += sum_problems((key,), weights_of(wanted))
    found += text_problems(study, {})
    if study.general is not None:
        strange, kept = [name for name in study.general if name not in study.kept], ", ".join(study.kept)
        found += [(("general", name), f"is not a general domain; there are {kept}") for name in strange]
        found += sum_problems(("general",), weights_of(study.general))
    return found + design_problems(study)


def design_problems(study: ContinualStudy) -> Problems:
    found: Problems = []
    for part, key in (("base", "sizes"), ("design", "shares"), ("design", "tokens")):
        value, times = Counter(getattr(getattr(study, part), key)).most_common(1)[0]
        if times > 1:
            found.append(((part, key), f"{value:g} stands there twice"))
    found += size_problems(("base", "sizes"), study.proxy, study.base.sizes)
    if study.base.checkpoint is not None and "sizes" in study.base.model_fields_set:
        found.append((("base", "sizes"), "has no use with base.checkpoint, which has its own size: take one out"))
    step = study.proxy.batch * study.proxy.context
    for where, tokens in ((("design", "tokens"), min(study.design.tokens)), (("base", "tokens"), study.base.tokens)):
        if tokens < step:
            found.append((where, f"{tokens:,} tokens are less than one step of {step:,} (proxy.batch x proxy.context)"))
    if study.full.compute is not None and (study.full.params is not None or study.full.tokens is not None):
        found.append((("full", "compute"), "leaves params and tokens free: take it out, or both of them"))
    return found
