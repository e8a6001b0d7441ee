"""How weights are changed: Muon for the matrices of the blocks, AdamW for the rest, one schedule for both.

Knows neither data nor loss. The schedule is driven by the used share of the budget, be it seconds or steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MATRIX_LR = 0.02  # of Muon, for the matrices of the blocks
EMBEDDING_LR = 0.1  # of AdamW, for the token embedding
HEAD_LR = 0.002  # of AdamW, for the output layer
MATRIX_DECAY = 0.0  # decoupled weight decay of the matrices
MOMENTUM = 0.95  # of Muon
NESTEROV = True  # Muon looks ahead along its momentum
NEWTON_SCHULZ_STEPS = 5  # of the orthogonalisation
ADAM_BETA1 = 0.9  # decay of AdamW's mean
ADAM_BETA2 = 0.95  # decay of AdamW's square
ADAM_EPSILON = 1e-8  # of AdamW
ADAM_DECAY = 0.0  # decoupled weight decay of embedding and head
WARMUP = 0.0  # share of the budget in which the learning rate rises from zero
WARMDOWN = 0.3  # share of the budget in which it falls at the end
FINAL_LR = 0.1  # where it ends, in units of its height
GRADIENT_CLIP = 0.0  # largest norm of the gradient; 0 is no limit

Optimizers = tuple[torch.optim.Optimizer, ...]


def orthogonalise(matrices: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values end between 0.7 and 1.2.

    The quintic Newton-Schulz iteration of Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/, on a stack
    of matrices (N, rows, columns), in bfloat16 on a GPU. Costs `steps` times three products of the smaller side.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    flat: Tensor = x.mT if tall else x
    return flat.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: every direction of a matrix moves equally far.

    The step of a (rows, columns) matrix is scaled by sqrt(max(1, rows / columns)), so that one learning rate serves
    every shape. Matrices of equal shape are orthogonalised as one stack.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float = MOMENTUM,
        nesterov: bool = NESTEROV,
        weight_decay: float = MATRIX_DECAY,
        orthogonaliser: Callable[[Tensor], Tensor] = orthogonalise,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        super().__init__(list(parameters), defaults)
        self.orthogonaliser = orthogonaliser

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for same in _by_shape(group["params"]):
                self._step(same, group)

    def _step(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        means = [self._mean(parameter) for parameter in parameters]
        weights: list[Tensor] = list(parameters)
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, means, group["momentum"]) if group["nesterov"] else means
        updates = self.orthogonaliser(torch.stack(ahead))
        rows, columns = parameters[0].shape
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        scale = max(1.0, rows / columns) ** 0.5
        torch._foreach_add_(weights, list(updates.unbind()), alpha=-group["lr"] * scale)

    def _mean(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        mean: Tensor = state["mean"]
        return mean


def _by_shape(parameters: Iterable[nn.Parameter]) -> Iterable[list[nn.Parameter]]:
    same = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            same[parameter.shape].append(parameter)
    return same.values()


def make_optimizers(model: nn.Module) -> Optimizers:
    """Muon for every matrix inside the blocks, AdamW for all other weights; fused on a GPU.

    The trainer calls `schedule` before each step; `height` in a group is the learning rate it starts from.
    """
    matrices, embeddings, others = [], [], []
    for name, parameter in model.named_parameters():
        if name.startswith("blocks.") and parameter.ndim == 2:
            matrices.append(parameter)
        elif "embedding" in name:
            embeddings.append(parameter)
        else:
            others.append(parameter)
    cuda = next(model.parameters()).is_cuda
    adam = torch.optim.AdamW(
        [{"params": embeddings, "lr": EMBEDDING_LR}, {"params": others, "lr": HEAD_LR}],
        betas=(ADAM_BETA1, ADAM_BETA2),
        eps=ADAM_EPSILON,
        weight_decay=ADAM_DECAY,
        fused=cuda,
    )
    muon = Muon(
        matrices, lr=MATRIX_LR, orthogonaliser=torch.compile(orthogonalise, dynamic=False) if cuda else orthogonalise
    )
    optimizers: Optimizers = (muon, adam)
    for group in groups(optimizers):
        group["height"] = group["lr"]
    return optimizers


def groups(optimizers: Optimizers) -> list[dict[str, Any]]:
    """Every parameter group."""
    return [group for optimizer in optimizers for group in optimizer.param_groups]


def height(progress: float) -> float:
    """The learning rate in units of its height, at a used share of the budget (0 to 1): up, level, down."""
    if progress < WARMUP:
        return progress / WARMUP
    if progress < 1 - WARMDOWN:
        return 1.0
    left = min(max((1 - progress) / WARMDOWN, 0.0), 1.0) if WARMDOWN else 0.0
    return left + (1 - left) * FINAL_LR


def schedule(optimizers: Optimizers, progress: float) -> None:
    """Set every learning rate for this share of the budget."""
    for group in groups(optimizers):
        group["lr"] = group["height"] * height(progress)


def step(optimizers: Optimizers) -> None:
    """Clip if asked to, change the weights, forget the gradients. Nothing here waits for a device."""
    if GRADIENT_CLIP:
        everything = [parameter for group in groups(optimizers) for parameter in group["params"]]
        nn.utils.clip_grad_norm_(everything, GRADIENT_CLIP)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
