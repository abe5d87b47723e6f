"""Order-independent subsampling of documents by hash."""

import hashlib
import heapq
from collections.abc import Iterable


def spread(texts: Iterable[str], max_bytes: int) -> tuple[list[str], int]:
    """At most max_bytes of UTF-8 text: whole documents, spread over all of `texts`.

    Takes the documents of lowest hash, in the order they came in; a larger max_bytes only adds to them. One document
    is always taken, however long. Memory: max_bytes, whatever the length of `texts`.
    Returns the sample and the number of documents left out.
    """
    kept: list[tuple[int, int, str]] = []  # a heap, the highest hash first
    size = left_out = 0
    threshold = 1 << 64  # hashes from here on don't fit any more
    for position, text in enumerate(texts):
        data = text.encode()
        key = _hash(data)
        if key >= threshold:
            left_out += 1
            continue
        heapq.heappush(kept, (-key, -position, text))
        size += len(data)
        while size > max_bytes and len(kept) > 1:
            highest, _, dropped = heapq.heappop(kept)
            threshold = -highest
            size -= len(dropped.encode())
            left_out += 1
    kept.sort(key=lambda item: -item[1])
    return [text for _, _, text in kept], left_out


def _hash(data: bytes) -> int:
    # The person tag keeps this hash independent of the one that splits train from validation (shards.py): with
    # one hash for both, a sample would be all validation text.
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=b"mixopt-sample").digest())
