"""The architecture keeps its promises: causal, starts knowing nothing, whatever the constants say."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogpt import model as architecture
from nanogpt.model import GPT, Config, rotary, rotate, windows


def make(depth: int = 2, length: int = 16, *, trained: bool = True) -> GPT:
    torch.manual_seed(0)
    model = GPT(Config.sized(depth=depth, vocab_size=50, sequence_length=length))
    if trained:  # zero matrices would hide a leak
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@settings(deadline=None, max_examples=20)
@given(
    pattern=st.sampled_from(["L", "SL", "SSL", "SSSL"]),
    norm=st.sampled_from(["rms", "layer"]),
    qk_norm=st.booleans(),
    position=st.integers(0, 14),
    length=st.integers(1, 16),
)
def test_no_later_token_changes_an_earlier_logit(
    pattern: str, norm: str, qk_norm: bool, position: int, length: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architecture, "ATTENTION_PATTERN", pattern)
        patch.setattr(architecture, "NORM", norm)
        patch.setattr(architecture, "QK_NORM", qk_norm)
        model = make(depth=3)
        tokens = torch.randint(0, 50, (2, length))
        position = min(position, length - 1)
        changed = tokens.clone()
        changed[:, position + 1 :] = (changed[:, position + 1 :] + 1) % 50
        before, after = model(tokens)[:, : position + 1], model(changed)[:, : position + 1]
    torch.testing.assert_close(before, after)


def test_every_token_reaches_the_next_logit() -> None:
    model = make()
    tokens = torch.randint(0, 50, (1, 16))
    changed = tokens.clone()
    changed[0, 3] = (changed[0, 3] + 1) % 50
    assert not torch.allclose(model(tokens)[0, 3], model(changed)[0, 3])


def test_the_first_loss_is_that_of_knowing_nothing() -> None:
    model = make(trained=False)
    tokens = torch.randint(0, 50, (4, 16))
    loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(math.log(50), abs=1e-6)


def test_logits_are_float32_and_stay_within_the_cap() -> None:
    model = make()
    model.head.weight.data.mul_(1e3)
    logits = model(torch.randint(0, 50, (2, 16)))
    assert logits.shape == (2, 16, 50)
    assert logits.dtype is torch.float32
    assert logits.abs().max() <= architecture.LOGIT_SOFTCAP


def test_a_sliding_layer_sees_its_window_and_nothing_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "WINDOW_FRACTION", 0.25)
    attention = architecture.Attention(make().config, window=4)
    cos, sin = rotary(16, architecture.HEAD_DIM)
    x = torch.randn(1, 16, make().config.dim)
    changed = x.clone()
    changed[0, 5] += 1.0
    differs = (attention(x, cos, sin) - attention(changed, cos, sin)).abs().amax(dim=-1)[0] > 1e-6
    assert differs.nonzero().flatten().tolist() == [5, 6, 7, 8]


def test_rotary_scores_depend_on_distance_only() -> None:
    cos, sin = rotary(32, 8)
    q, k = torch.randn(8), torch.randn(8)
    turned_q, turned_k = (rotate(x.expand(1, 1, 32, 8), cos, sin)[0, 0] for x in (q, k))
    torch.testing.assert_close(turned_q[9] @ turned_k[4], turned_q[25] @ turned_k[20])


@pytest.mark.parametrize("depth", [1, 2, 5, 12])
def test_one_dial_sizes_the_model(depth: int) -> None:
    config = Config.sized(depth=depth, vocab_size=50, sequence_length=64)
    assert config.dim % config.head_dim == 0
    assert config.dim >= depth * architecture.ASPECT
    assert len(windows(config)) == depth
    assert windows(config)[-1] == 64


def test_flops_count_matches_a_count_by_hand() -> None:
    model = make(depth=1)
    weights = sum(p.numel() for name, p in model.named_parameters() if "embedding" not in name)
    assert model.flops_per_token() == pytest.approx(6 * weights + 12 * model.config.dim * 8)
