"""Muon orthogonalises, the rest is torch's AdamW, and the schedule follows the budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nanogpt import optim
from nanogpt.model import GPT, Config


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(2, 40), columns=st.integers(2, 40), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_orthogonalised_matrices_have_singular_values_near_one(rows: int, columns: int, scale: float) -> None:
    torch.manual_seed(rows * 100 + columns)
    left, _, right = torch.linalg.svd(torch.randn(3, rows, columns), full_matrices=False)
    values = torch.linspace(0.2, 1.0, min(rows, columns)).expand(3, -1)
    found = torch.linalg.svdvals(optim.orthogonalise(left @ torch.diag_embed(values * scale) @ right))
    assert found.min() > 0.6
    assert found.max() < 1.3


@pytest.mark.parametrize(("columns", "rows"), [(24, 12), (12, 24), (16, 16)])
def test_muon_equals_torchs_own(columns: int, rows: int) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(columns, rows, bias=False), nn.Linear(columns, rows, bias=False)
    theirs.load_state_dict(ours.state_dict())
    muon = optim.Muon(ours.parameters(), lr=0.02, momentum=0.95, weight_decay=0.1)
    oracle = torch.optim.Muon(theirs.parameters(), lr=0.02, momentum=0.95, weight_decay=0.1)
    for _ in range(5):
        x = torch.randn(32, columns)
        for layer, optimizer in ((ours, muon), (theirs, oracle)):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
    # torch's iterates in bfloat16
    torch.testing.assert_close(ours.weight, theirs.weight, atol=5e-3, rtol=0)


def test_stacking_equal_shapes_changes_nothing() -> None:
    torch.manual_seed(1)
    together = [nn.Parameter(torch.randn(6, 4)) for _ in range(3)]
    apart = [nn.Parameter(p.detach().clone()) for p in together]
    gradients = [torch.randn(6, 4) for _ in together]
    for parameters in (together, apart):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
    optim.Muon(together, lr=0.1).step()
    for parameter in apart:
        optim.Muon([parameter], lr=0.1).step()
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other)


def test_what_is_no_matrix_of_a_block_gets_torchs_adamw() -> None:
    torch.manual_seed(0)
    model = GPT(Config.sized(depth=1, vocab_size=20, sequence_length=8))
    oracle_weights = [nn.Parameter(p.detach().clone()) for p in (model.embedding.weight, model.head.weight)]
    oracle = torch.optim.AdamW(
        [
            {"params": [oracle_weights[0]], "lr": optim.EMBEDDING_LR},
            {"params": [oracle_weights[1]], "lr": optim.HEAD_LR},
        ],
        betas=(optim.ADAM_BETA1, optim.ADAM_BETA2),
        eps=optim.ADAM_EPSILON,
        weight_decay=optim.ADAM_DECAY,
    )
    optimizers = optim.make_optimizers(model)
    for _ in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        for ours, theirs in zip((model.embedding.weight, model.head.weight), oracle_weights, strict=True):
            assert ours.grad is not None
            theirs.grad = ours.grad.clone()
        optim.step(optimizers)
        oracle.step()
    assert torch.equal(model.embedding.weight, oracle_weights[0])
    assert torch.equal(model.head.weight, oracle_weights[1])


def test_every_weight_is_changed_by_exactly_one_optimizer() -> None:
    model = GPT(Config.sized(depth=2, vocab_size=20, sequence_length=8))
    owned = [p for group in optim.groups(optim.make_optimizers(model)) for p in group["params"]]
    assert len(owned) == len({id(p) for p in owned})
    assert {id(p) for p in owned} == {id(p) for p in model.parameters()}


def test_the_schedule_rises_stays_and_falls_with_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "WARMUP", 0.1)
    monkeypatch.setattr(optim, "WARMDOWN", 0.4)
    monkeypatch.setattr(optim, "FINAL_LR", 0.1)
    heights = [optim.height(progress) for progress in (0.0, 0.05, 0.1, 0.5, 0.6, 0.8, 1.0)]
    assert heights == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0, 0.55, 0.1])


@given(progress=st.floats(0, 1), warmup=st.floats(0, 1), warmdown=st.floats(0, 1), final=st.floats(0, 1))
def test_no_schedule_leaves_its_bounds(progress: float, warmup: float, warmdown: float, final: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WARMUP", warmup), ("WARMDOWN", warmdown), ("FINAL_LR", final)):
            patch.setattr(optim, name, value)
        assert 0.0 <= optim.height(progress) <= 1.0


def test_clipping_bounds_the_whole_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "GRADIENT_CLIP", 1.0)
    weight = nn.Parameter(torch.zeros(10))
    weight.grad = torch.full((10,), 100.0)
    optim.step((torch.optim.SGD([weight], lr=1.0),))
    assert weight.norm().item() == pytest.approx(1.0, rel=1e-4)
