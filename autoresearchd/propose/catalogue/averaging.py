"""Averaging the weights over the end of training, and handing the average on as the result."""

from __future__ import annotations

import libcst as cst

from autoresearchd.propose.catalogue._pattern import Pattern
from autoresearchd.propose.catalogue._rewrite import Block, Scope, instead, rewrite_blocks
from autoresearchd.propose.catalogue._syntax import calls, number, statement, walk
from autoresearchd.propose.catalogue._torch import mentions, names

SHARE = 0.02
"""Of the newest weights in the average at each step: it looks about 50 steps back."""
_STEPS = ("step", "take_step", "train_step", "training_step")


def _average(module: cst.Module) -> cst.Module | None:
    """Around the loop that steps the optimiser, in a function that knows the `model`."""
    torch = names(module).local("torch")
    if torch is None:
        return None
    weights = "[weight.detach() for weight in model.parameters()]"
    before = statement("average = [weight.detach().clone() for weight in model.parameters()]")
    update = statement(f"{torch}._foreach_lerp_(average, {weights}, {SHARE})")
    after = statement(f"{torch}._foreach_copy_({weights}, average)")

    def rewrite(body: Block, scope: Scope) -> list[cst.BaseStatement] | None:
        for index, line in enumerate(body):
            if isinstance(line, cst.For | cst.While) and scope and _is_training(line, scope[-1]):
                inner = line.body.with_changes(body=[*line.body.body, update])
                loop = instead(line, before, line.with_changes(body=inner))
                return [*body[:index], *loop, after, *body[index + 1 :]]
        return None

    return rewrite_blocks(module, rewrite)


def _is_training(loop: cst.For | cst.While, around: cst.CSTNode) -> bool:
    """Whether it steps an optimiser, is no loop over optimisers or batches inside another, and ends by itself."""
    if not any(calls(loop, *_STEPS)) or any(isinstance(node, cst.Return) for node in walk(loop)):
        return False
    if isinstance(loop, cst.For) and (mentions(loop.target, "optimizer") or _is_short(loop.iter)):
        return False
    known = {node.value for node in walk(around) if isinstance(node, cst.Name)}
    return "model" in known and not known & {"average", "ema", "swa_model", "AveragedModel"}


def _is_short(node: cst.BaseExpression) -> bool:
    """`range(3)`: a few steps written out are a warm-up."""
    return isinstance(node, cst.Call) and all(number(arg.value) is not None for arg in node.args)


PATTERNS = (
    Pattern(
        name="weight-averaging",
        title="Average the weights of the last steps",
        rationale="The mean of the last weights lies lower than any one of them while the learning rate is still high "
        "(Polyak and Juditsky, 1992).",
        category="averaging",
        apply=_average,
    ),
)
