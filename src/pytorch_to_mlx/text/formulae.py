"""Formulae, Greek letters and units of English text, in words; numbers stay for whoever says numbers.

Written here because no kept library puts them into words without TeX markup or a browser's engine. Only what is surely
a formula or a unit is touched: operands that are numbers, letters or names of functions, and a sign among them that
prose does not use. Hyphens, slashes and asterisks are signs only beside such a one. What is in doubt stays as it is.
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
    ["ah", "am", "an", "as", "at", "be", "by", "do", "eg", "eh", "go", "ha", "he", "hi", "ie", "if", "in", "is", "it"]
)
_WORDS |= {"me", "my", "no", "of", "oh", "ok", "on", "or", "ow", "ox", "pi", "so", "to", "tv", "uh", "up", "us", "vs"}
_WORDS |= {"we", "ye"}
"""Of two letters, and no product."""

COUNTED = "\ue000"
"""Follows a number that a letter of a formula follows, which is no unit: it must be said as a number."""
_KEPT = "\ue001"
"""Stands for a piece of text that must not be touched."""

_PREFIXES = {"": "", "n": "nano", "µ": "micro", "m": "milli", "c": "centi", "d": "deci", "k": "kilo", "M": "mega"}
_PREFIXES |= {"G": "giga", "T": "tera", "h": "hecto", "p": "pico", "μ": "micro"}  # the letter that looks like the sign
_SCALED = {
    **{"m": ("meter", "nµmcdk"), "g": ("gram", "nµmk"), "s": ("second", "pnµm"), "L": ("liter", "µmcd")},
    **{"l": ("liter", "µmcd"), "mol": ("mole", "nµmk"), "Hz": ("hertz", "mkMGT"), "N": ("newton", "mk")},
    **{"Pa": ("pascal", "hkMG"), "J": ("joule", "mkMG"), "W": ("watt", "µmkMGT"), "V": ("volt", "nµmk")},
    **{"A": ("ampere", "nµmk"), "Ω": ("ohm", "mkMG"), "F": ("farad", "pnµm"), "B": ("byte", "kMGT")},
    **{"bit": ("bit", "kMG"), "eV": ("electronvolt", "mkMGT"), "Wh": ("watt hour", "mkMGT"), "cal": ("calorie", "k")},
    **{"T": ("tesla", "nµm"), "H": ("henry", "nµm")},
}
"""Units with the prefixes that are used with them: TV, MA and TN are other things."""
_ALONE = {"h": "hour", "min": "minute", "d": "day", "K": "kelvin", "°C": "degree Celsius", "°F": "degree Fahrenheit"}
_ALONE |= {"°": "degree", "dB": "decibel", "rpm": "revolution per minute", "px": "pixel", "fps": "frame per second"}
_ALONE |= {"KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte", "ft": "foot", "mi": "mile", "lb": "pound"}
_ALONE |= {"mph": "mile per hour", "bps": "bit per second", "kbps": "kilobit per second", "Mbps": "megabit per second"}
NAMES = {
    prefix + unit: _PREFIXES[prefix] + name
    for unit, (name, prefixes) in _SCALED.items()
    for prefix in ["", *prefixes, *("μ" if "µ" in prefixes else "")]
} | _ALONE
_UNCHANGED = ("hertz", "kelvin")
_DOUBTFUL = frozenset([*"ABFHJKLNTd", "bit"])
"""Behind a number these are seats, rows, names, variants or adjectives as well: units only in a rate or a power."""
_CLOSE = frozenset("msgVWhlΩ°")
"""Units of one letter that are written right behind the number too; 4K, 5G, 3D and 2A are none."""

_NUMBER = r"\d{1,40}+(?:[.,]\d{1,20}+){0,12}+"
_RAISED = "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹ⁿⁱ"
_LOWERED = "₊₋₀₁₂₃₄₅₆₇₈₉ₐₑₒₓᵢⱼₙₘₖ"
_POWER = r"(?:\^\{?[-−+]?\d{1,9}\}?|[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,9}+)?"
_SYMBOL = "|".join(sorted(map(re.escape, NAMES), key=len, reverse=True))
_QUANTITY = re.compile(
    rf"(?<![\w.$£€¥{_KEPT}])(?<!\d,)(?P<number>[-−]?{_NUMBER}{_POWER})(?P<space>[\s\u202f]?)(?P<unit>{_SYMBOL})"
    rf"(?P<power>{_POWER})(?:\s?(?P<joint>[/·⋅])\s?(?P<per>{_SYMBOL})(?P<per_power>{_POWER}))?"
    rf"(?![\w°/{_KEPT}]|\.\w|['’]\w)(?P<stop>\.(?=\s[a-z]))?"
)
_LETTER = r"[A-Za-z\u0370-\u03ff]"
_GREEK = re.compile(r"(?<![\u0370-\u03ff])[\u0391-\u03a9\u03b1-\u03c9\u03d1\u03d5\u03f5µ](?![\u0370-\u03ff])")
_INNER = r"(?:\{[^{}]{1,40}\}|[-−]?\w{1,20}+|\([^()]{1,40}\))"
_NAMED = "|".join(_FUNCTIONS)
_NO_WORD = rf"(?!(?i:{'|'.join(sorted(_WORDS - {'pi'}))})(?!{_LETTER}))"
_NAME = rf"(?:(?:{_NAMED}|pi)(?!{_LETTER})|{_NO_WORD}{_LETTER}{{1,2}}+(?!{_LETTER}))"
_SIGN = f"[{re.escape(''.join(_SIGNS))}]"
_BETWEEN = rf"(?:[\d \u00a0\u202f.,;_^{{}}{_RAISED}{_LOWERED}]|{_SIGN})"
_GROUP = rf"\((?:{_BETWEEN}|(?<![A-Za-z]){_NAME}|\({_BETWEEN}{{0,9}}{_NAME}?{_BETWEEN}{{0,9}}\)){{1,40}}+\)"
_INDEX = rf"(?:_(?:\{{[^{{}}]{{1,40}}\}}|\d{{1,6}}(?!\w)|{_LETTER}(?!\w))|[{_LOWERED}]{{1,9}}+)"
_RAISING = rf"(?:\^{_INNER}|[{_RAISED}]{{1,9}}+)"
_OPERAND = (
    rf"(?:[-−±√∂∇∑∏∫]{{0,2}}+(?:∞|{_GROUP}|(?:{_NUMBER})?{_NAME}′?{_INDEX}?{_RAISING}?(?:{_GROUP})?|{_NUMBER})"
    rf"{_RAISING}?)"
)
_OPERATOR = rf"(?!\s?(?:<-|->))(?:[ \u00a0\u202f]{_SIGN}[ \u00a0\u202f]|{_SIGN})"
_FORMULA = re.compile(
    rf"(?<![\w/@.:$£€¥*<>?&%#+'’\\{_KEPT}-]){_OPERAND}(?:{_OPERATOR}{_OPERAND}){{0,40}}"
    rf"(?![\w/@+*=<>^(-]|[.:'’]\w|{_KEPT})"
)
_STRONG = re.compile(
    rf"[=<>^{_ANYWHERE}{_RAISED}{_LOWERED}]|_[\d{{]|\b(?:sin|cos|tan|ln|exp|det)\(|(?<!\w)[fgh]\([xyztn]\)"
)
_NO_ORDER = re.compile(r"<.*>|>.*<|^[IiUu] ?<3$")
"""Marks of a page, and a heart."""
_MOLECULE = re.compile(r"(?<!\w)(?=\w{0,39}[₀-₉])(?:[A-Z][a-z]?[₀-₉]{0,4}){1,20}+(?!\w)")
_SCIENTIFIC = re.compile(
    r"(?<![\w.])(?<!\w-)(?:(\d{1,20}+(?:\.\d{1,20}+)?)e([-+−]?\d{1,3})|(\d{1,20}+\.\d{1,20}+)E([-+−]?\d{1,3})|"
    r"(\d{1,20}+)E([-+−]\d{1,3}))(?!\w|\.\d)"
)
_TEX = (
    r"(?<![\\$])\$\$(?=[^$]{0,800}[\\^_=])([^$]{1,800})\$\$(?!\$)|(?<![\\$\w])\$(?![\s$])(?=[^$\n]{0,400}[\\^_=])"
    r"([^$\n]{1,400})(?<!\s)\$(?![\w$])|\\\((.{1,400}?)\\\)|\\\[(.{1,800}?)\\\]"
)
_LEFT = (
    r"(?:https?://|www\.)\S{1,2000}+|(?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}+|`[^`]*`|"  # links
    r"(?<![\w-])--[A-Za-z][\w-]{0,60}+(?:=\S{1,200}+)?|\$\{?[A-Za-z_]\w{0,60}+\}?|"  # options and variables
    r"(?<!\S)(?:~|\.{1,2}|[A-Za-z]:)?[/\\][\w.~/\\-]{0,400}+|"  # paths
    rf"(?<!\w)(?!\d*{_LETTER}_(?:(?:\d{{1,6}}|{_LETTER})(?!\w)|\{{))(?=[^\W_]*_)\w+|"  # names in code
    r"(?<![\w.])[A-Za-z][\w-]{0,60}+(?:\.[A-Za-z]\w{0,60}+){1,9}+"  # files
)
_TEX_OR_LEFT = re.compile(f"{_TEX}|{_LEFT}", re.S)
_DURATION = re.compile(
    r"(?i:\b(?:waits?|waited|waiting|takes?|took|taking|within|after|every|lasts?|lasted|another|than)(?: about)? |"
    r"\d ?(?:m|min|h) )$"
)
_LASTING = re.compile(r"(?i:\b(?:for|in|about|only|just) )$")
_GOES_ON = re.compile(r"\s*(?:[.,;:!?)]|$|(?:and|or|then|before|after|until|to|at|of|per|on|with|while|when|if)\b)")
_NO_DURATION = re.compile(
    r"(?:\b(?:the|these|those|his|her|my|your|our|their|its|early|mid|late|one|two|three|four|five|six|some|all)|"
    r"\b\w*[A-Z]\w*|\w-|\w\.)\s?$"
)


def spoken_formulae(text: str) -> str:
    """English text, with what is written in signs put into words; links, paths and names in code stay as they are.

    A number that must not be taken for one of a unit is followed by `COUNTED`.
    """
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        tex = next(filter(None, found.groups()), None)
        kept.append(found[0] if tex is None else _formula(_of_tex(tex)))
        return _KEPT

    text = _TEX_OR_LEFT.sub(keep, text.replace(COUNTED, "").replace(_KEPT, ""))
    texts = iter(kept)
    return re.sub(_KEPT, lambda _: next(texts), _spoken(text))


def _spoken(text: str) -> str:
    text = _SCIENTIFIC.sub(lambda found: "{} × 10^{}".format(*filter(None, found.groups())), text)
    text = _QUANTITY.sub(_quantity, text)
    text = _MOLECULE.sub(lambda found: " ".join(re.findall(r"[A-Z][a-z]?|\d+", _plain(found[0]))), text)
    text = _FORMULA.sub(_surely_formula, text)
    text = _GREEK.sub(lambda found: _apart(found, letter_name(found[0])), text)
    return _SIGN_ANYWHERE.sub(lambda found: _apart(found, _SIGNS[found[0].strip()]), text)


def _apart(found: re.Match[str], words: str) -> str:
    """Words for a sign, with a blank where a letter, a number or a sign is right beside it."""
    text, (first, end) = found.string, found.span()
    before = " " if first and (text[first - 1].isalnum() or text[first - 1] in _ANYWHERE + ")%,;:") else ""
    after = " " if end < len(text) and (text[end].isalnum() or text[end] in _ANYWHERE + "([-−") else ""
    if after and text[end] in "-−" and not text[end + 1 : end + 2].isdigit():
        after = ""  # a hyphen
    return f"{before}{words}{after}"


_SIGN_ANYWHERE = re.compile(f"[{_ANYWHERE}]")


def letter_name(letter: str) -> str:
    """The name of a Greek letter."""
    if letter == "µ":
        return "mu"
    name = unicodedata.name(letter, letter).replace("FINAL ", "").removesuffix(" SYMBOL").split()[-1].lower()
    return {"lamda": "lambda"}.get(name, name)


def _plain(signs: str) -> str:
    return unicodedata.normalize("NFKC", signs)


def _of_tex(source: str) -> str:
    """A formula in TeX as one in plain signs."""
    from pylatexenc.latex2text import LatexNodes2Text

    source = re.sub(r"\\frac\s{0,9}\{([^{}]*)\}\s{0,9}\{([^{}]*)\}", _fraction, source)
    text = LatexNodes2Text(math_mode="text", keep_braced_groups=True).latex_to_text(source)
    return " ".join(text.split())


def _fraction(found: re.Match[str]) -> str:
    above, below = (part if len(part.strip()) == 1 or part.isalnum() else f"({part})" for part in found.groups())
    return f"{above}/{below}"


def _quantity(found: re.Match[str]) -> str:
    """A number with its unit; as it stands where the unit may be something else."""
    number, unit, per = found["number"], found["unit"], found["per"]
    if not (per or found["power"]):
        if unit in _DOUBTFUL or (not found["space"] and len(unit) == 1 and unit not in _CLOSE):
            return found[0]
        around = found.string[max(0, found.start() - 40) : found.start()], found.string[found.end() : found.end() + 20]
        if not _is_unit(number, unit, bool(found["space"]), *around):
            return found[0]
    elif per and len(unit) == 1 and unit.isupper() and len(per) == 1 and per.isupper():
        return found[0]  # A/B, N/A, T/F
    several = number not in ("1", "-1", "−1")
    words = _unit(unit, found["power"], several and found["joint"] in (None, "/"))
    if per:
        words += (
            f" per {_unit(per, found['per_power'], False)}"
            if found["joint"] == "/"
            else (f" {_unit(per, found['per_power'], several)}")
        )
    stop = "" if unit in ("ft", "lb", "mi", "min") and not per else found["stop"] or ""
    return f"{number} {words}{stop}"


def _is_unit(number: str, unit: str, apart: bool, before: str, after: str) -> bool:
    """Whether a letter behind a number is its unit, as far as what is around tells."""
    if unit in "VW":  # initials, streets, shapes
        return not re.match(r"\.?\s?[A-Z]|\s\d|-\w", after)
    if unit == "m":  # minutes
        return not (re.search(r"\d\s?h(?:ours?)?\s$", before) or re.match(r"\s\d+(?:\.\d+)?\s?s\b", after))
    if unit != "s" or apart or "." in number:
        return True
    if re.fullmatch(r"\d{1,3}0", number):  # thirties, or thirty seconds
        sure = _DURATION.search(before) or (_LASTING.search(before) and _GOES_ON.match(after))
        return bool(sure) and len(number) < 4
    return not _NO_DURATION.search(before)


def _unit(symbol: str, power: str, several: bool) -> str:
    word = NAMES[symbol]
    if several and not word.endswith(_UNCHANGED):
        first, blank, rest = word.partition(" ")
        compound = rest and not rest.startswith(("per", "Celsius", "Fahrenheit"))
        many = {"foot": "feet", "henry": "henries"}.get(first, f"{first}s")
        word = f"{first} {rest}s" if compound else f"{many}{blank}{rest}"
    exponent = _plain(power).strip("^{}")
    if not exponent:
        return word
    return {"2": f"square {word}", "3": f"cubic {word}"}.get(exponent, f"{word} {_raised(exponent)}")


def _raised(exponent: str) -> str:
    return {"2": "squared", "3": "cubed"}.get(exponent, f"to the power of {_formula(exponent)}")


def _surely_formula(found: re.Match[str]) -> str:
    """A formula in words, if a sign in it is of no prose; brackets around the whole of it stay."""
    source = found[0]
    if not _STRONG.search(source) or _NO_ORDER.search(source):
        return source
    if re.fullmatch(_GROUP, source):
        return f"({_formula(source[1:-1])})" if re.search(rf"[=<>^{_ANYWHERE}{_RAISED}]", source) else source
    return _formula(source)


def _formula(source: str) -> str:
    """What is surely a formula."""
    words: list[str] = []
    was = None
    for found in _TOKEN.finditer(source):
        kind, token = found.lastgroup, found[0]
        if was == "number" and kind in ("name", "call"):
            words[-1] += COUNTED
        was = kind
        if kind == "power":
            words.append(_raised(_plain(token).strip("^{}()").replace("−", "-")))
        elif kind == "index":
            words.append(f"sub {_formula(_plain(token).strip('_{}()'))}")
        elif kind == "call":
            words.append(f"{_name(token[:-1])} of")
        elif kind == "sign":
            words.append(_SIGNS[token])
        elif kind == "name":
            words.append(_name(token))
        elif kind == "comma" and words:
            words[-1] += token
        else:  # a number, or a fraction of whole numbers, which has a name of its own
            words.append(token)
    return " ".join(words)


def _name(token: str) -> str:
    """Letters of a product one by one; names of functions as they are said."""
    if token in _FUNCTIONS:
        return _FUNCTIONS[token]
    if len(token) > 2 or token.lower() in _WORDS:
        return token
    return " ".join(letter_name(letter) if "\u0370" <= letter <= "\u03ff" else letter for letter in token)


_TOKEN = re.compile(
    rf"(?P<fraction>(?<![\w.)])\d{{1,9}}/\d{{1,9}}(?![\w.(]))|(?P<number>{_NUMBER})|"
    rf"(?P<power>\^{_INNER}|[{_RAISED}]{{1,9}}+)|(?P<index>_{_INNER}|[{_LOWERED}]{{1,9}}+)|"
    rf"(?P<call>(?:{_NAMED}|{_LETTER})\()|(?P<name>[^\W\d_{_RAISED}{_LOWERED}]+)|(?P<comma>[,;:])|(?P<sign>{_SIGN})"
)
