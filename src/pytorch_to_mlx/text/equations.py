"""How a formula in plain signs is said: limits of sums and integrals, primes, absolute values, factorials, functions.

Every letter and every number of a formula is said; what is not known is said by the name that Unicode gives it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from pytorch_to_mlx.text.tex import VERBATIM

SIGNS = {
    **{"=": "equals", "==": "equals", "≈": "is about", "≃": "is about", "≠": "does not equal", "!=": "does not equal"},
    **{"≡": "is identical to", "≤": "is at most", "<=": "is at most", "⩽": "is at most", "≥": "is at least"},
    **{">=": "is at least", "⩾": "is at least", "<": "is less than", ">": "is greater than", "≪": "is much less than"},
    **{"≫": "is much greater than", "∝": "is proportional to", "+": "plus", "−": "minus", "-": "minus"},
    **{"±": "plus or minus", "∓": "minus or plus", "×": "times", "·": "times", "⋅": "times", "*": "times"},
    **{"∗": "times", "÷": "divided by", "/": "over", "∂": "partial", "∇": "nabla", "∞": "infinity", "∈": "in"},
    **{"∉": "not in", "⊂": "a subset of", "⊆": "a subset of", "∪": "union", "∩": "intersected with", "∖": "without"},
    **{"∀": "for all", "∃": "there is", "→": "to", "⇒": "implies", "⇔": "if and only if", "↦": "maps to"},
    **{"∼": "is distributed as", "∧": "and", "∨": "or", "¬": "not", "∅": "the empty set", "∘": "composed with"},
    **{"°": "degrees", "…": "and so on", "⋯": "and so on", "%": "percent", "⊥": "is perpendicular to"},
    **{"∥": "is parallel to"},
}
OPERATORS = {"∑": "the sum", "∏": "the product", "∫": "the integral", "√": "the square root"}
OPERATORS |= {"∬": "the double integral", "∭": "the triple integral", "∮": "the contour integral"}
OPERATORS |= {"⋃": "the union", "⋂": "the intersection"}
_BOUNDED = {"lim": "the limit", "max": "the maximum", "min": "the minimum", "sup": "the supremum", "inf": "the infimum"}
FUNCTIONS = {"sin": "sine", "cos": "cosine", "tan": "tangent", "exp": "exp", "log": "log", "ln": "natural log"}
FUNCTIONS |= {"sinh": "hyperbolic sine", "cosh": "hyperbolic cosine", "tanh": "hyperbolic tangent"}
FUNCTIONS |= {"lim": "the limit of", "max": "max", "min": "min", "det": "the determinant of"}
_SETS = {"ℝ": "the real numbers", "ℂ": "the complex numbers", "ℕ": "the natural numbers", "ℤ": "the integers"}
SETS = _SETS | {"ℚ": "the rational numbers"}
_ROOTS = {"2": "square", "3": "cube", "4": "fourth", "5": "fifth", "6": "sixth", "n": "n-th", "k": "k-th"}
_MARKS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0305": "bar", "\u0307": "dot", "\u0308": "double dot"}
MARKS = _MARKS | {"\u20d7": "vector"}
_FACTORS = frozenset("abcijkmnr")
"""Letters that a bracket with a sum multiplies; others are functions of what is in it."""
WORDS = frozenset(
    ["ah", "am", "an", "as", "at", "be", "by", "do", "eg", "eh", "go", "ha", "he", "hi", "ie", "if", "in", "is", "it"]
)
WORDS |= {"me", "my", "no", "of", "oh", "ok", "on", "or", "ow", "ox", "pi", "so", "to", "tv", "uh", "up", "us", "vs"}
WORDS |= {"we", "ye"}
"""Of two letters, and no product."""

COUNTED = "\ue000"
"""Follows a number of a formula: it must be said as a number alone, whatever letter follows."""
RAISED = "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹ⁿⁱᵀᵏˣʸᵗ"
LOWERED = "₊₋₀₁₂₃₄₅₆₇₈₉ₐₑₒₓᵢⱼₙₘₖₜ"
PARTS = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
_DEEPEST = 8
"""Powers of powers beyond are read one after the other."""
_TOKEN = re.compile(
    rf"{VERBATIM}(?P<words>[^{VERBATIM}]*){VERBATIM}|"
    rf"(?P<fraction>(?<![\w.)}}_^])\d{{1,9}}/\d{{1,9}}(?![\w.({{_^!])|\d{{0,9}}[{PARTS}])|"
    r"(?P<number>\d{1,3}(?:,\d{3}){1,12}(?![\d,])(?:\.\d{1,20})?|\d{1,40}(?:\.\d{1,20}){0,12}|\.\d{1,20})|"
    rf"(?P<raised>[{RAISED}]{{1,9}})|(?P<lowered>[{LOWERED}]{{1,9}})|(?P<script>[\^_])|(?P<prime>['’′″‴]{{1,4}})|"
    rf"(?P<mark>[{''.join(MARKS)}])|(?P<function>(?:{'|'.join(sorted([*FUNCTIONS, *_BOUNDED], key=len, reverse=True))})"
    r"(?![A-Za-z]))|(?P<name>[A-Za-z]+|[\u0370-\u03ffµ])|(?P<open>[(\[{⟨⌊⌈])|(?P<close>[)\]}⟩⌋⌉])|(?P<bar>[|‖∣])|"
    rf"(?P<sign>(?<=\s)!=|[<>=]=|[{re.escape(''.join(sign for sign in SIGNS if len(sign) == 1))}])|"
    rf"(?P<operator>[{''.join(OPERATORS)}])|(?P<bang>!{{1,2}})|(?P<comma>[,;:.])|(?P<other>\S)"
)
_ENDS = {"number", "fraction", "name", "close", "raised", "lowered", "prime", "mark", "words", "bang"}
"""What something that is multiplied, raised or told apart ends with."""


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def said(formula: str, depth: int = 0) -> str:
    """The words of a formula; each number is followed by `COUNTED`."""
    return " ".join(_Reader(formula, depth).words())


def letter_name(letter: str) -> str:
    """The name of a Greek letter."""
    if letter == "µ":
        return "mu"
    name = unicodedata.name(letter, letter).replace("FINAL ", "").removesuffix(" SYMBOL").split()[-1].lower()
    return {"lamda": "lambda"}.get(name, name)


def plain(signs: str) -> str:
    """Raised and lowered signs as ordinary ones."""
    return unicodedata.normalize("NFKC", signs).replace("−", "-")


def parts(signs: str) -> str:
    """`3½` as `3 1/2`."""
    whole, fraction = signs[:-1], unicodedata.normalize("NFKC", signs[-1]).replace("⁄", "/")
    return f"{whole} {fraction}".strip()


def name(token: str) -> str:
    """Letters of a product one by one; words as they are."""
    if len(token) > 2 or token.lower() in WORDS:
        return token
    return " ".join(letter_name(letter) if not letter.isascii() else letter for letter in token)


def raised(exponent: str, depth: int = 0) -> str:
    """What is said after what is raised."""
    exponent = exponent.strip()
    if exponent and not exponent.strip("′'’"):
        return _primes(len(exponent))
    if exponent.startswith(VERBATIM):
        return said(exponent, depth)
    known = {"2": "squared", "3": "cubed", "": "", "∘": "degrees", "°": "degrees", "*": "star", "∗": "star"}
    return known.get(exponent, f"to the power of {said(exponent, depth)}")


def _primes(count: int) -> str:
    return {1: "prime", 2: "double prime", 3: "triple prime"}.get(count, f"{count}{COUNTED} primes")


class _Reader:
    """Goes through the signs of a formula once; scripts, which stand where they are not said, are looked ahead for."""

    def __init__(self, source: str, depth: int) -> None:
        self.source, self.depth, self.at = source, depth, 0
        self.tokens = [
            _Token(found.lastgroup or "", found[found.lastgroup or 0], found.start(), found.end())
            for found in _TOKEN.finditer(source)
        ]
        self.partners, self.inside = _brackets(self.tokens)
        self.open_bars: list[int] = []
        self.applied = -1
        self.said: list[str] = []

    def words(self) -> list[str]:
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            getattr(self, f"_{token.kind}")(token)
        return [words for words in self.said if words]

    def _kind(self, offset: int = 0) -> str | None:
        """What comes next; None if nothing does."""
        at = self.at + offset
        return self.tokens[at].kind if 0 <= at < len(self.tokens) else None

    def _text(self, offset: int = 0) -> str:
        at = self.at + offset
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def _words(self, token: _Token) -> None:
        self.said.append(token.text)

    def _fraction(self, token: _Token) -> None:
        text = token.text if "/" in token.text else parts(token.text)
        self.said.append(f"{text}{COUNTED}")

    def _number(self, token: _Token) -> None:
        self.said.append(f"{token.text}{COUNTED}")

    def _raised(self, token: _Token) -> None:
        self._power(plain(token.text), self._text(-2))

    def _power(self, exponent: str, base: str) -> None:
        words = raised(exponent, self.depth + 1)
        self.said.append(
            f"to the power of {said(exponent)}" if base == "10" and words in ("squared", "cubed") else words
        )

    def _lowered(self, token: _Token) -> None:
        self.said.append(f"sub {said(plain(token.text), self.depth + 1)}")

    def _script(self, token: _Token) -> None:
        base = self._text(-2)
        inner = self._scripted()
        if inner is None:
            self.said.append("to the power of" if token.text == "^" else "sub")
        elif token.text == "^":
            self._power(inner, base)
        elif inner:
            self.said.append(f"sub {said(inner, self.depth + 1)}")

    def _scripted(self) -> str | None:
        """What is raised or lowered, as it is written; None if it must be read as it comes."""
        first = self.at
        if first == len(self.tokens):
            return ""
        if self.depth >= _DEEPEST:
            return None
        if self._kind() == "open":
            self.at = self.partners.get(first, len(self.tokens) - 1) + 1
            closed = first in self.partners
            return self.source[self.tokens[first].end : self.tokens[self.at - 1].start if closed else None]
        if self._text() in "+-−±" and self._kind(1) in ("number", "name", "fraction", "sign"):
            self.at += 1
        self.at += 1
        return self.source[self.tokens[first].start : self.tokens[self.at - 1].end]

    def _prime(self, token: _Token) -> None:
        self.said.append(_primes(sum({"″": 2, "‴": 3}.get(sign, 1) for sign in token.text)))

    def _mark(self, token: _Token) -> None:
        self.said.append(MARKS[token.text])

    def _function(self, token: _Token) -> None:
        if token.text in _BOUNDED and self._kind() in ("script", "lowered") and self._text()[0] != "^":
            self._bounded(_BOUNDED[token.text], token.text == "lim")
            return
        self.said.append(FUNCTIONS.get(token.text, _BOUNDED.get(token.text, token.text)))
        if token.text == "log" and (self._kind() == "lowered" or self._text() == "_"):
            base, power = self._limits()
            self.said[-1] += f" base {said(base, self.depth + 1)}"
            self.said.append(f"{raised(power, self.depth + 1)} of" if power else "of")
        self._decorations()
        if self._text() == "(":
            self.applied = self.at
            self.said.append("" if self.said[-1].endswith("of") else "of")

    def _decorations(self) -> None:
        """Primes, hats, indices and powers of a letter or of a function."""
        while self._kind() in ("prime", "mark", "script", "raised", "lowered"):
            token = self.tokens[self.at]
            self.at += 1
            getattr(self, f"_{token.kind}")(token)

    def _name(self, token: _Token) -> None:
        if token.text in ("Σ", "Π") and self._is_operator():
            self._bounded("the sum" if token.text == "Σ" else "the product")
            return
        if self._text(-2) == ")" and len(token.text) < 3 and not re.match("d.", token.text) and token.text not in WORDS:
            self.said.append("times")
        self.said.append(name(token.text))
        first = self.at
        self._decorations()
        if self._text() == "(" and self._touches() and len(token.text) != 2:
            self.applied = self.at
            multiplied = first == self.at and token.text in _FACTORS and self._holds_sum(self.at)
            self.said.append("times" if multiplied else "of")

    def _touches(self) -> bool:
        return self.tokens[self.at].start == self.tokens[self.at - 1].end

    def _holds_sum(self, bracket: int) -> bool:
        inner = self.tokens[bracket + 1 : self.partners.get(bracket, len(self.tokens))]
        return any(token.text in "+-−" for token in inner[1:])

    def _is_operator(self) -> bool:
        """Whether a capital sigma or pi has limits, and so is a sum or a product."""
        first = self.at
        lower, upper = self._limits()
        self.at = first
        return "=" in lower or "∈" in lower or bool(lower and upper)

    def _operator(self, token: _Token) -> None:
        if token.text == "√":
            order, power = self._limits() if self._text() == "_" else ("2", "")
            known = f"the {_ROOTS[order]} root" if order in _ROOTS else None
            self.said.append(known or f"the root of order {said(order, self.depth + 1)}")
            self.said.append(f"{raised(power, self.depth + 1)} of" if power else "of")
        else:
            self._bounded(OPERATORS[token.text])

    def _bounded(self, words: str, goes: bool = False) -> None:
        """A sum, an integral or a limit, with its limits where they are said: before what it is of."""
        lower, upper = self._limits()
        if lower and goes:
            words += f" as {' goes to '.join(said(part, self.depth + 1) for part in lower.split('→'))}"
        elif lower:
            words += f" {'from' if upper or '=' in lower else 'over'} {said(lower, self.depth + 1)}"
        if upper:
            words += f" to {said(upper, self.depth + 1)}"
        self.said.append(f"{words} of" if self.at < len(self.tokens) else words)

    def _limits(self) -> tuple[str, str]:
        """What is written below and above."""
        limits = {"_": "", "^": ""}
        while self._kind() in ("script", "raised", "lowered"):
            token = self.tokens[self.at]
            where = token.text if token.kind == "script" else "^" if token.kind == "raised" else "_"
            if limits[where] or (token.kind == "script" and self.depth >= _DEEPEST):
                break
            self.at += 1
            limits[where] = (self._scripted() or "") if token.kind == "script" else plain(token.text)
        return limits["_"], limits["^"]

    def _open(self, token: _Token) -> None:
        rounded = {"⌊": "the floor of", "⌈": "the ceiling of"}.get(token.text, "")
        factor = self._kind(-2) in ("number", "fraction", "raised", "bang") or self._text(-2) == ")"
        if factor and (rounded or (token.text == "(" and self.at - 1 != self.applied)):
            self.said.append("times")
        self.said.append(rounded)

    def _close(self, token: _Token) -> None:
        while self.open_bars and self.inside[self.open_bars[-1]] != self.inside[self.at - 1]:
            self.open_bars.pop()

    def _bar(self, token: _Token) -> None:
        at = self.at - 1
        ends = self._kind(-2) in _ENDS
        if ends and self.open_bars and self.inside[self.open_bars[-1]] == self.inside[at]:
            self.open_bars.pop()
        elif self._closing_bar(at):
            self.open_bars.append(at)
            self.said.append("the norm of" if token.text == "‖" else "the absolute value of")
        elif self.inside[at] is None:
            self.said.append("divides")
        else:
            self.said.append("such that" if self.tokens[self.inside[at] or 0].text == "{" else "given")

    def _closing_bar(self, at: int) -> bool:
        """Whether another bar follows between the same brackets."""
        return any(
            each.kind == "bar" and each.text == self.tokens[at].text and self.inside[later] == self.inside[at]
            for later, each in enumerate(self.tokens[at + 1 :], at + 1)
        )

    def _sign(self, token: _Token) -> None:
        self.said.append(SIGNS[token.text])

    def _bang(self, token: _Token) -> None:
        if self._kind(-2) in _ENDS:
            self.said.append("factorial" if len(token.text) == 1 else "double factorial")
        elif self.said:
            self.said[-1] += token.text

    def _comma(self, token: _Token) -> None:
        if self.said:
            self.said[-1] += token.text

    def _other(self, token: _Token) -> None:
        if token.text in SETS:
            self.said.append(SETS[token.text])
            return
        signs = unicodedata.normalize("NFKD", token.text)
        if signs != token.text:
            self.said.append(said(signs, self.depth + 1) if self.depth < _DEEPEST else signs)
        elif token.text.isalnum():
            self.said.append(token.text)
        elif unicodedata.category(token.text) in ("Sm", "So", "Po"):
            self.said.append(unicodedata.name(token.text, "").lower())


def _brackets(tokens: list[_Token]) -> tuple[dict[int, int], list[int | None]]:
    """Where each bracket is closed, and in which one each sign stands."""
    partners: dict[int, int] = {}
    inside: list[int | None] = []
    opened: list[int] = []
    for at, token in enumerate(tokens):
        if token.kind == "close" and opened:
            partners[opened.pop()] = at
        inside.append(opened[-1] if opened else None)
        if token.kind == "open":
            opened.append(at)
    return partners, inside
