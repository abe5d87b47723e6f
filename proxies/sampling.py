"""Mixture sampling from fixed token pools, with common random numbers across mixtures.

Two mixtures trained with one seed see the same sequences of each domain in the same order, and their slots choose
domains with the same low-discrepancy numbers: they differ only where their weights do. Differences between
runs then carry far less noise than the runs themselves.

A pool of P tokens is passed over in epochs: every sequence once an epoch, in a new order each time, so a domain with
share w in a run of T tokens is repeated T w / P times, no more and no less.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

GOLDEN = (5**0.5 - 1) / 2  # successive multiples, modulo 1, fill the unit interval evenly


def choose_domains(weights: np.ndarray, slots: int, *, seed: int) -> np.ndarray:
    """The domain of every training sequence, (slots,) integers.

    weights: (n_domains,) shares that sum to 1. Counts differ from slots * weights by at most a few sequences
    (the golden-ratio sequence has discrepancy O(log slots / slots)).
    """
    start = np.random.default_rng([seed, 0]).random()
    points = (start + GOLDEN * np.arange(slots)) % 1.0
    edges = np.cumsum(weights) / np.sum(weights)
    domain = np.searchsorted(edges, points, side="right")
    last = int(np.flatnonzero(np.asarray(weights) > 0)[-1])
    return np.minimum(domain, last)  # rounding of the last edge must not pick a domain of weight 0


def visit_order(sequences: int, visits: int, *, seed: int, domain_key: int) -> np.ndarray:
    """Which of a pool's sequences each visit reads, (visits,): whole epochs, each in its own order."""
    epochs = -(-visits // sequences) if visits else 0
    orders = [np.random.default_rng([seed, 1, domain_key, e]).permutation(sequences) for e in range(epochs)]
    return np.concatenate(orders)[:visits] if orders else np.empty(0, dtype=np.int64)


class MixtureSampler:
    """All training sequences of one run, ready to be read by step.

    pools: domain -> (pool_tokens,) token ids, already cut to the run's unique tokens. weights: domain -> share.
    Raises ValueError when a domain with weight has a pool shorter than one sequence.
    """

    def __init__(
        self, pools: Mapping[str, np.ndarray], weights: Mapping[str, float], *, context: int, slots: int, seed: int
    ):
        # By text: neither a domain's name nor its place in the study file decides anything.
        keys = {name: stable_key(pool[: context + 1]) for name, pool in pools.items()}
        names = sorted(pools, key=lambda name: (keys[name], name))
        self.context = context
        self.tokens = [pools[name] for name in names]
        self.domain = choose_domains(np.array([weights.get(name, 0.0) for name in names]), slots, seed=seed)
        self.start = np.empty(slots, dtype=np.int64)
        self.epochs: dict[str, float] = {}
        for i, name in enumerate(names):
            mine = np.flatnonzero(self.domain == i)
            sequences = (len(self.tokens[i]) - 1) // context  # one more token is needed as the last target
            if len(mine) and sequences < 1:
                raise ValueError(
                    f"domain {name!r}: its proxy pool has {len(self.tokens[i])} tokens, less than one sequence of"
                    f" {context + 1}: train proxies on more tokens, shorten the context or drop the domain"
                )
            order = visit_order(max(sequences, 1), len(mine), seed=seed, domain_key=keys[name])
            self.start[mine] = order * context
            self.epochs[name] = len(mine) / sequences if sequences else 0.0

    def batch(self, step: int, size: int) -> np.ndarray:
        """Sequences of one step, (size, context + 1) int64: inputs and, shifted by one, targets."""
        rows, span = range(step * size, (step + 1) * size), self.context + 1
        read = [self.tokens[self.domain[r]][self.start[r] : self.start[r] + span] for r in rows]
        return np.stack(read).astype(np.int64)


def stable_key(tokens: np.ndarray) -> int:
    """A number for a domain by its first sequence: its order of visits must not depend on which other domains exist."""
    return int.from_bytes(hashlib.blake2b(tokens.astype("<i8").tobytes(), digest_size=4).digest(), "little")


def stacked_batches(samplers: Sequence[MixtureSampler], *, steps: int, size: int) -> Iterator[np.ndarray]:
    """One array (K, size, context + 1) a step, for K proxies in lockstep."""
    for step in range(steps):
        yield np.stack([sampler.batch(step, size) for sampler in samplers])


def validation_windows(tokens: np.ndarray, *, context: int, count: int) -> np.ndarray:
    """Up to count windows (count, context + 1) spread evenly over a validation shard, without overlap.

    The same windows for every run: the error of a finite validation set is then common to all mixtures.
    Raises ValueError when the shard is shorter than one window.
    """
    span = context + 1
    available = len(tokens) // span
    if available < 1:
        raise ValueError(f"validation text of {len(tokens)} tokens is shorter than one window of {span}")
    picks = np.unique(np.linspace(0, available - 1, min(count, available)).round().astype(np.int64))
    return np.stack([tokens[p * span : (p + 1) * span] for p in picks]).astype(np.int64)
