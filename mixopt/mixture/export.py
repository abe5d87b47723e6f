"""The recommended mixture as other trainers read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

from mixopt.errors import MixoptError
from mixopt.serialization import Json, write_text

PLACES = 6  # decimals of an exported weight: a millionth of the tokens


def rounded(weights: Mapping[str, float], *, places: int = PLACES) -> dict[str, str]:
    """Weights as decimals of so many places that sum to exactly 1, each within one unit of its value.

    weights: 0 or more, any sum above 0; they are divided by it. What rounding down leaves over goes to the largest
    remainders. A weight of 0 stays 0. Raises MixoptError for a weight below 0 or a sum that isn't above 0.
    """
    exact = {name: Fraction(float(weight)) for name, weight in weights.items()}
    total = sum(exact.values(), start=Fraction(0))
    if any(weight < 0 for weight in exact.values()) or total <= 0:
        raise MixoptError("weights to export must be 0 or more, and one above 0: run the search again")
    units = {name: weight / total * 10**places for name, weight in exact.items()}
    down = {name: int(share) for name, share in units.items()}
    left = 10**places - sum(down.values())
    for name in sorted(units, key=lambda name: down[name] - units[name])[:left]:  # largest remainder first
        down[name] += 1
    return {name: f"{unit // 10**places}.{unit % 10**places:0{places}d}" for name, unit in down.items()}


def shares(recommendation: Json) -> dict[str, float]:
    """The recommended token shares by domain."""
    found = {row["domain"]: row["recommended"] for row in recommendation.get("domains") or []}
    if not found:
        raise MixoptError("recommendation.json names no domain: run `mixopt recommend` again")
    return found


def interleave(recommendation: Json, *, tokens_per_document: Mapping[str, float] | None = None) -> str:
    """Python text that mixes Hugging Face data sets with `datasets.interleave_datasets`.

    Its probabilities count examples, not tokens: a domain of long documents must be drawn less often. It stops after
    the documents of the full run's tokens. tokens_per_document: mean tokens by domain; None: equal lengths are assumed,
    and the text says so and asks for the number of documents.
    Raises MixoptError for a domain without a mean, or one that isn't above 0.
    """
    wanted, planned, default = shares(recommendation), "", ""
    note = (
        "Probabilities are per example. They equal the recommended token shares only if all domains' examples have\n"
        "# the same mean length: pack each domain into blocks of one length first, or export again with the\n"
        "# mean tokens of a document."
    )
    if tokens_per_document is not None:
        wanted = {name: weight / _length(name, tokens_per_document) for name, weight in wanted.items()}
        if tokens := (recommendation.get("full") or {}).get("tokens"):
            planned = f"DOCUMENTS = {round(tokens * sum(wanted.values()))}  # of the full run's {tokens:,.0f} tokens\n"
            default = "=DOCUMENTS"
        note = "Probabilities are per example: the recommended token shares over each domain's mean document length."
    used = {name: text for name, text in rounded(wanted).items() if float(text) > 0}
    table = "\n".join(f"    {json.dumps(name, ensure_ascii=False)}: {text}," for name, text in used.items())
    dropped = [name for name in wanted if name not in used]
    left_out = f"# Left out, with no weight: {_one_line(', '.join(dropped))}.\n" if dropped else ""
    whose = _one_line(recommendation.get("study") or "a study")
    whose += f", answer {_one_line(stamp)[:12]}" if (stamp := recommendation.get("stamp")) else ""
    return f'''"""The mixture that mixopt recommends for {whose}."""

from datasets import IterableDataset, interleave_datasets

# {note}
{left_out}PROBABILITIES = {{
{table}
}}
{planned}

def mixed(domains, *, documents{default}, seed=0):
    """A stream of so many documents of `domains`, {{name: data set}}, read again from the start where one runs out.

    Shuffle each data set first. Stop there: with more documents every domain is repeated more often than planned.
    """
    parts = [domains[name] for name in PROBABILITIES]
    streams = [part if isinstance(part, IterableDataset) else part.to_iterable_dataset() for part in parts]
    endless = [stream.repeat(None) for stream in streams]
    return interleave_datasets(endless, probabilities=list(PROBABILITIES.values()), seed=seed).take(documents)
'''


def _length(name: str, tokens_per_document: Mapping[str, float]) -> float:
    length = tokens_per_document.get(name)
    if length is None or not 0 < length < float("inf"):
        raise MixoptError(f"tokens per document of {name} is {length}: give a number above 0 for every domain")
    return length


def _one_line(text: object) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return " ".join(printable.split()).replace("\\", "/").replace('"', "'")


def megatron(recommendation: Json, *, paths: Mapping[str, str | Path] | None = None) -> str:
    """Megatron-LM's `--data-path` blend, "weight prefix weight prefix ...", in one line. Its weights are token shares.

    paths: each domain's .bin/.idx prefix; None: the domain's name stands for it, without spaces.
    Raises MixoptError for a domain without a path, a path with white space, which Megatron would split, one that
    it would take for an option, and one path of two domains.
    """
    blend, taken = [], dict[str, str]()
    for name, text in rounded(shares(recommendation)).items():
        if float(text) == 0:
            continue
        path = "_".join(name.split()) if paths is None else str(paths.get(name, ""))
        if not path or path.split() != [path]:
            raise MixoptError(f"{name}: {path!r} can't be a Megatron path: give one without spaces for every domain")
        if path.startswith("-"):
            raise MixoptError(
                f"{name}: Megatron would take {path!r} for an option: rename the domain, or give its path"
            )
        if (other := taken.setdefault(path, name)) != name:
            raise MixoptError(
                f"{name} and {other}: both would be {path!r} in megatron.txt: rename one, or give each its path"
            )
        blend.append(f"{text} {path}")
    return " ".join(blend) + "\n"


# File name -> what writes it, and the facts about domains that it takes. A trainer's format is one more line.
FORMATS: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {
    "interleave.py": (interleave, ("tokens_per_document",)),
    "megatron.txt": (megatron, ("paths",)),
}


def write_exports(
    recommendation: Json,
    folder: Path,
    *,
    tokens_per_document: Mapping[str, float] | None = None,
    paths: Mapping[str, str | Path] | None = None,
    write: Callable[[Path, str], None] = write_text,
) -> list[Path]:
    """Writes the recommendation in every format to folder, each file whole or not at all, and gives their paths."""
    facts = {"tokens_per_document": tokens_per_document, "paths": paths}
    made = {name: form(recommendation, **{key: facts[key] for key in takes}) for name, (form, takes) in FORMATS.items()}
    for name, text in made.items():
        write(Path(folder) / name, text)
    return [Path(folder) / name for name in made]
