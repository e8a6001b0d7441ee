"""Makes a proposal of changed constants: the edits, and the words that a person reads in the log."""

from __future__ import annotations

from autoresearchd.proposal import Proposal
from autoresearchd.propose._observations import Values, View
from autoresearchd.propose._protocol import Context
from autoresearchd.propose._spelling import respell
from autoresearchd.propose.constants import Constant, Value, rewrite

LONGEST_TITLE = 72
CATEGORY = "hyperparameter"


def proposal(context: Context, view: View, changes: Values, *, proposer: str, rationale: str) -> Proposal:
    """Best with these constants changed."""
    changed = {constant: changes[constant.key] for constant in view.constants if constant.key in changes}
    return Proposal(
        parent=context.best,
        edits=rewrite(context.files, changed),
        title=title(context, changed),
        rationale=rationale,
        category=CATEGORY,
        proposer=proposer,
    )


def title(context: Context, changed: dict[Constant, Value]) -> str:
    """`Raise MATRIX_LR from 0.02 to 0.04`; shorter where several change."""
    long = [_phrase(context, constant, value, with_old=True) for constant, value in changed.items()]
    if len(", ".join(long)) <= LONGEST_TITLE:
        return _joined(long)
    short = [_phrase(context, constant, value, with_old=False) for constant, value in changed.items()]
    if len(", ".join(short)) <= LONGEST_TITLE:
        return _joined(short)
    names = f"Change {', '.join(constant.name for constant in changed)}"
    return names if len(names) <= LONGEST_TITLE else f"Change {len(changed)} constants"


def direction(constant: Constant, value: Value) -> str:
    """raise, lower or set."""
    old = constant.value
    if not constant.range.is_numeric or isinstance(value, str) or isinstance(old, str):
        return "set"
    return "raise" if value > old else "lower"


def _phrase(context: Context, constant: Constant, value: Value, *, with_old: bool) -> str:
    source = context.files[constant.path][constant.start : constant.end]
    old, new = source.decode(), respell(source, value).decode()
    start = f" from {old}" if with_old and constant.range.is_numeric else ""
    return f"{direction(constant, value)} {constant.name}{start} to {new}"


def _joined(phrases: list[str]) -> str:
    text = ", ".join(phrases)
    return text[:1].upper() + text[1:]
