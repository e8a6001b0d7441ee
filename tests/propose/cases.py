"""One case a transform: where it applies, exactly what becomes of it, and code beside it that it leaves alone."""

from __future__ import annotations

from dataclasses import dataclass

from tests.propose.samples import MODEL, OLD_MODEL, OLD_TRAIN, TRAIN

TORCH = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n"
CLIP = '[p for group in optimizer.param_groups for p in group["params"]]'


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    before: str
    changes: tuple[tuple[str, str], ...]
    """Text that is in `before` exactly once, and what stands in its place afterwards."""
    untouched: str
    """Code much like it that does not meet the precondition."""

    @property
    def after(self) -> str:
        text = self.before
        for old, new in self.changes:
            assert text.count(old) == 1, (self.name, old)
            text = text.replace(old, new)
        return text


def case(name: str, before: str, old: str, new: str, untouched: str, *more: tuple[str, str]) -> Case:
    return Case(name, before, ((old, new), *more), TORCH + untouched)


RELU2 = "F.relu(x).square()\n        x"
ACTIVATIONS = (
    case("relu2-to-gelu", MODEL, RELU2, "F.gelu(x)\n        x", "y = F.relu(x) ** 3\n"),
    case("relu2-to-silu", MODEL, RELU2, "F.silu(x)\n        x", "y = F.gelu(x).square()\n"),
    case("relu2-to-leaky-relu2", MODEL, RELU2, "F.leaky_relu(x, 0.5).square()\n        x", "y = F.relu(x)\n"),
    case("gelu-to-relu2", TORCH + "y = 2 * F.gelu(x)\n", "F.gelu(x)", "F.relu(x).square()", "y = nn.GELU()(x)\n"),
    case("gelu-to-silu", OLD_MODEL, "nn.GELU()", "nn.SiLU()", "y = F.silu(x)\n"),
    case("silu-to-gelu", TORCH + "y = F.silu(a + b)\n", "silu", "gelu", "if KIND:\n    y = F.silu(x)\n"),
    case("silu-to-relu2", TORCH + "y = F.silu(x)\n", "F.silu(x)", "F.relu(x).square()", "y = gates.silu(x)\n"),
    case("relu-to-relu2", TORCH + "y = F.relu(x)\n", "F.relu(x)", "F.relu(x).square()", "y = F.relu(x) ** 2\n"),
    case("relu-to-gelu", TORCH + "y = torch.relu(x)\n", "torch.relu(x)", "F.gelu(x)", "y = torch.pow(F.relu(x), 2)\n"),
    case(
        "gated-mlp", MODEL, "        x = F.relu(x).square()\n",
        "        gate, value = x.chunk(2, dim=-1)\n        x = F.silu(gate) * value\n",
        "class MLP(nn.Module):\n    def __init__(self):\n        self.only = nn.Linear(8, 32)\n",
        ("nn.Linear(4 * config.n_embd, config", "nn.Linear((4 * config.n_embd) // 2, config"),
    ),
)  # fmt: skip
QK = "        q, k = norm(q), norm(k)  # QK norm\n"
SCALE = "        self.query_scale = nn.Parameter(torch.ones(1))\n"
PROJ = "        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)\n"
ATTENTION = (
    case(
        "qk-norm-add", OLD_MODEL, "        return F.scaled_dot",
        "        q, k = F.rms_norm(q, (q.size(-1),)), F.rms_norm(k, (k.size(-1),))\n        return F.scaled_dot",
        "def f(q, k, v):\n    return F.scaled_dot_product_attention(self.q_norm(q), k, v)\n",
    ),
    case(
        "qk-norm-remove", MODEL, QK, "",
        "def f(q, k, v):\n    if ON:\n        q, k = norm(q), norm(k)\n    return flash_attn_func(q, k, v)\n",
    ),
    case(
        "attention-sharpen", MODEL, QK, QK + "        q = q * 1.2\n",
        "def f(q, k, v):\n    q = norm(q)\n    return q @ k @ v\n",
    ),
    case(
        "attention-learned-scale", MODEL, QK, QK + "        q = q * self.query_scale.to(q.dtype)\n",
        MODEL.partition("\n\n\n")[2] + "model.to_empty(device)\n", (PROJ + "\n", PROJ + SCALE + "\n"),
    ),
    case(
        "value-norm", MODEL, QK, QK + "        v = norm(v)\n",
        "def f(q, k):\n    q, k = norm(q), norm(k)\n    return F.scaled_dot_product_attention(q, k, v)\n",
    ),
    case("rope-base-longer", MODEL, "base=10000", "base=100000", "def f(base=500):\n    pass\n"),
    case("rope-base-shorter", MODEL, "base=10000", "base=1000", "g(base=10000)\n"),
)  # fmt: skip
WEIGHTS = "[weight.detach() for weight in model.parameters()]"
LERP = f"        torch._foreach_lerp_(average, {WEIGHTS}, 0.02)\n"
AVERAGING = (
    case(
        "weight-averaging", TRAIN, "    for inputs, targets in batches:\n",
        "    average = [weight.detach().clone() for weight in model.parameters()]\n"
        "    for inputs, targets in batches:\n",
        "def f(model):\n    for _ in range(3):\n        train_step(model)\n",
        ("        optimizer.zero_grad()\n", f"        optimizer.zero_grad()\n{LERP}"),
        ("    return model\n", f"    torch._foreach_copy_({WEIGHTS}, average)\n    return model\n"),
    ),
)  # fmt: skip
LOOKUP, NORMED = "        x = self.wte(idx)\n", "        x = self.wte(idx)\n        x = norm(x)\n"
EMBEDDINGS = (
    case(
        "embedding-norm-add", OLD_MODEL, LOOKUP, LOOKUP + "        x = F.rms_norm(x, (x.size(-1),))\n",
        "def norm(x):\n    pass\n\n\ndef f(self, i):\n    x = self.wte(i)\n    x = norm(x)\n",
    ),
    case("embedding-norm-remove", MODEL, NORMED, LOOKUP, "def f(self, i):\n    return norm(self.head(i))\n"),
    case(
        "embedding-sqrt-scale", OLD_MODEL, "self.wte(idx)", "self.wte(idx) * self.wte.embedding_dim ** 0.5",
        "def f(self, i):\n    x = self.wte(i)\n    x = norm(x)\n",
    ),
    case(
        "embedding-dropout", OLD_MODEL, "self.wte(idx)", "F.dropout(self.wte(idx), 0.05, training=self.training)",
        "def f(self, i):\n    x = self.fc(i)\n",
    ),
    case(
        "weight-tying-add", MODEL, "config.vocab_size, bias=False)\n",
        "config.vocab_size, bias=False)\n        self.lm_head.weight = self.wte.weight\n",
        OLD_MODEL.partition("\n\n\n")[2],
        ("self.lm_head(x)", "self.lm_head(x * self.lm_head.in_features**-0.5)"),
    ),
    case(
        "weight-tying-remove", OLD_MODEL, "        self.wte.weight = self.lm_head.weight  # tied\n", "",
        "class A:\n    def f(self, other):\n        self.wte.weight = other\n",
    ),
)  # fmt: skip
INIT = "torch.nn.init."
INITIALISATION = (
    case("embedding-init-smaller", MODEL, "std=1.0", "std=0.5", f"{INIT}normal_(self.fc.weight, std=1.0)\n"),
    case("embedding-init-larger", MODEL, "std=1.0", "std=2", f"{INIT}normal_(self.wte.weight, std=STD)\n"),
    case("head-init-larger", MODEL, "std=0.001", "std=0.003", f"{INIT}normal_(self.wte.weight, std=1.0)\n"),
    case("head-init-smaller", MODEL, "std=0.001", "std=0.0003333", f"{INIT}normal_(self.wte.weight, std=1.0)\n"),
    case("matrix-init-smaller", OLD_MODEL, "std=0.02)", "std=0.014)", f"{INIT}normal_(self.wte.weight, std=1.0)\n"),
    case(
        "zero-init-output-on", OLD_MODEL, "normal_(self.c_proj.weight, std=0.02 / math.sqrt(2 * self.n_layer))",
        "zeros_(self.c_proj.weight)", f"{INIT}normal_(self.q_proj.weight, std=0.02)\n",
    ),
    case(
        "zero-init-output-off", MODEL, "zeros_(block.mlp.c_proj.weight)",
        "normal_(block.mlp.c_proj.weight, mean=0.0, std=0.02)", f"{INIT}zeros_(block.mlp.c_proj.bias)\n",
    ),
    case(
        "uniform-to-normal-init", MODEL, "uniform_(block.mlp.c_fc.weight, -s, s)",
        "normal_(block.mlp.c_fc.weight, mean=0.0, std=s / 3**0.5)", f"{INIT}uniform_(w.weight, 0, s)\n",
    ),
)  # fmt: skip
CAPPED = "        logits = softcap * torch.tanh(logits / softcap)\n"
LOSS = "F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)"
LOGITS = (
    case("softcap-remove", MODEL, CAPPED, "", "y = cap * torch.tanh(x / other)\n"),
    case(
        "softcap-add", OLD_MODEL, "        return logits, ",
        "        logits = 15 * torch.tanh(logits / 15)\n        return logits, ",
        "def f(self, x):\n    logits = self.fc(x)\n",
    ),
    case("softcap-higher", MODEL, "softcap = 15", "softcap = 30", "y = CAP * torch.tanh(x / CAP)\n"),
    case(
        "softcap-lower", TORCH + "y = 1 + torch.tanh(x / 30) * 30\n", "torch.tanh(x / 30) * 30",
        "(20 * torch.tanh(x / 20))", "y = 30 * torch.tanh(x)\n",
    ),
    case(
        "label-smoothing-add", MODEL, "ignore_index=-1)",
        "ignore_index=-1, label_smoothing=0.1 if self.training else 0.0)",
        'y = F.cross_entropy(x, t, reduction="none")\n',
    ),
    case(
        "label-smoothing-remove", OLD_MODEL, "targets, label_smoothing=0.1)", "targets)",
        "y = F.cross_entropy(x, t)\n",
    ),
    case(
        "z-loss", MODEL, LOSS, f"{LOSS} + (0.0001 if self.training else 0.0) * "
        "logits.view(-1, logits.size(-1)).logsumexp(dim=-1).square().mean()",
        'y = F.cross_entropy(x, t, reduction="sum")\n',
    ),
)  # fmt: skip
ATTN, MLP = "self.attn(norm(x), cos, sin)", "self.mlp(norm(x))"
NORMS = (
    case(
        "layernorm-to-rmsnorm", OLD_MODEL, "nn.LayerNorm(config.n_embd, bias=False)", "nn.RMSNorm(config.n_embd)",
        "y = nn.GroupNorm(4, 8)\n",
        ("F.layer_norm(x, x.shape[-1:], self.weight, self.bias, 1e-5)",
         "F.rms_norm(x, x.shape[-1:], self.weight, eps=1e-5)"),
    ),
    case("rmsnorm-to-layernorm", MODEL, "F.rms_norm(x, (", "F.layer_norm(x, (", "y = F.rms_norm(x, (8,), w, 1e-6)\n"),
    case("sandwich-norm", MODEL, ATTN, f"norm({ATTN})", "y = x + self.mlp(x)\n", (MLP, f"norm({MLP})")),
)  # fmt: skip
SERIAL = f"        x = x + {ATTN}\n        x = x + {MLP}\n"
RESIDUALS = (
    case(
        "parallel-branches", MODEL, SERIAL, f"        x = x + {ATTN} + {MLP}\n",
        "x = x + self.attn(x)\nx = y + self.mlp(x)\n",
    ),
    case(
        "serial-branches", OLD_MODEL, "        return x + self.attn(self.ln_1(x)) + self.mlp(self.ln_2(x))\n",
        "        x = x + self.attn(self.ln_1(x))\n        return x + self.mlp(self.ln_2(x))\n",
        "def f(self, x, pos):\n    return x + self.wpe(pos) + self.wte(x)\n",
    ),
    case(
        "branch-half", MODEL, ATTN, f"0.5 * {ATTN}",
        "def f(self, x):\n    return x + self.wpe(x)\n", (MLP, f"0.5 * {MLP}"),
    ),
    case(
        "branch-dropout", MODEL, ATTN, f"F.dropout({ATTN}, 0.1, training=self.training)",
        "def f(self, x):\n    return x - self.mlp(x)\n", (MLP, f"F.dropout({MLP}, 0.1, training=self.training)"),
    ),
    case(
        "input-residual", MODEL, "        for block in self.blocks:\n            x = block",
        "        x0 = x\n        for block in self.blocks:\n            x = x + 0.1 * x0\n            x = block",
        "def f(x):\n    for block in blocks:\n        y = block(x)\n",
    ),
)  # fmt: skip
BETAS = "betas=(0.9, 0.999)"
OPTIMISER = (
    case("adam-beta1-lower", TRAIN, BETAS, "betas=(0.8, 0.999)", "torch.optim.AdamW(p, betas=(B1, B2))\n"),
    case("adam-beta2-95", OLD_TRAIN, "fused=True)", "fused=True, betas=(0.9, 0.95))", "torch.optim.AdamW(**more)\n"),
    case("adam-beta2-99", TRAIN, BETAS, "betas=(0.9, 0.99)", "torch.optim.SGD(p, lr=0.1)\n"),
    case(
        "adam-epsilon-smaller", TRAIN, "eps=1e-8", "eps=1e-10",
        "torch.optim.AdamW(p, betas=(0.9, 0.95), eps=1e-10)\n",
    ),
    case("nesterov-on", OLD_TRAIN, "nesterov=False", "nesterov=True", "f(nesterov=NESTEROV)\n"),
    case("nesterov-off", TRAIN, "nesterov=True", "nesterov=False", "def f(nesterov=False):\n    pass\n"),
    case(
        "gradient-clipping-add", TRAIN, "        # one step a batch\n",
        f"        torch.nn.utils.clip_grad_norm_({CLIP}, 1.0)\n        # one step a batch\n",
        "loss.backward()\nscheduler.step()\n",
    ),
    case(
        "gradient-clipping-remove", OLD_TRAIN, "    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n", "",
        "if CLIP:\n    n = 1\n    nn.utils.clip_grad_norm_(p, CLIP)\n",
    ),
    case("weight-decay-off", TRAIN, "weight_decay=0.01", "weight_decay=0.0", "torch.optim.AdamW(p, weight_decay=WD)\n"),
    case("weight-decay-on", TRAIN, "weight_decay=0.01", "weight_decay=0.1", "torch.optim.SGD(p, weight_decay=0.01)\n"),
    case(
        "weight-decay-cautious", TRAIN, "p.mul_(1 - lr * wd)", "p.mul_(1 - (lr * wd) * (p * p.grad > 0))",
        "def f(p):\n    p.mul_(1 - lr * wd)\n",
    ),
)  # fmt: skip
REGULARISATION = (
    case("dropout-off", OLD_MODEL, "nn.Dropout(0.2)", "nn.Dropout(0.0)", "y = nn.Dropout(config.dropout)\n"),
    case("dropout-on", OLD_MODEL, "nn.Dropout(0.0)", "nn.Dropout(0.1)", "y = nn.Dropout(0.3)\n"),
    case(
        "linear-bias-off",
        OLD_MODEL,
        "3 * config.n_embd)",
        "3 * config.n_embd, bias=False)",
        "y = nn.Linear(2, 3, bias=b)\n",
    ),
)
COOL = "    cooldown = (1.0 - progress) / WARMDOWN_RATIO\n"
LINE = "    return WEIGHT_DECAY * (1 - progress)\n"
IMPORT = ("import torch\n", "import math\nimport torch\n")
SCHEDULES = (
    case(
        "warmdown-cosine", TRAIN, COOL, COOL + "    cooldown = 0.5 - 0.5 * math.cos(math.pi * cooldown)\n",
        "def f(t):\n    left = ((1 - t) / WARMDOWN) ** 2\n    return left\n", IMPORT,
    ),
    case(
        "warmdown-root", TRAIN, COOL, COOL + "    cooldown = 1 - max(1 - cooldown, 0.0) ** 0.5\n",
        "def f(t):\n    left = (1 - t) / WARMUP\n    return left\n",
    ),
    case(
        "warmdown-square", TORCH + "def f(t):\n    return (1 - t) / WARMDOWN\n", "(1 - t) / WARMDOWN",
        "((1 - t) / WARMDOWN) ** 2", "def f(t):\n    return 1.0\n",
    ),
    case(
        "cosine-to-linear", OLD_TRAIN, "0.5 * (1.0 + math.cos(math.pi * ratio))", "1.0 - ratio",
        "c = 0.5 * (1.0 + math.cos(ratio))\n",
    ),
    case(
        "weight-decay-constant", TRAIN, LINE, "    return WEIGHT_DECAY\n",
        "def lr(progress):\n    return LR * (1 - progress)\n",
    ),
    case(
        "weight-decay-linear", OLD_TRAIN, "    return WEIGHT_DECAY\n", LINE,
        "def weight_decay(a, b):\n    return WD\n",
    ),
    case(
        "weight-decay-cosine", TRAIN, LINE, "    return WEIGHT_DECAY * (0.5 + 0.5 * math.cos(math.pi * progress))\n",
        "def weight_decay():\n    return WD\n", IMPORT,
    ),
)  # fmt: skip
CASES = (
    *ACTIVATIONS, *ATTENTION, *AVERAGING, *EMBEDDINGS, *INITIALISATION, *LOGITS, *NORMS, *OPTIMISER, *REGULARISATION,
    *RESIDUALS, *SCHEDULES,
)  # fmt: skip
