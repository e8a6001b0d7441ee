"""The architecture: a decoder-only transformer over tokens, `forward(tokens) -> logits`.

Holds no loss and no optimiser: the trainer owns the one, the evaluator the other. Sized by one dial, `depth`.
B is the batch, T the tokens of a sequence, C the width, H the heads, D the width of a head, V the vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ASPECT = 48  # width of the model per layer of depth
HEAD_DIM = 32  # width of one attention head
MLP_RATIO = 4  # hidden width of the feed-forward part, in widths of the model
ACTIVATION: Literal["relu2", "gelu", "silu"] = "relu2"  # of the feed-forward part
NORM: Literal["rms", "layer"] = "rms"  # of the residual stream, without learned gains
QK_NORM = True  # queries and keys have unit RMS before the dot product
ATTENTION_SCALE = 1.0  # of the dot product, in units of 1/sqrt(HEAD_DIM)
ROPE_BASE = 10_000.0  # longest wavelength of the rotary embedding, in tokens / 2 pi
ATTENTION_PATTERN: Literal["L", "SL", "SSL", "SSSL"] = "SL"  # repeated over the layers; S slides a window, L sees all
WINDOW_FRACTION = 0.25  # of the context, what a sliding layer sees
LOGIT_SOFTCAP = 15.0  # logits stay within plus and minus this
EMBEDDING_STD = 1.0  # standard deviation of the token embedding at the start
INIT_SCALE = 1.0  # of the matrices, in units of the uniform distribution with variance 1 / (3 * fan-in)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that decides the shapes; saved with the weights as plain values."""

    vocab_size: int
    sequence_length: int
    """Longest context, in tokens."""
    depth: int
    """Number of blocks."""
    dim: int
    """C, width of the residual stream; a multiple of `head_dim`."""
    head_dim: int

    @property
    def heads(self) -> int:
        return self.dim // self.head_dim

    def plain(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def sized(cls, *, depth: int, vocab_size: int, sequence_length: int) -> Config:
        """The dial: a model of this depth, its width rounded up to whole heads."""
        dim = math.ceil(depth * ASPECT / HEAD_DIM) * HEAD_DIM
        return cls(vocab_size=vocab_size, sequence_length=sequence_length, depth=depth, dim=dim, head_dim=HEAD_DIM)


def norm(x: Tensor) -> Tensor:
    """Normalise the last dimension, without learned gains."""
    if NORM == "layer":
        return F.layer_norm(x, (x.size(-1),))
    return F.rms_norm(x, (x.size(-1),))


def activation(x: Tensor) -> Tensor:
    """The non-linearity of the feed-forward part; ReLU squared is from Primer (So et al. 2021, arXiv:2109.08668)."""
    if ACTIVATION == "gelu":
        return F.gelu(x)
    if ACTIVATION == "silu":
        return F.silu(x)
    return F.relu(x).square()


def rotary(sequence_length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of RoPE (Su et al. 2021, arXiv:2104.09864), each (T, D/2)."""
    frequencies = ROPE_BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(sequence_length, dtype=torch.float32), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (first half, second half) of x (B, H, T, D) by the angle of its position."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1).type_as(x)


class Attention(nn.Module):
    """Causal self-attention with rotary positions; a sliding layer sees `window` tokens, itself among them."""

    def __init__(self, config: Config, window: int) -> None:
        super().__init__()
        self.head_dim, self.window = config.head_dim, window
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, -1, self.head_dim)  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if QK_NORM:  # Henry et al. 2020, arXiv:2010.04245
            q, k = norm(q), norm(k)
        scale = ATTENTION_SCALE / math.sqrt(self.head_dim)
        if self.window < length:
            distance = torch.arange(length, device=x.device)
            distance = distance[:, None] - distance[None, :]  # (T, T), how far back the key lies
            mask = (distance >= 0) & (distance < self.window)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        mixed: Tensor = self.out(y.transpose(1, 2).reshape(batch, length, dim))
        return mixed


class FeedForward(nn.Module):
    """Two matrices and a non-linearity."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.up = nn.Linear(config.dim, int(MLP_RATIO * config.dim), bias=False)
        self.out = nn.Linear(int(MLP_RATIO * config.dim), config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(activation(self.up(x)))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: Config, window: int) -> None:
        super().__init__()
        self.attention = Attention(config, window)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(norm(x), cos, sin)
        y: Tensor = x + self.feed_forward(norm(x))
        return y


class GPT(nn.Module):
    """tokens (B, T) -> logits (B, T, V) in float32: position t says what it expects at t + 1."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config, window) for window in windows(config))
        self.head = nn.Linear(config.dim, config.vocab_size, bias=False)
        cos, sin = rotary(config.sequence_length, config.head_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Random matrices; what writes to the residual stream and to the logits starts at zero.

        So the first loss is ln V exactly, and every block starts as the identity.
        """
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                if name.endswith(("out", "head")):
                    nn.init.zeros_(module.weight)
                else:
                    bound = INIT_SCALE / math.sqrt(module.in_features)
                    nn.init.uniform_(module.weight, -bound, bound)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.size(1)
        cos, sin = self.cos[:length], self.sin[:length]
        x = norm(self.embedding(tokens))  # (B, T, C)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits: Tensor = self.head(norm(x)).float()  # (B, T, V)
        return LOGIT_SOFTCAP * torch.tanh(logits / LOGIT_SOFTCAP)

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self) -> float:
        """Of one training step: 6 for each weight of a matrix, 12 C for each token that a layer attends to.

        Chowdhery et al. 2022 (PaLM), appendix B, arXiv:2204.02311; a causal layer counts with its mean span.
        """
        weights = self.parameter_count() - self.embedding.weight.numel()
        length = self.config.sequence_length
        spans = [min(window, length) - min(window, length) ** 2 / (2 * length) for window in windows(self.config)]
        return 6.0 * weights + 12.0 * self.config.dim * sum(spans)


def windows(config: Config) -> list[int]:
    """How many tokens each layer sees; the last one always sees the whole context."""
    short = max(1, int(WINDOW_FRACTION * config.sequence_length))
    kinds = [ATTENTION_PATTERN[layer % len(ATTENTION_PATTERN)] for layer in range(config.depth)]
    kinds[-1] = "L"
    return [short if kind == "S" else config.sequence_length for kind in kinds]
