"""Writes a new value the way the old one is written: 2**19 → 2**20, 1e-3 → 2e-3, 1_000 → 2_000. Pure text.

What it writes always reads back as exactly the value; where the old way cannot say it, a plain literal does.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from decimal import Decimal

from autoresearchd.propose._ranges import Value

Number = int | float
LARGEST = 2**63
LARGEST_EXPONENT = 64
_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def number(node: ast.expr) -> Number | None:
    """What an expression of literals is worth; None for anything else, or anything that is unreasonably large."""
    match node:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int() | float() as value):
            return value if abs(value) < LARGEST else None
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = number(operand)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(number(left), op, number(right))
    return None


def is_power_of_two(node: ast.expr) -> bool:
    """Whether it is spelled as one: `2**19`, `1 << 19`."""
    match node:
        case ast.BinOp(left=ast.Constant(value=2), op=ast.Pow()) | ast.BinOp(op=ast.LShift()):
            return True
    return False


def respell(source: bytes, value: Value) -> bytes:
    """The expression `source` (a literal or arithmetic of literals) changed so that it is worth `value`."""
    if isinstance(value, bool):
        return str(value).encode()
    if isinstance(value, str):
        return _string(source, value).encode()
    wrapped = b"(" + source + b")"
    node = ast.parse(wrapped, mode="eval").body
    part = _part(node, value)
    if part is None or source.count(b"\n"):
        return _literal(value, "").encode()
    target, amount = part
    start, end = target.col_offset, target.end_col_offset
    literal = _literal(amount, wrapped[start:end].decode())
    return (wrapped[:start] + literal.encode() + wrapped[end:])[1:-1]


def _part(node: ast.expr, value: Number) -> tuple[ast.expr, Number] | None:
    """The literal within `node` to replace, and by what, so that the whole is worth `value`."""
    match node:
        case ast.Constant() | ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return node, value
        case ast.BinOp(left=left, op=ast.Pow() | ast.LShift() as op, right=ast.Constant() as right):
            base = number(left)
            if isinstance(base, int) and isinstance(value, int):
                for exponent in range(LARGEST_EXPONENT):
                    if _binary(base, op, exponent) == value:
                        return right, exponent
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            for mine, other in ((left, right), (right, left)):
                factor = number(other)
                if isinstance(factor, int) and factor and isinstance(value, int) and value % factor == 0:
                    found = _part(mine, value // factor)
                    if found is not None:
                        return found
    return None


def _binary(left: Number | None, op: ast.operator, right: Number | None) -> Number | None:
    if left is None or right is None:
        return None
    small = isinstance(op, ast.Pow | ast.LShift)
    if small and (abs(right) > LARGEST_EXPONENT or abs(left) > 2**16):
        return None
    if isinstance(op, ast.LShift):
        if not (isinstance(left, int) and isinstance(right, int)) or right < 0:
            return None
        result: Number = left << right
    elif (apply := _OPERATORS.get(type(op))) is None:
        return None
    else:
        try:
            result = apply(left, right)
        except (ZeroDivisionError, OverflowError):
            return None  # not a number: nothing to tune
    return result if isinstance(result, int | float) and math.isfinite(result) and abs(result) < LARGEST else None


def _literal(value: Number, like: str) -> str:
    """`value` in the manner of the literal `like`; exact."""
    if isinstance(value, int):
        return f"{value:_}" if "_" in like else str(value)
    sign = "-" if value < 0 or (value == 0 and math.copysign(1, value) < 0) else ""
    like = like.lstrip("-+ ").lower()
    exact = Decimal(repr(abs(value)))
    if "e" in like and not like.startswith("0x") and exact:
        return sign + _scientific(exact, like)
    plain = format(exact, "f")
    if len(plain) > 14:
        return repr(value)
    text = plain if "." in plain else plain + ".0"
    return sign + (text.removeprefix("0") if like.startswith(".") and text != "0.0" else text)


def _scientific(exact: Decimal, like: str) -> str:
    digits = "".join(map(str, exact.normalize().as_tuple().digits))
    power = exact.adjusted()
    exponent = like.partition("e")[2].lstrip("+-")
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else ".0" if "." in like else "")
    mark = "-" if power < 0 else "+" if "e+" in like else ""
    return f"{mantissa}e{mark}{abs(power):0{len(exponent) if exponent.startswith('0') else 1}d}"


def _string(source: bytes, value: str) -> str:
    plain = all(character.isprintable() and character not in "\"'\\" for character in value)
    return f'"{value}"' if plain and source.endswith(b'"') else repr(value)
