"""Corpus preparation: tokenizer training and token shards, redone only where their inputs changed."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.formatting import percent
from mixopt.serialization import CACHE_KEY, Json, Record, cached, digest, read_json, remake, restoring, write_json
from mixopt.study.config import AnyStudy, Text
from mixopt.study.layout import Folder
from mixopt.study.loading import resolve
from mixopt.study.progress import Progress

if TYPE_CHECKING:
    from proxies.corpora import Documents
    from proxies.shards import Shard
    from proxies.tokenizer import Tokenizer

READERS_VERSION = 1  # raise when proxies/ reads the same source as other documents: shards are then made again
MIN_SAMPLE_BYTES = 4 << 20  # of text that the tokenizer is trained on, over all domains, at least ...
BYTES_PER_TOKEN = 2048  # ... and so much for each token of its vocabulary: less can't fill a large one
MIN_UNKNOWN, MAX_UNKNOWN = 0.001, 0.1  # of characters without a token: for a note, and for a refusal in the target
MIN_SHARED = 0.01  # of a domain's documents that must also stand in another for a note


def prepare(study: AnyStudy, study_path: Path, folder: Folder, progress: Progress) -> dict[str, "Shard"]:
    """Shards of every corpus of the study, domains first, then held-out validation sets.

    Raises MixoptError for text that can't be read, naming file and line and the domain's key.
    """
    check_device(study, study_path)
    corpora: dict[str, Text] = {**study.domains, **study.held_out}
    progress.stage("prepare", total=len(corpora) + 1)
    documents = {name: open_documents(study, study_path, name, text) for name, text in corpora.items()}
    fingerprints = {name: fingerprint(study, docs) for name, docs in documents.items()}
    tokenizer = get_tokenizer(study, study_path, folder, documents, fingerprints, progress)
    shards = {}
    for i, (name, docs) in enumerate(documents.items()):
        progress.update(i + 1, name)
        shards[name] = get_shard(study, folder, name, docs, fingerprints[name], tokenizer, progress)
    check_unknown(study, study_path, shards)
    report = describe(shards, tokenizer)
    write_json(folder.corpora, report)
    for message in corpus_notes(report):
        progress.note(message)
    tokens = sum(shard.meta.tokens for shard in shards.values())
    progress.finish(f"{len(shards)} corpora, {tokens / 1e6:.1f}M tokens, vocabulary {tokenizer.size}")
    return shards


def check_device(study: AnyStudy, study_path: Path) -> None:
    """Raises MixoptError where a GPU is asked for that isn't there, before hours of preparing."""
    if study.proxy.device.startswith("cuda"):
        from proxies.train import pick_device

        try:
            pick_device(study.proxy.device)
        except ValueError as error:
            raise MixoptError(f"{study_path}: proxy.device: {error}") from None


def open_documents(study: AnyStudy, study_path: Path, name: str, text: Text) -> "Documents":
    from proxies.corpora import Source, read

    part = "domains" if name in study.domains else "held_out"
    path = str(resolve(study_path, text.path)) if text.path else None
    hub = text.hub
    if hub and resolve(study_path, hub).is_dir():
        hub = str(resolve(study_path, hub))  # a data set's folder beside the study file, in place of a hub name
    try:
        given: Json = {key: getattr(text, key) for key in Text.model_fields} | {"path": path, "hub": hub}
        return read(Source(**given), max_bytes=study.prepare.max_bytes, on_bad=study.prepare.on_bad)
    except ValueError as error:
        raise MixoptError(f"{study_path}: {part}.{name}: {error}") from None


def fingerprint(study: AnyStudy, documents: "Documents") -> str:
    """Changes when the text of a shard may have changed: its source, its files' sizes and times, or the settings."""
    from proxies.corpora import find

    source = documents.source
    paths = find(source.path, source.split)[0] if source.path else []
    if source.hub and Path(source.hub).is_dir():
        paths = sorted(p for p in Path(source.hub).rglob("*") if p.is_file())
    files = [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
    installed = {}
    if source.builtin:
        from proxies.builtin.registry import BUILTIN

        installed = BUILTIN[source.builtin].versions()
    return digest([READERS_VERSION, asdict(source), files, installed, study.prepare.model_dump()])


def get_tokenizer(
    study: AnyStudy,
    study_path: Path,
    folder: Folder,
    documents: dict[str, "Documents"],
    fingerprints: dict[str, str],
    progress: Progress,
) -> "Tokenizer":
    """The user's tokenizer, the one trained before on the same text, or one trained now."""
    from proxies.tokenizer import END, Tokenizer, load, train

    wish = study.tokenizer
    cache = folder.tokenizer_stamp

    def save(tokenizer: Tokenizer) -> Json:
        tokenizer.save(folder.tokenizer)
        return {"end": tokenizer.end, "sha256": hashlib.sha256(folder.tokenizer.read_bytes()).hexdigest()}

    def keep(key: str, compute: Callable[[], Json]) -> None:
        """tokenizer.json, written where it wasn't before or was damaged since: workers read it."""
        made = cached(cache, key, compute, needs=lambda _: [folder.tokenizer], made_by="prepare")
        if not is_whole(folder, made):
            progress.note(f"{folder.tokenizer} was damaged and is made again")
            write_json(cache, compute() | {CACHE_KEY: key})

    try:
        if wish.path or wish.hub:
            source = tokenizer_source(study, study_path)
            given = load(source, end_token=wish.end_token)
            if given.end_added:
                progress.note(f"{source} has no token that ends a document: {END} was added as token {given.end}")
            keep(digest(["given", given.hash]), lambda: save(given))
            return given

        def compute() -> Json:
            sample_bytes = max(MIN_SAMPLE_BYTES, wish.vocab * BYTES_PER_TOKEN)
            text = {name: documents[name] for name in study.domains}
            tell = partial(progress.update, 0)
            return save(train(text, vocab_size=wish.vocab, sample_bytes=sample_bytes, on_progress=tell))

        key = digest(["trained", wish.vocab, {name: fingerprints[name] for name in study.domains}])
        keep(key, compute)
        return load(folder.tokenizer, end_token=END)
    except ValueError as error:
        raise MixoptError(f"{study_path}: {error}") from None


def vocabulary(study: AnyStudy, study_path: Path) -> int:
    """Size of the study's vocabulary, before any text is read. Raises MixoptError for a tokenizer that can't be."""
    from proxies.tokenizer import load

    wish = study.tokenizer
    if not (wish.path or wish.hub):
        return wish.vocab
    try:
        return load(tokenizer_source(study, study_path), end_token=wish.end_token).size
    except ValueError as error:
        raise MixoptError(f"{study_path}: {error}") from None


def tokenizer_source(study: AnyStudy, study_path: Path) -> str | Path:
    """Where a tokenizer of the user's own is."""
    return resolve(study_path, study.tokenizer.path) if study.tokenizer.path else str(study.tokenizer.hub)


def is_whole(folder: Folder, made: Json) -> bool:
    """Whether tokenizer.json is as its stamp says; those of older versions say nothing."""
    found = hashlib.sha256(folder.tokenizer.read_bytes()).hexdigest() if folder.tokenizer.is_file() else ""
    return made.get("sha256", found) == found and bool(found)


def get_shard(
    study: AnyStudy,
    folder: Folder,
    name: str,
    documents: "Documents",
    fingerprint: str,
    tokenizer: "Tokenizer",
    progress: Progress,
) -> "Shard":
    """A domain's shard: the one made before from the same text, if it is whole, or one made now."""
    from proxies.shards import check_shard, open_shard, write

    where = folder.shards / name
    cache, key = where / "stamp.json", digest([fingerprint, tokenizer.hash])

    def compute() -> Json:
        cache.unlink(missing_ok=True)  # or a shard that is half written would pass for the one before
        write(where, documents, tokenizer, val_fraction=study.prepare.val_fraction)
        return {}

    try:
        cached(cache, key, compute, made_by="prepare")
        try:
            check_shard(where)
        except ValueError as damage:
            progress.note(f"domain {name!r} was damaged and is prepared again ({damage})")
            write_json(cache, compute() | {CACHE_KEY: key})
        return open_shard(where)
    except ValueError as error:
        raise MixoptError(f"domain {name!r}: {error}") from None
    except OSError as error:
        error.filename = error.filename or where  # the system names no file where a disk is full
        raise


def open_shards(study: AnyStudy, folder: Folder) -> dict[str, "Shard"]:
    """Shards that stage prepare has made. Raises MixoptError when they aren't there."""
    from proxies.shards import open_shard

    names = [*study.domains, *study.held_out]
    check_corpora(folder.corpora, names)
    if not is_whole(folder, read_json(folder.tokenizer_stamp, made_by="prepare")):
        raise MixoptError(f"{folder.tokenizer} isn't as it was written: `mixopt prepare` makes it again")
    try:
        return {name: open_shard(folder.shards / name) for name in names}
    except ValueError as error:
        raise MixoptError(str(error)) from None


class Corpus(Record):
    """What corpora.json holds of a text, as far as it is used."""

    documents: int
    train_tokens: int
    val_tokens: int
    bytes: int
    problems: Json


def check_corpora(path: Path, names: Iterable[str]) -> None:
    """Raises MixoptError for a corpora.json that isn't there, or isn't of these texts."""
    found = read_json(path, made_by="prepare")
    with restoring(path, remake("prepare")):
        for name in names:
            Corpus.from_json(found["texts"][name])


def check_unknown(study: AnyStudy, study_path: Path, shards: dict[str, "Shard"]) -> None:
    """Raises MixoptError for a text of the target that the tokenizer doesn't know: its loss would be that of [UNK]."""
    for name in study.target_weights or study.domains:
        if (unknown := shards[name].meta.unknown) > MAX_UNKNOWN:
            raise MixoptError(
                f"{study_path}: tokenizer: has no token for {percent(unknown)} of the characters of {name!r}, which is "
                "in the target: give one that knows its script, or leave path and hub out and one is trained here"
            )


def describe(shards: dict[str, "Shard"], tokenizer: "Tokenizer") -> Json:
    """shards/corpora.json: sizes of all corpora, problems met in reading them, and duplicates across them."""
    from proxies.shards import duplicates_across

    texts = {}
    for name, shard in shards.items():
        meta = shard.meta
        texts[name] = {
            "documents": meta.train_documents + meta.val_documents,
            "train_tokens": meta.train_tokens,
            "val_tokens": meta.val_tokens,
            "bytes": meta.train_bytes + meta.val_bytes,
            "duplicates": meta.duplicates,
            "unknown": meta.unknown,
            "source": meta.source,
            "versions": meta.versions,
            "problems": meta.problems,
        }
    overlaps = []
    for overlap in duplicates_across({name: shard.hashes for name, shard in shards.items()}):
        example = tokenizer.decode(shards[overlap.first].document(overlap.example))
        overlaps.append(asdict(overlap) | {"example": " ".join(example.split())[:120]})
    return {"texts": texts, "duplicates": overlaps, "vocab": tokenizer.size}


def corpus_notes(report: Json) -> list[str]:
    """Sentences on problems and duplicates of the corpora."""
    from proxies.corpora import PROBLEMS

    notes = []
    for name, text in report["texts"].items():
        problems, places = text["problems"], text["problems"].get("places", {})
        met = [
            f"{problems[key]} {word}" + "".join(f" (first: {place})" for place in places.get(key, [])[:1])
            for key, word in PROBLEMS.items()
            if problems.get(key)
        ]
        if met:
            notes.append(f"{name}: left out {', '.join(met)}")
        if text["unknown"] > MIN_UNKNOWN:
            notes.append(f"{name}: the tokenizer has no token for {percent(text['unknown'])} of its characters")
        if problems.get("joined"):
            what = "lists of strings, joined line by line, or chat messages, joined as `role: content`"
            notes.append(f"{name}: {problems['joined']} documents were {what}")
    for overlap in report["duplicates"]:
        if max(overlap["first_share"], overlap["second_share"]) >= MIN_SHARED:
            notes.append(
                f"{overlap['first']} and {overlap['second']} share {overlap['texts']} documents word for word "
                f"({overlap['first_share']:.0%} and {overlap['second_share']:.0%} of them)"
            )
    return notes
