"""Formulae in TeX as formulae in plain signs: structure into braces and signs, symbols by pylatexenc's table."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

VERBATIM = "\ue002"
"""Stands before and after words in a formula, which are said as they are."""
_DEEPEST = 20
"""Arguments nested deeper are read as if they stood beside what they belong to."""
_LAYOUT = """
left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle limits nolimits
nonumber notag mathstrut rm bf it mathbf mathit mathsf mathtt mathcal mathfrak mathscr mathnormal boldsymbol bm
underbrace overbrace boxed quad qquad
"""
_SILENT = frozenset(_LAYOUT.split())
_TEXT = frozenset(["text", "textrm", "textbf", "textit", "textsf", "texttt", "mbox"])
_UPRIGHT = frozenset(["mathrm", "operatorname"])
_FRACTIONS = frozenset(["frac", "dfrac", "tfrac", "cfrac"])
_ACCENTS = {"hat": "hat", "widehat": "hat", "bar": "bar", "overline": "bar", "tilde": "tilde", "widetilde": "tilde"}
_ACCENTS |= {"vec": "vector", "dot": "dot", "ddot": "double dot", "underline": "underlined"}
_SYMBOLS = {"iff": "⇔", "implies": "⇒", "ne": "≠", "neq": "≠", "degree": "°", "lvert": "|", "rvert": "|", "vert": "|"}
_SYMBOLS |= {"lVert": "‖", "rVert": "‖", "Vert": "‖", "|": "‖", "{": "{", "}": "}", "\\": ", ", "le": "≤", "ge": "≥"}
_SYMBOLS |= dict.fromkeys([",", ";", ":", "!", " ", "/", "-", "\n", "\t"], " ")
_SAID = {"neg": "not", "lnot": "not", "land": "and", "lor": "or", "Re": "the real part of", "triangle": "triangle"}
_SAID |= {"Im": "the imaginary part of", "sec": "secant", "csc": "cosecant", "cot": "cotangent", "hbar": "h bar"}
_SAID |= {"argmax": "arg max", "argmin": "arg min", "bmod": "mod", "%": "percent", "$": "dollars", "&": "and"}
_SAID |= {"#": "number", "_": "underscore", "top": "transpose", "colon": ":"}
_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "ln", "lim", "max", "min", "sup", "inf", "det"]
)
_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.|$)|.", re.S)


def plain(source: str) -> str:
    """A formula in TeX as one in plain signs: `\\frac{a}{b}` as `{a}/{b}`."""
    return " ".join(_Converter(source).flow(0).split())


class _Converter:
    def __init__(self, source: str) -> None:
        self.tokens: list[str] = _TOKEN.findall(source)
        self.at = 0

    def flow(self, depth: int) -> str:
        """What comes until the group ends."""
        parts: list[str] = []
        open_groups = 0
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token == "}" and depth and not open_groups:
                break
            open_groups += (token == "{") - (token == "}")
            parts.append(self._one(depth))
        return "".join(parts)

    def _one(self, depth: int) -> str:
        token = self.tokens[self.at]
        self.at += 1
        if token[0] == "\\":
            return self._command(token[1:], depth)
        if token in "^_":
            return token if depth >= _DEEPEST else f"{token}{{{self._script(depth)}}}"
        return {"'": "′", "~": " ", "&": " ", "\\": " "}.get(token, token)

    def _script(self, depth: int) -> str:
        """What is raised or lowered; all of a number, which strictly were its first digit."""
        self._blanks()
        braced = self.tokens[self.at : self.at + 1] == ["{"]
        script = self._argument(depth)
        while not braced and script[-1:].isdigit() and self.at < len(self.tokens) and self.tokens[self.at].isdigit():
            script += self.tokens[self.at]
            self.at += 1
        return script

    def _argument(self, depth: int) -> str:
        self._blanks()
        if self.at >= len(self.tokens) or self.tokens[self.at] == "}":
            return ""
        if self.tokens[self.at] != "{":
            return self._one(depth + 1)
        self.at += 1
        content = self.flow(depth + 1)
        self.at += 1
        return content

    def _raw(self) -> str:
        """An argument that is text."""
        self._blanks()
        first, open_groups = self.at, 0
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            open_groups += (token == "{") - (token == "}")
            if open_groups <= 0:
                break
        return re.sub(r"\\(?![A-Za-z]).|[\\{}$~]", " ", "".join(self.tokens[first : self.at]))

    def _blanks(self) -> None:
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1

    def _command(self, name: str, depth: int) -> str:
        if name in ("left", "right", "middle") and self.tokens[self.at : self.at + 1] == ["."]:
            self.at += 1
        if name in _SILENT:
            return " "
        if name in _TEXT:
            return _verbatim(self._raw())
        if name in _UPRIGHT:
            return _upright(self._raw())
        if name in ("begin", "end", "label", "tag"):
            environment = self._raw()
            if name == "begin" and environment.strip() in ("array", "tabular"):
                self._raw()
            return " "
        structure = self._structure(name, depth) if depth < _DEEPEST else None
        return _symbol(name) if structure is None else structure

    def _structure(self, name: str, depth: int) -> str | None:
        """A command with its arguments; None for others."""
        if name in _FRACTIONS:
            above, below = self._argument(depth).strip(), self._argument(depth).strip()
            return f" {above}/{below} " if (above + below).isdecimal() else f" {{{above}}}/{{{below}}} "
        if name == "sqrt":
            order = self._order(depth)
            return f" √{f'_{{{order}}}' if order else ''}{{{self._argument(depth)}}} "
        if name in ("binom", "dbinom", "tbinom"):
            return f" {{{self._argument(depth)}}}{_verbatim('choose')}{{{self._argument(depth)}}} "
        if name in _ACCENTS:
            return f" {{{self._argument(depth)}}}{_verbatim(_ACCENTS[name])}"
        if name in ("pmod", "mod"):
            return f"{_verbatim('mod')}{{{self._argument(depth)}}}"
        if name == "mathbb":
            return "".join(map(_double_struck, self._argument(depth)))
        if name == "not":
            return _negated(self._argument(depth))
        return None

    def _order(self, depth: int) -> str:
        """Which root, in square brackets."""
        self._blanks()
        rest = self.tokens[self.at :]
        if rest[:1] != ["["] or "]" not in rest:
            return ""
        inner = _Converter("".join(rest[1 : rest.index("]")])).flow(depth + 1)
        self.at += rest.index("]") + 1
        return inner


def _verbatim(words: str) -> str:
    return f" {VERBATIM}{' '.join(words.split())}{VERBATIM} "


def _upright(letters: str) -> str:
    """A unit, a differential, or the name of a function, which may be applied to what follows without a blank."""
    letters = "".join(letters.split())
    if len(letters) == 2 and letters.isalpha():
        return _verbatim(letters)
    return f" {letters}"


def _double_struck(letter: str) -> str:
    for name in (f"DOUBLE-STRUCK CAPITAL {letter}", f"MATHEMATICAL DOUBLE-STRUCK CAPITAL {letter}"):
        if letter.isascii() and letter.isupper():
            try:
                return unicodedata.lookup(name)
            except KeyError:
                continue
    return letter


def _negated(sign: str) -> str:
    joined = unicodedata.normalize("NFC", f"{sign.strip()}\u0338")
    return joined if len(joined) == 1 else f"{_verbatim('not')}{sign}"


def _symbol(name: str) -> str:
    """The sign of a command; its name, if it is of none."""
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    if name in _SAID:
        return _verbatim(_SAID[name])
    if name in _FUNCTIONS:
        return f" {name} "
    sign = getattr(_table().get_macro_spec(name), "simplify_repl", None)
    sign = sign.strip() if isinstance(sign, str) and "%" not in sign else ""  # what has no arguments
    return sign if len(sign) == 1 else _verbatim(sign or name)


@cache
def _table() -> Any:
    from pylatexenc.latex2text import get_default_latex_context_db

    return get_default_latex_context_db()
