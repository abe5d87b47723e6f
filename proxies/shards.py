"""Token shards: a domain's documents as two flat files of tokens, for training and for validation.

A document's own hash decides which part it is in and where it stands there. So no text is in both parts, texts that
two domains share are in the same part of both, and the first n tokens of a part are a random subset of documents.
"""

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np

from proxies.corpora import Documents
from proxies.files import CHECKSUM, SCRATCH, check_types, is_changed, read_json, replacing, sealed, sync
from proxies.tokenizer import Tokenizer

FILES = ("train.bin", "val.bin", "documents.bin")
AGAIN = "prepare this domain again (`mixopt prepare`)"
_PARTS = ("train", "val")
_UNKNOWN_SAMPLE = 100_000  # characters of a document searched for unknown ones; of text before documents are skipped
_FORMAT = 1  # raise when the files' meaning changes: old shards are then refused, not misread


@dataclass(frozen=True, kw_only=True)
class ShardMeta:
    """What is known of a shard, as meta.json holds it next to the other files."""

    train_tokens: int  # end tokens among them
    val_tokens: int
    train_documents: int
    val_documents: int
    train_bytes: int  # UTF-8 bytes of text
    val_bytes: int
    val_fraction: float  # as set; of documents, so that the tokens' share differs
    dtype: str  # "uint16" or "uint32"
    vocab_size: int
    tokenizer: str  # hash of the tokenizer
    end: int  # id of the end token
    content: str  # hash of both parts' tokens and the tokenizer: equal shards give equal runs
    duplicates: int  # documents whose text stood in this domain before; they are kept
    unknown: float = 0.0  # share of its characters that the tokenizer has no token for
    documents: str = ""  # hash of documents.bin; shards of older versions have none
    source: str = ""
    versions: dict[str, str] = field(default_factory=dict)  # of packages that a built-in text was read from
    problems: dict = field(default_factory=dict)  # what reading met: proxies.corpora.Counts
    format: int = _FORMAT

    @property
    def tokens(self) -> int:
        """Tokens of both parts."""
        return self.train_tokens + self.val_tokens


@dataclass(frozen=True)
class Shard:
    """An open shard. The tokens are read from disk as they are used."""

    folder: Path
    meta: ShardMeta
    train: np.ndarray  # (train_tokens,), read-only
    val: np.ndarray  # (val_tokens,), read-only
    hashes: np.ndarray  # (train_documents + val_documents,), uint64; documents in the order they stand in

    def document(self, number: int) -> np.ndarray:
        """Tokens of the document that hashes[number] belongs to, without its end token."""
        before = self.meta.train_documents
        part, number = (self.train, number) if number < before else (self.val, number - before)
        ends = np.flatnonzero(part == self.meta.end)
        return part[0 if number == 0 else ends[number - 1] + 1 : ends[number]]


@dataclass(frozen=True)
class Overlap:
    """Texts that two domains share."""

    first: str
    second: str
    texts: int  # distinct texts in both
    first_share: float  # of the first domain's documents
    second_share: float
    example: int  # place in the first domain's hashes of one of them; see Shard.document


def write(folder: Path, documents: Iterable[str], tokenizer: Tokenizer, *, val_fraction: float = 0.02) -> ShardMeta:
    """Writes train.bin, val.bin, documents.bin and last meta.json; without meta.json a shard is unfinished.

    documents are read once, and only an index of them (24 bytes each) is held in memory.
    Raises ValueError when either part would be without a document, and what reading the documents raises.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction = {val_fraction}: set it between 0 and 1, e.g. 0.02")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
        spool = Path(scratch) / "tokens"
        index = _encode_all(documents, tokenizer, spool)
        chosen = index.split(val_fraction)
        tokens = np.memmap(spool, dtype=tokenizer.dtype, mode="r")
        content = hashlib.sha256(tokenizer.hash.encode())
        for part, order in zip(_PARTS, chosen, strict=True):
            _write_part(Path(scratch) / f"{part}.bin", tokens, index, order, content)
        hashes = index.hashes[np.concatenate(chosen)]
        hashes.tofile(Path(scratch) / "documents.bin")
        del tokens  # Windows doesn't delete a mapped file
        for name in FILES:
            sync(Path(scratch) / name)
            (Path(scratch) / name).replace(folder / name)
    meta = _meta(documents, tokenizer, index, chosen, val_fraction=val_fraction, content=content.hexdigest())
    meta = replace(meta, documents=hashlib.sha256(hashes.tobytes()).hexdigest())
    with replacing(folder / "meta.json") as half:
        half.write_text(json.dumps(sealed(asdict(meta)), indent=1, ensure_ascii=False), encoding="utf-8")
    return meta


def check_shard(folder: Path) -> None:
    """Raises ValueError for a shard that doesn't open, or whose contents aren't those that were written."""
    shard = open_shard(folder)
    files = tuple((folder / name, (folder / name).stat().st_mtime_ns) for name in FILES)
    content, documents = _hashes(files, shard.meta.tokenizer)
    if content != shard.meta.content or documents != (shard.meta.documents or documents):
        raise ValueError(f"{folder}: its tokens aren't those that were written (their hash differs): {AGAIN}")


@cache
def _hashes(files: tuple[tuple[Path, int], ...], tokenizer: str) -> tuple[str, str]:
    """Of both parts' tokens, and of documents.bin. files: with their times, so that a process reads each state once."""
    content, documents = hashlib.sha256(tokenizer.encode()), hashlib.sha256()
    for path, _ in files:
        hashed = documents if path.name == "documents.bin" else content
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                hashed.update(block)
        if hashed is content:
            content.update(b"|" + path.name.encode())
    return content.hexdigest(), documents.hexdigest()


def open_shard(folder: Path) -> Shard:
    """Opens a shard for reading. Raises ValueError when it is unfinished or its files don't fit meta.json."""
    try:
        raw = read_json(folder / "meta.json")
        if raw["format"] != _FORMAT:
            raise ValueError("it was written by another version of mixopt")
        if is_changed(raw):
            raise ValueError("it was changed after it was written")
        check_types(ShardMeta, raw)
        meta = ShardMeta(**{key: value for key, value in raw.items() if key != CHECKSUM})
        dtype = np.dtype(meta.dtype)
    except FileNotFoundError:
        raise ValueError(f"{folder}: no finished token shard (meta.json is absent): {AGAIN}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'meta.json'}: can't be read ({error}): {AGAIN}") from error
    hashes = _map(folder / "documents.bin", np.dtype(np.uint64), meta.train_documents + meta.val_documents)
    train = _map(folder / "train.bin", dtype, meta.train_tokens)
    val = _map(folder / "val.bin", dtype, meta.val_tokens)
    return Shard(folder, meta, train, val, hashes)


def duplicates_across(hashes: Mapping[str, np.ndarray]) -> list[Overlap]:
    """Texts that stand word for word in two domains, for each pair that shares any; the largest share first.

    hashes: by domain, (n_documents,) uint64: Shard.hashes.
    """
    distinct = {name: np.unique(values, return_index=True) for name, values in hashes.items()}
    found = []
    for first, second in combinations(hashes, 2):
        shared, at, _ = np.intersect1d(distinct[first][0], distinct[second][0], assume_unique=True, return_indices=True)
        if len(shared):
            share = [float(np.isin(hashes[name], shared).mean()) for name in (first, second)]
            found.append(Overlap(first, second, len(shared), *share, example=int(distinct[first][1][at[0]])))
    return sorted(found, key=lambda pair: -max(pair.first_share, pair.second_share))


@dataclass(frozen=True)
class _Index:
    """Where each document's tokens are in the spool, in the order of reading. All (n_documents,)."""

    hashes: np.ndarray  # uint64, of the text
    lengths: np.ndarray  # tokens, the end token among them
    sizes: np.ndarray  # UTF-8 bytes of text
    unknown: float  # share of characters that the tokenizer has no token for

    def repeats(self) -> np.ndarray:
        """How often each document's text stood before it."""
        order = np.argsort(self.hashes, kind="stable")
        ranked = self.hashes[order]
        fresh = np.concatenate([[True], ranked[1:] != ranked[:-1]])
        firsts = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
        repeats = np.empty(len(order), dtype=np.int64)
        repeats[order] = np.arange(len(order)) - firsts
        return repeats

    def split(self, val_fraction: float) -> tuple[np.ndarray, np.ndarray]:
        """Documents of the training and the validation part, each in the order they are to stand in."""
        draw = _mixed(self.hashes) / 2.0**64
        is_val = draw < val_fraction
        if is_val.all() or not is_val.any():
            # The same threshold must hold in every domain, so a domain without validation text can't get its own.
            raise ValueError(
                f"{len(draw)} documents with val_fraction = {val_fraction} leave no document to "
                f"{'train on' if is_val.all() else 'validate on'}: give more or shorter documents "
                f"(`unit: paragraph` or `line` for text files){_remedy(draw)}"
            )
        # Copies of a text are set apart, or the first tokens of a part would hold all of them or none.
        order = np.argsort(_mixed(self.hashes + self.repeats().astype(np.uint64) * _GOLDEN + _GOLDEN), kind="stable")
        return order[~is_val[order]], order[is_val[order]]


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(values: np.ndarray) -> np.ndarray:
    """A bijection of uint64 that scatters its bits. Source: Steele et al. 2014, SplitMix, 10.1145/2660193.2660195."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _remedy(draw: np.ndarray) -> str:
    """Which val_fraction would leave a document in both parts, as the end of a sentence; "" if none would."""
    least, most = np.floor(draw.min() * 1e4 + 1) / 1e4, np.floor(draw.max() * 1e4) / 1e4
    return f", or set val_fraction between {least:.4f} and {most:.4f}" if least <= most else ""


def text_hash(text: str) -> int:
    """The 64-bit hash that stands for a document's text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _encode_all(documents: Iterable[str], tokenizer: Tokenizer, spool: Path) -> _Index:
    """Writes all tokens to one file, in the order of reading."""
    hashes, lengths, sizes = array("Q"), array("q"), array("q")
    unknown = seen = 0
    with spool.open("wb") as file:
        for text, tokens in tokenizer.stream(documents):
            hashes.append(text_hash(text))
            lengths.append(len(tokens))
            sizes.append(len(text.encode()))
            file.write(tokens.tobytes())
            if len(hashes) % (1 + seen // _UNKNOWN_SAMPLE) == 0:  # ever fewer documents, spread over the domain
                unknown += tokenizer.unknown(text[:_UNKNOWN_SAMPLE])
                seen += sum(map(len, text[:_UNKNOWN_SAMPLE].split()))
    if not hashes:
        raise ValueError(f"{getattr(documents, 'source', 'the domain')} holds no documents: give some or drop it")
    return _Index(*(np.array(column) for column in (hashes, lengths, sizes)), unknown=unknown / max(seen, 1))


def _write_part(path: Path, tokens: np.ndarray, index: _Index, order: np.ndarray, content) -> None:
    ends, lengths = np.cumsum(index.lengths)[order], index.lengths[order]
    with path.open("wb", buffering=1 << 20) as file:
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
            data = tokens[end - length : end].tobytes()
            content.update(data)
            file.write(data)
    content.update(b"|" + path.name.encode())


def _meta(documents, tokenizer: Tokenizer, index: _Index, chosen, *, val_fraction: float, content: str) -> ShardMeta:
    train, val = chosen
    about = {}
    if isinstance(documents, Documents):
        problems = documents.counts.to_dict()
        about = {"source": str(documents.source), "versions": documents.versions, "problems": problems}
    return ShardMeta(
        train_tokens=int(index.lengths[train].sum()),
        val_tokens=int(index.lengths[val].sum()),
        train_documents=len(train),
        val_documents=len(val),
        train_bytes=int(index.sizes[train].sum()),
        val_bytes=int(index.sizes[val].sum()),
        val_fraction=val_fraction,
        dtype=tokenizer.dtype.name,
        vocab_size=tokenizer.size,
        tokenizer=tokenizer.hash,
        end=tokenizer.end,
        content=content,
        duplicates=int(np.count_nonzero(index.repeats())),
        unknown=index.unknown,
        **about,
    )


def _map(path: Path, dtype: np.dtype, length: int) -> np.ndarray:
    """Read-only view of a file of numbers, which must be as long as meta.json says."""
    size = path.stat().st_size if path.exists() else -1
    if size != length * dtype.itemsize:
        found = "is absent" if size < 0 else f"holds {size} bytes"
        raise ValueError(f"{path} {found}, meta.json expects {length * dtype.itemsize}: {AGAIN}")
    return np.memmap(path, dtype=dtype, mode="r")
