"""Training programs in the idioms that people write, for the catalogue to be tried on; they only have to parse."""

MODEL = '''\
"""A GPT as nanochat writes it: F.relu(x).square() is in this string and stays."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def norm(x):
    # Purely functional, like F.layer_norm(x) without weights
    return F.rms_norm(x, (x.size(-1),))


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_q = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(self, x, cos, sin):
        q, k, v = self.c_q(x), self.c_k(x), self.c_v(x)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        q, k = norm(q), norm(k)  # QK norm
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x):
        x = self.c_fc(x)
        x = F.relu(x).square()
        x = self.c_proj(x)
        return x


class Block(nn.Module):
    def forward(self, x, cos, sin):
        x = x + self.attn(norm(x), cos, sin)
        x = x + self.mlp(norm(x))
        return x


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def init_weights(self):
        s = 3**0.5 * self.config.n_embd**-0.5
        torch.nn.init.normal_(self.wte.weight, mean=0.0, std=1.0)
        torch.nn.init.normal_(self.lm_head.weight, mean=0.0, std=0.001)
        for block in self.blocks:
            torch.nn.init.uniform_(block.mlp.c_fc.weight, -s, s)
            torch.nn.init.zeros_(block.mlp.c_proj.weight)

    def rotary(self, length, head_dim, base=10000):
        return base ** (torch.arange(0, head_dim, 2) / head_dim)

    def forward(self, idx, targets=None):
        cos, sin = self.cos, self.sin
        x = self.wte(idx)
        x = norm(x)
        for block in self.blocks:
            x = block(x, cos, sin)
        x = norm(x)

        softcap = 15
        logits = self.lm_head(x)
        logits = softcap * torch.tanh(logits / softcap)
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
            return loss
        return logits
'''

OLD_MODEL = """\
import math

import torch
import torch.nn as nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gelu = nn.GELU()
        self.drop = nn.Dropout(0.0)

    def forward(self, x):
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=False)

    def forward(self, x):
        return x + self.attn(self.ln_1(x)) + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight  # tied

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)
        torch.nn.init.normal_(self.c_proj.weight, std=0.02 / math.sqrt(2 * self.n_layer))

    def forward(self, idx, targets):
        x = self.wte(idx)
        logits = self.lm_head(F.layer_norm(x, x.shape[-1:], self.weight, self.bias, 1e-5))
        return logits, F.cross_entropy(logits, targets, label_smoothing=0.1)
"""

TRAIN = """\
from __future__ import annotations

import torch

model = build()
optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
muon = Muon(matrices, lr=0.02, nesterov=True)


def multiplier(progress):
    if progress < 1.0 - WARMDOWN_RATIO:
        return 1.0
    cooldown = (1.0 - progress) / WARMDOWN_RATIO
    return cooldown + (1 - cooldown) * FINAL_LR_FRAC


def get_weight_decay(progress):
    return WEIGHT_DECAY * (1 - progress)


def update(p, lr, wd):
    p.mul_(1 - lr * wd)
    p.add_(p.grad, alpha=-lr)


def train(model, optimizer, batches):
    for inputs, targets in batches:
        loss = model(inputs, targets)
        loss.backward()
        # one step a batch
        optimizer.step()
        optimizer.zero_grad()
    return model
"""

OLD_TRAIN = """\
import math

import torch

optimizer = torch.optim.AdamW(groups, lr=6e-4, fused=True)


def get_lr(it):
    ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
    coeff = 0.5 * (1.0 + math.cos(math.pi * ratio))
    return min_lr + coeff * (learning_rate - min_lr)


def get_weight_decay(progress):
    return WEIGHT_DECAY


def step(loss, model, nesterov=False):
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
"""

ELSEWHERE = '''\
"""The same words, and nothing of torch behind them: nn.GELU(), F.relu(x).square(), optimizer.step()."""

import mlx.core as mx
import mlx.nn as nn

# nn.LayerNorm(n), nn.Dropout(0.1), softcap * torch.tanh(logits / softcap)
words = "optimizer.step() and betas=(0.9, 0.999), weight_decay=0.1"
told = f"{nn.GELU()} {nn.LayerNorm(3)} {F.relu(x).square()} {cap * torch.tanh(x / cap)}"


def activation(x):
    return mx.maximum(x, 0) ** 2


def block(x):
    return nn.GELU()(nn.LayerNorm(8)(x)) + nn.relu(x)
'''
