"""Stacked GPT: tensors carry a leading proxy dimension K, for K independent models trained in lockstep.

One GPU is too large for one tiny proxy, so K mixtures share every kernel launch; a CPU worker uses K = 1.
No operation mixes two proxies, so each of the K models computes what it would compute alone.

Pre-norm blocks with RMSNorm, rotary positions (Su 2021, arXiv:2104.09864), normalised queries and keys
(Henry 2020, arXiv:2010.04245), squared ReLU (So 2021, arXiv:2109.08668) and tied embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The size of one proxy."""

    vocab: int
    layers: int
    width: int
    heads: int
    context: int  # tokens a position can look back on, itself included

    def __post_init__(self):
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x heads ({self.heads}): rotary turns pairs")

    @property
    def params(self) -> int:
        """Non-embedding parameters: the matrices inside the blocks."""
        return self.layers * 12 * self.width**2

    @property
    def params_total(self) -> int:
        return self.params + self.vocab * self.width

    @property
    def flops_per_token(self) -> int:
        """Training FLOPs a token, forward and backward: matrices, tied output head and causal attention.

        Counted from the architecture: 6 per weight that multiplies an activation, plus the two products of
        attention over (context + 1) / 2 visible positions on average.
        """
        attention = 6 * self.layers * 2 * self.width * (self.context + 1) // 2
        return 6 * self.params_total + attention


def rotary(context: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (context, size / 2) each."""
    frequency = 10_000.0 ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angle = torch.arange(context, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + size/2}) of x (..., context, size) by their position's angle."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class StackedGPT(nn.Module):
    """K proxies of one shape.

    seeds: one a proxy; equal seeds give equal initial weights, the first half of common random numbers.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, seeds: Sequence[int]):
        super().__init__()
        self.shape = shape
        k, v, d, n = len(seeds), shape.vocab, shape.width, shape.layers
        self.embed = nn.Parameter(torch.empty(k, v, d))  # also the output head, transposed
        self.qkv = nn.ParameterList([nn.Parameter(torch.empty(k, d, 3 * d)) for _ in range(n)])
        self.out = nn.ParameterList([nn.Parameter(torch.empty(k, d, d)) for _ in range(n)])
        self.up = nn.ParameterList([nn.Parameter(torch.empty(k, d, 4 * d)) for _ in range(n)])
        self.down = nn.ParameterList([nn.Parameter(torch.empty(k, 4 * d, d)) for _ in range(n)])
        # A learned temperature a head: normalised queries and keys cannot sharpen attention by growing.
        self.sharpness = nn.Parameter(torch.ones(k, n, shape.heads))
        cos, sin = rotary(shape.context, d // shape.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.initialise(seeds)

    @torch.no_grad()
    def initialise(self, seeds: Sequence[int]) -> None:
        """Each proxy from its own generator, so that proxy k does not depend on its neighbours."""
        d = self.shape.width
        for k, seed in enumerate(seeds):
            rng = torch.Generator().manual_seed(seed)
            self.embed[k].normal_(0, d**-0.5, generator=rng)
            for qkv, out, up, down in zip(self.qkv, self.out, self.up, self.down, strict=True):
                qkv[k].normal_(0, d**-0.5, generator=rng)
                up[k].normal_(0, d**-0.5, generator=rng)
                # Zero residual outputs: every block starts as the identity, which steadies the first steps.
                out[k].zero_()
                down[k].zero_()

    def hidden(self, tokens: Tensor) -> Tensor:
        """tokens (K, batch, context) -> final states (K, batch * context, width)."""
        (k, b, t), shape = tokens.shape, self.shape
        size = shape.width // shape.heads
        cos, sin = self.cos[:t], self.sin[:t]
        table = torch.arange(k, device=tokens.device)[:, None] * shape.vocab  # one embedding table a proxy
        x = F.embedding(tokens.reshape(k, -1) + table, self.embed.reshape(-1, shape.width))  # (K, b*t, width)
        x = norm(x)
        for layer in range(shape.layers):
            qkv = torch.bmm(norm(x), self.qkv[layer])
            heads = qkv.view(k * b, t, 3 * shape.heads, size).transpose(1, 2)
            both, value = heads.split((2 * shape.heads, shape.heads), dim=1)
            # Queries and keys together: small kernels cost a CPU as much to start as to run.
            q, key = rotate(norm(both), cos, sin).chunk(2, dim=1)
            q = q * self.sharpness[:, layer].repeat_interleave(b, dim=0)[:, :, None, None]
            # Unit-RMS vectors: the largest product is size, so 1/sqrt(size) leaves logits up to sqrt(size).
            mixed = F.scaled_dot_product_attention(q.to(value), key.to(value), value, is_causal=True)
            x = x + torch.bmm(mixed.transpose(1, 2).reshape(k, b * t, shape.width), self.out[layer])
            x = x + torch.bmm(F.relu(torch.bmm(norm(x), self.up[layer])).square(), self.down[layer])
        return norm(x)

    def losses(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Loss at every position, nats: (K, batch, context) integers in, (K, batch, context) float32 out."""
        states = self.hidden(tokens)
        logits = torch.bmm(states, self.embed.transpose(1, 2))
        flat = F.cross_entropy(logits.float().flatten(0, 1), targets.reshape(-1), reduction="none")
        return flat.view(targets.shape)


def norm(x: Tensor) -> Tensor:
    """RMSNorm without a gain: the next matrix can learn it."""
    return F.rms_norm(x, (x.shape[-1],))
