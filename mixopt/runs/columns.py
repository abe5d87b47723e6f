"""Column names of run tables: aliases, prefixes and suffixes by which a user's columns are recognised."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mixopt.errors import MixoptError
from mixopt.formatting import comma_list, did_you_mean

Choice = str | Sequence[str] | Mapping[str, str] | None  # a prefix, a list of columns, {name: column}, or: guess
Patterns = Sequence[tuple[str, str]]  # what stands before and behind a name

# RegMix's tables say train_ and valid_, Shukor's weight_ and _loss.
WEIGHT_PATTERNS: Patterns = (
    ("w/", ""), ("w_", ""), ("weight/", ""), ("weight_", ""), ("weights/", ""), ("weights_", ""), ("", "/weight"),
    ("", "_weight"), ("ratio/", ""), ("ratio_", ""), ("", "_ratio"), ("train/", ""), ("train_", ""),
    ("w.", ""), ("weight.", ""), ("weights.", ""), ("mixture.", ""), ("mixture/", ""), ("mixture_", ""),
)  # fmt: skip
LOSS_PATTERNS: Patterns = (
    ("loss/", ""), ("loss_", ""), ("", "/loss"), ("", "_loss"), ("valid/", ""), ("valid_", ""),
    ("val/", ""), ("val_", ""), ("eval/", ""), ("eval_", ""), ("loss.", ""), ("losses.", ""), ("", ".loss"),
)  # fmt: skip

# W&B's and MLflow's exports through their APIs put it before every name.
TRACKER = re.compile(r"^(summary|config|metrics|params)[./](?=.)", re.IGNORECASE)

# What such prefixes also stand before or behind in training logs: weight_decay, train_loss, val_step.
NOT_A_NAME = frozenset(
    {"acc", "accuracy", "batch_size", "data", "decay", "epoch", "epochs", "flops", "global_step", "grad_norm"}
    | {"learning_rate", "loss", "losses", "lr", "num", "samples_per_second", "steps_per_second"}
    | {"perplexity", "ppl", "runtime", "sample", "samples", "scale", "sec", "seconds", "seed", "size", "step", "steps"}
    | {"sum", "time", "token", "tokens", "total", "train", "training"}
)
ONE_LOSS = ("val_loss", "valid_loss", "validation_loss", "eval_loss", "loss")  # a single target, "validation"

# What the other columns of a run may be called, in upper or lower case; the first that a table has is taken.
Aliases = Mapping[str, Sequence[str]]
ALIASES: Aliases = {
    "run_id": ("run_id", "run", "run_name", "id", "name", "index"),
    "params": ("params", "n_params", "parameters", "n_nonemb", "model_size"),
    "tokens": ("tokens", "n_tokens", "train_tokens"),
    "seed": ("seed",),
    "step": ("step", "_step", "global_step", "trainer/global_step", "train/global_step", "iteration", "iter"),
    "role": ("role",),
    "diverged": ("diverged",),
    "reason": ("reason",),
    "state": ("state", "status"),
}
SCALING_ALIASES: Aliases = {  # runs of `mixopt plan`: no weights, so that n and d are no domains
    "params": ("params", "n_params", "parameters", "n", "n_nonemb", "model_size", "size"),
    "tokens": ("tokens", "n_tokens", "train_tokens", "training_tokens", "d"),
    "unique": ("unique", "unique_tokens", "n_unique", "u"),
    "epochs": ("epochs", "epoch", "n_epochs"),
    "loss": (*ONE_LOSS, "final_loss"),
}
CONTINUAL_ALIASES: Aliases = {  # runs of `mixopt plan cpt`
    "share": ("domain_share", "share", "r_d", "r_domain", "domain_ratio", "r", "w/domain", "w_domain"),
    "domain_loss": ("domain_loss", "loss_domain", "l_d", "loss/domain"),
    "general_loss": ("general_loss", "loss_general", "l_g", "loss/general"),
    "general_start": ("general_start", "start_general", "l_g0"),
    "domain_start": ("domain_start", "start_domain", "l_d0"),
    "params_column": ALIASES["params"],
    "tokens_column": ALIASES["tokens"],
    "run_column": ALIASES["run_id"],
}
# Metrics that rise as models get better, unless their name also says that it is a loss.
RISES = re.compile(
    r"(?<![a-z])(acc|accuracy|em|exact_?match|pass(@|_at_)\w+|f1|scores?|log_?prob(s|ability|abilities)?|log_?likelihood"
    r"|bleu|rouge\w*|auc|auroc|mrr|ndcg|win_?rate|rewards?|recall|precision)(?![a-z])",
    re.IGNORECASE,
)
FALLS = re.compile(
    r"(?<![a-z])(loss(es)?|nll|neg|negative|ppl|perplexity|bpb|bits|ce|entropy|err|errors?|brier)(?![a-z])",
    re.IGNORECASE,
)
# Names that say that a column holds nats/token, as losses do by default, and those that say another unit.
IN_NATS = re.compile(r"loss|nll|nats|entropy|(?<![a-z])(ce|valid|val|eval)(?![a-z])", re.IGNORECASE)
OTHER_UNIT = re.compile(r"ppl|perplex|bpb|bpc|bits|(?<![a-z])(acc|err|errors?|accuracy|brier|scores?)(?![a-z])", re.I)
UNFINISHED = frozenset({"crashed", "failed", "killed", "preempted", "preempting", "running"})  # states of trackers
# Columns that never hold a weight or a loss; "" and "Unnamed: 0" are a saved row number.
NEITHER = frozenset({"", "unnamed: 0"}.union(*ALIASES.values()))


def plain_name(column: str) -> str:
    """The name in lower case, without what trackers' exports put before it."""
    return TRACKER.sub("", column).lower()


def candidates(columns: Sequence[str], key: str, aliases: Aliases = ALIASES) -> list[str]:
    """The columns that may hold the run's `key`, one of the aliases' keys, the usual names first."""
    return [column for name in aliases[key] for column in columns if plain_name(column) == name]


def is_recognised(column: str) -> bool:
    """Whether a column of this name would be taken for something in some table of runs."""
    named = {name for aliases in (ALIASES, SCALING_ALIASES, CONTINUAL_ALIASES) for names in aliases.values()
             for name in names}  # fmt: skip
    return plain_name(column) in named or any(by_pattern([column], each) for each in (WEIGHT_PATTERNS, LOSS_PATTERNS))


def checked(columns: Sequence[str], chosen: str, *, setting: str, where: object) -> str:
    """A column that the user names. Raises MixoptError where the table `where` has none of that name."""
    if chosen not in columns:
        raise MixoptError(f"{where}: no column {chosen!r} ({setting}): {did_you_mean(chosen, columns)}")
    return chosen


def unit_of(column: str) -> str:
    """The unit of a column of losses by its name, "" where that doesn't tell."""
    return "nats/token" if IN_NATS.search(column) and not OTHER_UNIT.search(column) else ""


def refuse_rising(name: str, *, remedy: str, place: str = "") -> None:
    """Raises MixoptError for the name of a metric that rises as models get better: everything here minimises losses.

    remedy: how to name it, if it is a loss after all. place: what the message begins with.
    """
    if RISES.search(name) and not FALLS.search(name):
        raise MixoptError(
            f"{place}{name!r} names a metric that rises as models get better, and losses are minimised: choose a loss, "
            f"such as an error rate or bits per byte; if it is one, {remedy}"
        )


def by_pattern(columns: Sequence[str], patterns: Patterns) -> dict[str, str]:
    """{column: name} of the first pattern that two columns follow, else that one follows, else {}."""
    found = [{column: name for column in columns if (name := _inside(column, *pattern))} for pattern in patterns]
    return next((names for names in found if len(names) > 1), next((names for names in found if names), {}))


def _inside(column: str, start: str, end: str) -> str:
    """The name between start and end, or "" where the column doesn't follow the pattern."""
    column = TRACKER.sub("", column)
    lower = column.lower()
    if not (lower.startswith(start) and lower.endswith(end)):
        return ""
    name = column[len(start) : len(column) - len(end)]
    return "" if name.lower() in NOT_A_NAME else name


def weight_columns(columns: Sequence[str], choice: Choice, *, where: str, key: str = "weights") -> dict[str, str]:
    """{column: domain}; {} when no choice is given and no pattern is followed."""
    if choice is not None:
        return _chosen(columns, choice, WEIGHT_PATTERNS, key=key, where=where)
    free = [column for column in columns if not column.lower().endswith(("loss", "ppl", "bpb"))]
    return _apart(by_pattern(free, WEIGHT_PATTERNS), key=key, where=where)


def loss_columns(columns: Sequence[str], choice: Choice, *, where: str, key: str = "losses") -> dict[str, str]:
    """{column: target}; {} when no choice is given and no pattern is followed."""
    if choice is not None:
        return _chosen(columns, choice, LOSS_PATTERNS, key=key, where=where)
    one = next((column for column in columns if column.lower() in ONE_LOSS), None)
    found = by_pattern([column for column in columns if column.lower() not in ONE_LOSS], LOSS_PATTERNS)
    found = _apart(found, key=key, where=where)
    return found or ({one: "validation"} if one else {})


def _chosen(columns: Sequence[str], choice: Choice, patterns: Patterns, *, key: str, where: str) -> dict[str, str]:
    """{column: name} for a prefix, a list of columns (named by a pattern they all follow, if any) or a map."""
    if isinstance(choice, str):
        if not choice.strip():
            raise MixoptError(f"{where}: {key} is empty: write a prefix, or leave it out: columns are recognised")
        found = {column: column[len(choice) :] for column in columns if column.startswith(choice)}
        found = {column: name for column, name in found.items() if name}
        if not found and choice in columns:  # one column, named in full
            return {choice: choice}
        if not found:
            raise MixoptError(f"{where}: no column starts with {choice!r} ({key}): it has {comma_list(columns)}")
        return found
    if isinstance(choice, Mapping):
        named = {column: name for name, column in choice.items()}
        if len(named) < len(choice):
            raise MixoptError(f"{where}: {key} gives one column to two names: name each column once")
    else:
        given = list(choice or ())
        inside = by_pattern(given, patterns)
        named = inside if len(inside) == len(given) else {column: column for column in given}
    for column in named:
        if column not in columns:
            raise MixoptError(f"{where}: no column {column!r} ({key}): it has {comma_list(columns)}")
    if not named:
        raise MixoptError(f"{where}: {key} names no column: it has {comma_list(columns)}")
    return _apart(named, key=key, where=where)


def _apart(named: dict[str, str], *, key: str, where: str) -> dict[str, str]:
    """The same names; refused where two columns have one, as w_a and W_a would."""
    seen: dict[str, str] = {}
    for column, name in named.items():
        if name in seen:
            raise MixoptError(
                f"{where}: columns {seen[name]!r} and {column!r} both stand for {name!r} ({key}): map each to a name "
                "of its own"
            )
        seen[name] = column
    return named
