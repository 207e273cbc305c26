"""Pieces of Python source: expressions that know how tightly they bind, and numbers that may become arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

# How tightly an expression binds, as in Python's grammar.
CONDITION, COMPARISON, OR, XOR, AND, SHIFT, SUM, PRODUCT, SIGN, POWER, ATOM = range(11)

FLOAT32_MAX = 3.4028234663852886e38

BINARY = {
    "|": OR,
    "^": XOR,
    "&": AND,
    "<<": SHIFT,
    ">>": SHIFT,
    "+": SUM,
    "-": SUM,
    "*": PRODUCT,
    "/": PRODUCT,
    "//": PRODUCT,
    "%": PRODUCT,
    "@": PRODUCT,
    "**": POWER,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), COMPARISON),
}


@dataclass(frozen=True)
class Code:
    """An expression.

    Attributes:
        text: its source, with slots for numbers (`Slots`).
        level: how tightly it binds.
    """

    text: str
    level: int = ATOM

    def within(self, level: int) -> str:
        """The text as an operand of something that binds like `level`."""
        return self.text if self.level >= level else f"({self.text})"

    @property
    def atom(self) -> str:
        """The text where an attribute or a subscript follows."""
        return self.within(ATOM)

    def __str__(self) -> str:
        return self.text


def binary(operator: str, left: Any, right: Any) -> Code:
    """`left operator right`."""
    level = BINARY[operator]
    a, b = as_code(left), as_code(right)
    if operator == "**":
        return Code(f"{a.within(ATOM)}**{b.within(SIGN)}", level)
    # Comparisons chain in Python, and the right operand of the others must bind more tightly.
    return Code(f"{a.within(level + (level == COMPARISON))} {operator} {b.within(level + 1)}", level)


def unary(operator: str, value: Any) -> Code:
    """`-value` or `~value`."""
    return Code(f"{operator}{as_code(value).within(SIGN)}", SIGN)


def call(function: str, *args: Any, **kwargs: Any) -> Code:
    """`function(args, name=value)`; arguments that are None are left out."""
    given = [as_code(arg).text for arg in args]
    given += [f"{name}={as_code(value).text}" for name, value in kwargs.items() if value is not None]
    return Code(f"{function}({', '.join(given)})")


def method(value: Any, name: str, *args: Any, **kwargs: Any) -> Code:
    """`value.name(args)`."""
    return call(f"{as_code(value).atom}.{name}", *args, **kwargs)


def attribute(value: Any, name: str) -> Code:
    """`value.name`."""
    return Code(f"{as_code(value).atom}.{name}")


def item(value: Any, index: str) -> Code:
    """`value[index]`."""
    return Code(f"{as_code(value).atom}[{index}]")


def as_code(value: Any) -> Code:
    """The literal of a Python value; expressions are returned as they are.

    Raises:
        TypeError: it has no literal.
    """
    if isinstance(value, Code):
        return value
    if isinstance(value, tuple | list):
        texts = [as_code(each).text for each in value]
        if isinstance(value, list):
            return Code(f"[{', '.join(texts)}]")
        return Code(f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})")
    if isinstance(value, bool) or value is None:
        return Code(str(value))
    if isinstance(value, int | float):
        text = number(value)
        return Code(text, SIGN if text.startswith("-") else ATOM)
    if isinstance(value, complex):
        return Code(repr(value), ATOM)
    if isinstance(value, str):
        escaped = value.encode("unicode_escape").decode().replace('"', '\\"')  # what a file says stays a string
        return Code(f'"{escaped}"')
    raise TypeError(f"{type(value).__name__} has no literal")


def number(value: float) -> str:
    """The shortest literal; infinities and nan by MLX's names."""
    if value != value:
        return "mx.nan"
    if value in (float("inf"), float("-inf")):
        return "mx.inf" if value > 0 else "-mx.inf"
    if abs(value) == FLOAT32_MAX:
        return f"mx.finfo(mx.float32).{'max' if value > 0 else 'min'}"
    return repr(value)


@dataclass
class Slots:
    """Numbers of one instance's source, each with a place in the text, since other instances may have others.

    Attributes:
        values: in order of their places.
        hints: what an argument for each would be called.
    """

    values: list[Any] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def add(self, value: Any, hint: str) -> Code:
        """A place for `value`."""
        self.values.append(value)
        self.hints.append(hint)
        return Code(f"\ue000{len(self.values) - 1}\ue001", as_code(value).level)


SLOT = re.compile("\ue000(\\d+)\ue001")


def filled(text: str, values: list[str]) -> str:
    """The text with every slot filled."""
    return SLOT.sub(lambda found: values[int(found[1])], text)
