"""Run record: what one finished run was trained on, how, and the losses it reached, as its JSON file holds it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from proxies.files import check_types, is_changed, nan_to_null, read_json, replacing, sealed

Value = TypeVar("Value")

REMEDY = "delete it, and `mixopt train` (`mixopt verify` for a run in verify/) trains the run again"
KEYS = {"eval_history": "along", "init_from": "begin"}  # fields whose JSON key has another name: files keep theirs
OPTIONAL = ("starts", "texts", "eval_history", "init_from", "source")  # not written where a run has none


@dataclass(frozen=True)
class Loss:
    """Of one run on one validation set. NaN, null in the file: not finite."""

    nats_per_token: float = math.nan
    bits_per_byte: float = math.nan


@dataclass(frozen=True)
class Evaluation:
    """Losses before the end of training, nats/token by validation set."""

    step: int
    tokens: int  # trained on by then
    losses: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run. Fields with a default may be absent from a file; the order is the file's."""

    run_id: str
    role: str | None = None
    seed: int | None = None
    params: int | None = None  # without embeddings
    params_total: int | None = None
    tokens: int | None = None  # trained on
    flops: float | None = None  # counted from the architecture
    flops_6nd: float | None = None  # 6 x params x tokens
    seconds: float | None = None  # of training
    eval_seconds: float | None = None
    stacked: int | None = None  # proxies trained in lockstep with it, itself included
    weights: dict[str, float]  # domain -> share of training tokens
    pools: dict[str, int | None] = field(default_factory=dict)  # domain -> unique tokens; None: unlimited
    starts: dict[str, int] | None = None  # domain -> the token of its shard at which its pool begins; None: the first
    epochs: dict[str, float] = field(default_factory=dict)  # domain -> times its pool was read
    losses: dict[str, Loss]  # by validation set, at the end
    texts: dict[str, str] = field(default_factory=dict)  # domain or validation set -> hash of its tokens
    trajectory: list[dict[str, float]] = field(default_factory=list)  # step, tokens, train_loss
    eval_history: list[Evaluation] = field(default_factory=list)
    init_from: str | None = None  # the checkpoint it went on from
    diverged: bool = False
    reason: str | None = None  # why it counts as diverged
    device: str | None = None
    source: str | None = None  # the table that it was imported from; None: trained here
    versions: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)  # of proxies.train.Recipe

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        left_out = {name for name in OPTIONAL if not values[name]}
        return nan_to_null({KEYS.get(name, name): x for name, x in values.items() if name not in left_out})

    @classmethod
    def from_json(cls, value: object) -> "RunRecord":
        """Raises ValueError, naming the key, for a value that isn't a whole run."""
        if not isinstance(value, Mapping):
            raise ValueError(f"not a run, but a {type(value).__name__}")
        for key, kind in (("run_id", str), ("weights", Mapping), ("losses", Mapping)):
            if not isinstance(value.get(key), kind):
                raise ValueError(f"{key} is missing or of the wrong type")
        if not value["weights"] or not all(_is_share(weight) for weight in value["weights"].values()):
            raise ValueError("weights are not shares between 0 and 1")
        for name, loss in value["losses"].items():
            if not isinstance(loss, Mapping) or not all(map(_is_loss, loss.values())):
                raise ValueError(f"losses.{name} is {loss}, not numbers above 0 by unit, null for what isn't finite")
        found = {one.name: x for one in fields(cls) if (x := value.get(KEYS.get(one.name, one.name))) is not None}
        found["losses"] = {
            name: Loss(_number(loss.get("nats_per_token")), _number(loss.get("bits_per_byte")))
            for name, loss in value["losses"].items()
        }
        try:
            found["eval_history"] = [
                Evaluation(int(at["step"]), int(at["tokens"]), {k: _number(x) for k, x in at["losses"].items()})
                for at in found.get("eval_history", [])
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{KEYS['eval_history']} is not whole ({type(error).__name__}: {error})") from None
        check_types(cls, found)
        return cls(**found)

    def renamed(self, texts: Mapping[str, str]) -> "RunRecord":
        """With the names that texts have now. texts: domain or validation set -> hash of its tokens."""
        same = {name for name, content in self.texts.items() if texts.get(name) == content}
        free = {content: name for name, content in texts.items() if name not in same}
        now = {name: free[content] for name, content in self.texts.items() if name not in same and content in free}
        if not now:
            return self

        def keyed(old: Mapping[str, Value]) -> dict[str, Value]:
            """By present names, without what another text has taken the name of."""
            kept = {name: value for name, value in old.items() if name not in {*now, *now.values()}}
            return kept | {new: old[name] for name, new in now.items() if name in old}

        return replace(
            self,
            weights=keyed(self.weights),
            pools=keyed(self.pools),
            starts=keyed(self.starts) if self.starts else None,
            epochs=keyed(self.epochs),
            losses=keyed(self.losses),
            texts=keyed(self.texts),
            eval_history=[replace(at, losses=keyed(at.losses)) for at in self.eval_history],
        )

    def unevaluated(self, texts: Mapping[str, str]) -> list[str]:
        """Which of the texts it has no loss on; none for files of older versions, which don't hold what they read."""
        if not self.texts:
            return []
        return [name for name, content in texts.items() if self.texts.get(name) != content or name not in self.losses]


def read_record(path: Path) -> RunRecord:
    """Raises ValueError, with the file's name and the remedy, for a file that isn't a whole run."""
    try:
        value = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: not a whole run ({error}): {REMEDY}") from error
    try:
        if is_changed(value):
            raise ValueError("was changed after it was written (its checksum differs)")
        return RunRecord.from_json(value)
    except ValueError as error:
        raise ValueError(f"{path}: {error}: {REMEDY}") from None


def write_record(path: Path, record: RunRecord) -> None:
    """Whole or not at all. A loss that isn't finite is null, and the run's reason says why."""
    with replacing(path) as half:
        half.write_text(json.dumps(sealed(record.to_json()), indent=1) + "\n", encoding="utf-8")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _is_share(weight: object) -> bool:
    return _is_number(weight) and 0 <= weight <= 1


def _is_loss(value: object) -> bool:
    return value is None or (_is_number(value) and not value <= 0)  # NaN: diverged


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
