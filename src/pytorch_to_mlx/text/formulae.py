"""Formulae, Greek letters and units of English text, in words; numbers stay for whoever says numbers.

Written here because no kept library puts them into words without TeX markup or a browser's engine. Only what is surely
one is taken for a formula: operands that are numbers, letters or names of functions, with a sign between them that
prose does not use.
"""

from __future__ import annotations

import re
import unicodedata

_SIGNS = {
    "=": "equals",
    "≈": "is about",
    "≃": "is about",
    "≠": "does not equal",
    "≡": "is identical to",
    "≤": "is at most",
    "≥": "is at least",
    "<": "is less than",
    ">": "is greater than",
    "≪": "is much less than",
    "≫": "is much greater than",
    "∝": "is proportional to",
    "+": "plus",
    "−": "minus",
    "-": "minus",
    "±": "plus or minus",
    "×": "times",
    "·": "times",
    "⋅": "times",
    "*": "times",
    "÷": "divided by",
    "/": "over",
    "√": "the square root of",
    "∑": "the sum of",
    "∏": "the product of",
    "∫": "the integral of",
    "∂": "partial",
    "∇": "nabla",
    "∞": "infinity",
    "∈": "in",
    "∉": "not in",
    "⊂": "a subset of",
    "⊆": "a subset of",
    "∪": "union",
    "∩": "intersected with",
    "∀": "for all",
    "∃": "there is",
    "→": "to",
    "⇒": "implies",
    "⇔": "if and only if",
    "′": "prime",
}
_ANYWHERE = "≈≃≠≡≤≥≪≫∝±×÷√∑∏∫∂∇∞∈∉⊂⊆∪∩∀∃⇒⇔"
"""Signs that no prose uses for anything else."""
_FUNCTIONS = {"sin": "sine", "cos": "cosine", "tan": "tangent", "exp": "exp", "log": "log", "ln": "natural log"}
_FUNCTIONS |= {"lim": "the limit of", "max": "max", "min": "min", "det": "the determinant of"}
_WORDS = frozenset(
    {"am", "an", "as", "at", "be", "by", "do", "go", "he", "if", "in", "is", "it", "me", "my", "no", "of"}
)
_WORDS |= {"oh", "ok", "on", "or", "so", "to", "up", "us", "vs", "we"}
"""Of two letters, and no product."""

COUNTED = "\ue000"
"""Follows a number that a letter of a formula follows, which is no unit: it must be said as a number."""

_PREFIXES = {"": "", "n": "nano", "µ": "micro", "m": "milli", "c": "centi", "d": "deci", "k": "kilo", "M": "mega"}
_PREFIXES |= {"G": "giga", "T": "tera", "μ": "micro"}  # the letter for the sign, which look the same
_UNITS = {
    **{"m": "meter", "g": "gram", "s": "second", "L": "liter", "l": "liter", "mol": "mole", "Hz": "hertz"},
    **{"N": "newton", "Pa": "pascal", "J": "joule", "W": "watt", "V": "volt", "A": "ampere", "Ω": "ohm", "F": "farad"},
    **{
        "B": "byte",
        "bit": "bit",
        "eV": "electronvolt",
        "Wh": "watt hour",
        "cal": "calorie",
        "T": "tesla",
        "H": "henry",
    },
}
_ALONE = {"h": "hour", "min": "minute", "d": "day", "K": "kelvin", "°C": "degree Celsius", "°F": "degree Fahrenheit"}
_ALONE |= {"°": "degree", "dB": "decibel", "rpm": "revolution per minute", "px": "pixel", "fps": "frame per second"}
_ALONE |= {
    "hPa": "hectopascal",
    "pF": "picofarad",
    "ps": "picosecond",
    "KiB": "kibibyte",
    "MiB": "mebibyte",
    "GiB": "gibibyte",
    "ft": "foot",
    "mi": "mile",
    "lb": "pound",
}
_ALONE |= {"mph": "mile per hour", "bps": "bit per second", "kbps": "kilobit per second", "Mbps": "megabit per second"}
NAMES = {prefix + unit: word + name for prefix, word in _PREFIXES.items() for unit, name in _UNITS.items()} | _ALONE
_UNCHANGED = ("hertz", "kelvin")
_CLOSE = frozenset(["m", "s", "g", "V", "W", "h", "L", "°"])
"""Units of one letter that are written right behind the number too; 4K, 5G, 3D and 2A are none."""

_NUMBER = r"\d+(?:[.,]\d+)*"
_POWER = r"(?:\^\{?[-−+]?\d+\}?|[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)?"
_SYMBOL = "|".join(sorted(map(re.escape, NAMES), key=len, reverse=True))
_QUANTITY = re.compile(
    rf"(?<![\w.$£€¥])(?P<number>[-−]?{_NUMBER}{_POWER})(?P<space>[\s\u202f]?)(?P<unit>{_SYMBOL})(?P<power>{_POWER})"
    rf"(?:\s?[/·⋅]\s?(?P<per>{_SYMBOL})(?P<per_power>{_POWER}))?(?![\w°])"
)
_SUPERSCRIPT = re.compile(r"[⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹ⁿⁱ]+")
_SUBSCRIPT = re.compile(r"[₊₋₀₁₂₃₄₅₆₇₈₉ₐₑₒₓᵢⱼₙₘₖ]+")
_GREEK = re.compile(r"(?<![\u0370-\u03ff])[\u0391-\u03a9\u03b1-\u03c9\u03d1\u03d5\u03f5](?![\u0370-\u03ff])")
_INNER = r"(?:\{[^{}]{1,40}\}|[-−]?\w+|\([^()]{1,40}\))"
_OPERAND = (
    rf"(?:(?=[-−±√∂∇∑∏∫(\[∞\w])[(\[]?[-−±√∂∇∑∏∫]?\s?(?:{_NUMBER}|∞)?\s?(?:{'|'.join(_FUNCTIONS)}|[A-Za-z\u0370-\u03ff]{{1,2}})?′?"
    rf"(?:_{_INNER})?(?:\^{_INNER})?(?:\([^()]{{1,40}}\)(?:\^{_INNER})?)?[)\]]?)"
)
_OPERATOR = rf"\s*[{re.escape(''.join(_SIGNS))}]\s*"
_FORMULA = re.compile(rf"(?<![\w/@.:-])(?:{_OPERAND}(?:{_OPERATOR}{_OPERAND}){{0,40}})(?![\w/@:+-])")
_STRONG = re.compile(rf"[=+<>{_ANYWHERE}^_]|\w\s?\*\s?\w|[a-z\d)]\s?/\s?[a-z(]|[a-z)]\s?/\s?\d|\w\(\w")
_MOLECULE = re.compile(r"(?<!\w)(?=\w*[₀-₉])(?:[A-Z][a-z]?[₀-₉]*)+(?!\w)")
_SCIENTIFIC = re.compile(rf"(?<![\w.])({_NUMBER})[eE]([-+−]?\d+)(?![\w.])")
_TEX = re.compile(r"\$\$(.+?)\$\$|\$(?=[^$\n]*[\\^_=])([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.S)
_LINK = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\S+|`[^`]*`")


def spoken_formulae(text: str) -> str:
    """English text, with what is written in signs put into words; links stay as they are.

    A number that must not be taken for one of a unit is followed by `COUNTED`.
    """
    pieces, end = [], 0
    for link in _LINK.finditer(text):
        pieces += [_spoken(text[end : link.start()]), link[0]]
        end = link.end()
    return "".join([*pieces, _spoken(text[end:])])


def _spoken(text: str) -> str:
    text = _TEX.sub(lambda found: _of_tex(next(filter(None, found.groups()))), text)
    text = _SCIENTIFIC.sub(r"\1 × 10^\2", text)
    text = _QUANTITY.sub(_quantity, text)
    text = _MOLECULE.sub(lambda found: " ".join(re.findall(r"[A-Z][a-z]?|\d+", _plain(found[0]))), text)
    text = _SUPERSCRIPT.sub(lambda found: "^{" + _plain(found[0]) + "}", text)
    text = _SUBSCRIPT.sub(lambda found: "_{" + _plain(found[0]) + "}", text)
    text = _FORMULA.sub(lambda found: _formula(found[0]) if _STRONG.search(found[0]) else found[0], text)
    text = _GREEK.sub(lambda found: letter_name(found[0]), text).replace("µ", "mu")
    for sign in _ANYWHERE:
        text = text.replace(sign, f" {_SIGNS[sign]} ") if sign in text else text
    text = re.sub(r"[_^]\{(.{1,40}?)\}", lambda found: f" {_plain(found[1])} ", text)  # in no formula
    return re.sub(r" {2,}", " ", text).replace(" ,", ",").replace(" .", ".")


def letter_name(letter: str) -> str:
    """The name of a Greek letter."""
    name = unicodedata.name(letter, letter).replace("FINAL ", "").removesuffix(" SYMBOL").split()[-1].lower()
    return {"lamda": "lambda"}.get(name, name)


def _plain(signs: str) -> str:
    return unicodedata.normalize("NFKC", signs)


def _of_tex(source: str) -> str:
    """A formula in TeX as one in plain signs."""
    from pylatexenc.latex2text import LatexNodes2Text

    source = re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", _fraction, source)
    text = LatexNodes2Text(math_mode="text", keep_braced_groups=True).latex_to_text(source)
    return f" {' '.join(text.split())} "


def _fraction(found: re.Match[str]) -> str:
    above, below = (part if len(part.strip()) == 1 or part.isalnum() else f"({part})" for part in found.groups())
    return f"{above}/{below}"


def _quantity(found: re.Match[str]) -> str:
    number, unit = found["number"], found["unit"]
    if not found["space"] and len(unit) == 1 and unit not in _CLOSE:
        return found[0]
    if unit == "s" and not found["space"] and re.fullmatch(r"\d\d(\d\d)?", number) and number.endswith("0"):
        return found[0]  # a decade
    several = number not in ("1", "-1", "−1")
    words = _unit(unit, found["power"], several)
    if found["per"]:
        words += f" per {_unit(found['per'], found['per_power'], False)}"
    return f"{number} {words}"


def _unit(symbol: str, power: str, several: bool) -> str:
    word = NAMES[symbol]
    if several and not word.endswith(_UNCHANGED):
        first, blank, rest = word.partition(" ")
        compound = rest and not rest.startswith(("per", "Celsius", "Fahrenheit"))
        many = {"foot": "feet"}.get(first, f"{first}s")
        word = f"{first} {rest}s" if compound else f"{many}{blank}{rest}"
    exponent = _plain(power).strip("^{}")
    if not exponent:
        return word
    return {"2": f"square {word}", "3": f"cubic {word}"}.get(exponent, f"{word} {_raised(exponent)}")


def _raised(exponent: str) -> str:
    return {"2": "squared", "3": "cubed"}.get(exponent, f"to the power of {_formula(exponent)}")


def _formula(source: str) -> str:
    """What is surely a formula."""
    before, after = source[: len(source) - len(source.lstrip())], source[len(source.rstrip()) :]
    words: list[str] = []
    was = None
    for found in _TOKEN.finditer(source):
        kind, token = found.lastgroup, found[0]
        if was == "number" and kind in ("name", "call"):
            words[-1] += COUNTED
        was = kind
        if kind == "fraction":  # of whole numbers: has a name of its own
            words.append(token)
        elif kind == "power":
            words.append(_raised(token[1:].strip("{}()")))
        elif kind == "index":
            words.append(f"sub {_formula(token[1:].strip('{}()'))}")
        elif kind == "call":
            words.append(f"{_name(token[:-1])} of")
        elif kind == "sign":
            words.append(_SIGNS[token])
        elif kind == "name":
            words.append(_name(token))
        elif kind == "number":
            words.append(token)
    return f"{before}{' '.join(words)}{after}"


def _name(token: str) -> str:
    """Letters of a product one by one; names of functions as they are said."""
    if token in _FUNCTIONS:
        return _FUNCTIONS[token]
    if len(token) > 2 or token.lower() in _WORDS:
        return token
    return " ".join(letter_name(letter) if "\u0370" <= letter <= "\u03ff" else letter for letter in token)


_TOKEN = re.compile(
    rf"(?P<fraction>(?<![\w.)])\d+/\d+(?![\w.(]))|(?P<number>{_NUMBER})|(?P<power>\^{_INNER})|(?P<index>_{_INNER})|"
    rf"(?P<call>(?:{'|'.join(_FUNCTIONS)}|[A-Za-z\u0370-\u03ff])\()|(?P<name>[^\W\d_]+)|"
    rf"(?P<sign>[{re.escape(''.join(_SIGNS))}])"
)
