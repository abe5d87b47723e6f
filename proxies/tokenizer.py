"""Tokenization: a byte-level BPE trained on the study's own text, or a tokenizer that the user has.

Every document is its tokens followed by one end token. Text that looks like a special token is encoded as text.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from multiprocessing.pool import ThreadPool
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from proxies.files import read_json, replacing
from proxies.readers import one_line
from proxies.subsample import spread

if TYPE_CHECKING:
    import tokenizers

END = "<|end|>"
KNOWN_ENDS = (  # how other tokenizers call theirs, in the order we look for them
    END,
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eos|>",
    "</s>",
    "<eos>",
    "<|end▁of▁sentence|>",
    "<|im_end|>",
    "[EOS]",
    "[SEP]",
)
_BATCH = 1 << 19  # characters encoded at once: an encoding takes some 100 times its text in memory
_PIECE = 1 << 20  # characters encoded in one piece
_MIN_VOCAB = 257  # every byte and the end token
# A stretch without a break is cut in the sample: merges within one piece take time by the square of its length.
_STRETCH = re.compile(r"\S{256}|\s{256}")


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer and its end-of-document token."""

    inner: "tokenizers.Tokenizer"
    end: int  # id of the end token
    end_added: bool = False  # the tokenizer had none, and got END

    @cached_property
    def size(self) -> int:
        """One more than the highest token id: rows of an embedding table."""
        return max(self.inner.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def hash(self) -> str:
        """sha256 of the tokenizer's JSON and its end token."""
        return hashlib.sha256(f"{self.inner.to_str()}\n{self.end}".encode()).hexdigest()

    @property
    def dtype(self) -> np.dtype:
        """The smallest of uint16 and uint32 that holds every token."""
        return np.dtype(np.uint16 if self.size <= 1 << 16 else np.uint32)

    def encode(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Tokens of each text, (n_tokens + 1,): the text's own and the end token."""
        return [tokens for _, tokens in self.stream(texts)]

    def stream(self, texts: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Each text with its tokens, (n_tokens + 1,). Uses all cores; some 100 MB of memory, however long a text is.

        Texts of over a million characters are encoded in pieces cut before white space. For byte-level BPE that
        changes nothing; tokenizers that look across a space may differ in a token a piece.
        """
        for batch in _batches(texts):
            pieces = [list(_pieces(text)) for text in batch]
            ids = self._ids([piece for of_text in pieces for piece in of_text])
            for text, of_text in zip(batch, pieces, strict=True):
                tokens = chain.from_iterable(next(ids) for _ in of_text)
                yield text, np.fromiter(chain(tokens, (self.end,)), dtype=self.dtype)

    def _ids(self, pieces: list[str]) -> Iterator[list[int]]:
        for batch in _batches(pieces):
            for encoding in self.inner.encode_batch_fast(batch, add_special_tokens=False):
                yield encoding.ids

    def unknown(self, text: str) -> int:
        """Characters, white space apart, that have no token of their own: they become [UNK], or nothing."""
        knows_all, unknown = self._vocabulary_of_text
        if knows_all:
            return 0
        encoding = self.inner.encode(text, add_special_tokens=False)
        lost = np.array([not character.isspace() for character in text])
        for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if number != unknown:
                lost[start:end] = False
        return int(lost.sum())

    @cached_property
    def _vocabulary_of_text(self) -> tuple[bool, int | None]:
        """Whether every byte has a token, and the token of unknown text."""
        from tokenizers.pre_tokenizers import ByteLevel

        model = json.loads(self.inner.to_str())["model"]
        unknown = model["unk_id"] if "unk_id" in model else self.inner.token_to_id(model.get("unk_token") or "")
        knows_all = model.get("byte_fallback") or self.inner.get_vocab().keys() >= set(ByteLevel.alphabet())
        return bool(knows_all), unknown

    def decode(self, tokens) -> str:
        """Text of tokens (n,), without end tokens."""
        ids = np.asarray(tokens)
        return self.inner.decode(ids[ids != self.end].tolist(), skip_special_tokens=False)

    def bytes_of(self, tokens) -> int:
        """UTF-8 bytes of the text that tokens (any shape) stand for; the end token stands for none.

        Exact for byte-level BPE, also where tokens break off within a character. Other tokenizers: the bytes of the
        decoded text, which may differ a little from the original (they may normalise text).
        """
        ids = np.asarray(tokens).reshape(-1)
        if self._byte_lengths is None:
            return len(self.decode(ids).encode(errors="replace"))
        return int(self._byte_lengths[ids].sum())

    def save(self, path: Path) -> None:
        """Writes tokenizer.json, whole or not at all."""
        with replacing(path) as half:
            half.write_text(self.inner.to_str(pretty=True), encoding="utf-8")

    @cached_property
    def _byte_lengths(self) -> np.ndarray | None:
        """Bytes that each token stands for, (size,); None when tokens aren't plain runs of bytes."""
        config = json.loads(self.inner.to_str())
        if config["normalizer"] is not None or (config["decoder"] or {}).get("type") != "ByteLevel":
            return None
        lengths = np.zeros(self.size, dtype=np.int64)
        for token, number in self.inner.get_vocab(with_added_tokens=False).items():
            lengths[number] = len(token)  # byte-level BPE writes one character for each byte
        for number, added in self.inner.get_added_tokens_decoder().items():
            lengths[number] = len(added.content.encode())
        lengths[self.end] = 0
        return lengths


def train(
    domains: Mapping[str, Iterable[str]],
    *,
    vocab_size: int,
    sample_bytes: int = 4 << 20,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Tokenizer:
    """Byte-level BPE from equal amounts of every domain's text, so that no domain's words are left to bytes.

    vocab_size: tokens, the end token among them. sample_bytes: of text in all, domains sharing it equally; a domain
    with less than its share gives what it has. The same texts give the same tokenizer. on_progress: gets what is done.
    Raises ValueError when vocab_size can't hold every byte, or the text doesn't fill it.
    Source: Sennrich et al. 2016, arXiv:1508.07909; byte level as in GPT-2 (Radford et al. 2019).
    """
    import tokenizers as tk

    if vocab_size < _MIN_VOCAB:
        raise ValueError(f"vocab_size = {vocab_size}: set at least {_MIN_VOCAB} (every byte, and the end token)")
    share = math.ceil(sample_bytes / max(len(domains), 1))
    sample: list[str] = []
    for name, texts in domains.items():
        on_progress(f"reading {name} for the tokenizer")
        sample += chain.from_iterable(_stretches(_clip(text, share)) for text in spread(texts, share)[0])
    inner = tk.Tokenizer(tk.models.BPE())
    inner.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[reportAttributeAccessIssue]
    inner.decoder = tk.decoders.ByteLevel()  # type: ignore[reportAttributeAccessIssue]
    trainer = tk.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=sorted(tk.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    _in_thread(lambda: inner.train_from_iterator(sample, trainer), on_progress)
    if (found := inner.get_vocab_size()) < vocab_size:
        size = sum(len(text.encode()) for text in sample)
        raise ValueError(f"{size} bytes of text give only {found} tokens: set vocab_size = {found} or give more text")
    return _ready(inner, END, place="the trained tokenizer")


def _in_thread(work: Callable[[], None], on_progress: Callable[[str], None]) -> None:
    """Runs work that holds signals back (it isn't Python), so that Ctrl-C gets through and the time is shown."""
    started = monotonic()
    with ThreadPool(1) as pool:  # of daemons, unlike an executor's: an interrupted process doesn't wait for them
        training = pool.apply_async(work)
        while not training.ready():
            on_progress(f"training the tokenizer, {monotonic() - started:.0f} s")
            training.wait(0.2)
        training.get()


def load(source: str | Path, *, end_token: str | None = None) -> Tokenizer:
    """A tokenizer from a tokenizer.json, a folder that holds one, or the Hugging Face hub by name.

    end_token: the token put after each document; None: the one that the folder's tokenizer_config.json names as
    eos_token, or else the first of KNOWN_ENDS that it has, or else END, which is added.
    Raises ValueError when there is no tokenizer, it can't be read, or has no end_token.
    """
    import tokenizers as tk

    path = Path(source).expanduser()
    folder = path if path.exists() else _from_hub(str(source))
    file = folder / "tokenizer.json" if folder.is_dir() else folder
    if not file.is_file():
        raise ValueError(f"{source}: no tokenizer.json in it: give a folder or file of a fast tokenizer")
    try:
        inner = tk.Tokenizer.from_buffer(file.read_bytes())  # from_str raises a bare Exception
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not a tokenizer.json that `tokenizers` {tk.__version__} reads: {error}") from error
    return _ready(inner, end_token or _configured_end(file), place=str(source))


def _ready(inner: "tokenizers.Tokenizer", end_token: str | None, *, place: str) -> Tokenizer:
    inner.no_truncation()
    inner.no_padding()
    inner.encode_special_tokens = True  # "<|end|>" in a document is text, not the end of it
    ends = [end_token] if end_token else [name for name in KNOWN_ENDS if inner.token_to_id(name) is not None]
    if not ends:
        inner.add_special_tokens([END])
    number = inner.token_to_id((ends or [END])[0])
    if number is None:
        raise ValueError(f"{place} has no token {end_token!r}: set tokenizer.end_token to one of its tokens")
    return Tokenizer(inner, number, end_added=not ends)


def _configured_end(file: Path) -> str | None:
    """eos_token of a tokenizer_config.json beside the tokenizer, if there is one."""
    config = file.with_name("tokenizer_config.json")
    if not config.exists():
        return None
    try:
        end = read_json(config).get("eos_token")
        end = end.get("content") if isinstance(end, dict) else end
        if not isinstance(end, str | None):
            raise ValueError(f"eos_token is {end!r}, not a string")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{config}: can't be read ({error}): mend it or set tokenizer.end_token") from error
    return end


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=["tokenizer.json", "tokenizer_config.json"]))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise ValueError(
            f"tokenizer {name!r} is no file or folder here, and can't be fetched from the hub ({one_line(error)}): "
            "correct the name, or download it and give its folder"
        ) from error


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces of up to _PIECE characters, cut between a word and the white space after it."""
    start = 0
    while len(text) - start > _PIECE:
        cut = start + _PIECE
        while cut > start + _PIECE // 2 and not (text[cut].isspace() and not text[cut - 1].isspace()):
            cut -= 1
        if cut == start + _PIECE // 2:  # no white space for half a million characters: cut anywhere
            cut = start + _PIECE
        yield text[start:cut]
        start = cut
    yield text[start:]


def _stretches(text: str) -> Iterator[str]:
    """A text cut where a stretch without a break is long."""
    start = 0
    for found in _STRETCH.finditer(text):
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


def _clip(text: str, size: int) -> str:
    """The start of a text that is longer than size bytes."""
    data = text.encode()
    return text if len(data) <= size else data[:size].decode(errors="ignore")
