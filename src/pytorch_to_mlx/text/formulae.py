"""Formulae and Greek letters of English text, in words; numbers stay for whoever says numbers.

Written here because no kept library puts them into words without TeX markup or a browser's engine. Only what is surely
a formula is touched: operands that are numbers, letters or names of functions, and a sign among them that prose does
not use. Hyphens, slashes and asterisks are signs only beside such a one. What is in doubt stays as it is.
"""

from __future__ import annotations

import re
import unicodedata

from pytorch_to_mlx.text.equations import (
    COUNTED,
    FUNCTIONS,
    LOWERED,
    OPERATORS,
    PARTS,
    RAISED,
    SETS,
    SIGNS,
    WORDS,
    letter_name,
    parts,
    said,
)
from pytorch_to_mlx.text.figures import spoken_commas
from pytorch_to_mlx.text.tex import VERBATIM, plain
from pytorch_to_mlx.text.units import KEPT, NUMBER, spoken_units

_ANYWHERE = "≈≃≠≡≤≥≪≫∝±×÷√∑∏∫∬∭∮∂∇∞∈∉⊂⊆∪∩∀∃⇒⇔"
"""Signs that no prose uses for anything else."""
_NO_OPERATORS = "%°…⋯∥⊥∘∅¬∧∨∼↦"
"""Signs of formulae that are read in one, but make none."""
_LETTER = r"[A-Za-z\u0370-\u03ff]"
_GREEK = r"[\u0391-\u03a9\u03b1-\u03c9\u03d1\u03d5\u03f5µ]"
_GREEK_ALONE = re.compile(rf"(?<![\u0370-\u03ff]){_GREEK}(?![\u0370-\u03ff])|[{''.join(SETS)}]")
_INNER = r"(?:\{[^{}]{1,40}\}|[-−]?\w{1,20}+|\([^()]{1,40}\))"
_NAMED = "|".join(FUNCTIONS)
_NO_WORD = rf"(?!(?i:{'|'.join(sorted(WORDS - {'pi'}))})(?!{_LETTER}))"
_NAME = rf"(?:(?:{_NAMED}|pi)(?!{_LETTER})|{_NO_WORD}{_LETTER}{{1,2}}+(?!{_LETTER}))"
_PRIMES = "[′'’]{0,3}+"
_SIGN = f"[{re.escape(''.join(sign for sign in SIGNS if len(sign) == 1 and sign not in _NO_OPERATORS))}]"
_BETWEEN = rf"(?:[\d \u00a0\u202f.,;_^!{{}}{RAISED}{LOWERED}{PARTS}{''.join(SETS)}]|{_SIGN})"
_LETTERS = rf"(?<![A-Za-z]){_NAME}{_PRIMES}"
_NESTED = rf"(?:{_BETWEEN}|{_LETTERS}|\({_BETWEEN}{{0,9}}{_NAME}?{_BETWEEN}{{0,9}}\))"
_GROUP = rf"\((?:{_NESTED}|\|){{1,40}}+\)"
_SIZE = rf"\|{{1,2}}+(?! )(?=[^|\n]{{0,80}}[^\W_]){_NESTED}{{1,40}}+(?<! )\|{{1,2}}+"
_ROUNDED = rf"\d{{0,9}}+[⌊⌈]{_NESTED}{{1,40}}+[⌋⌉]"
_INDEX = rf"(?:_(?:\{{[^{{}}]{{1,40}}\}}|\d{{1,6}}(?!\w)|{_LETTER}(?!\w))|[{LOWERED}]{{1,9}}+)"
_RAISING = rf"(?:\^{_INNER}|[{RAISED}]{{1,9}}+)"
_BOUND = r"(?:\{[^{}]{1,40}\}|\([^()]{1,40}\)|[-−+]?(?:\d{1,9}|∞|[A-Za-z\u0370-\u03ff]))"
_LIMITS = rf"(?:[_^]{_BOUND}|[{LOWERED}]{{1,9}}+|[{RAISED}]{{1,9}}+)"
_OPERATOR_SIGNS = f"[{''.join(sign for sign in OPERATORS if sign != '√')}]"
_LIMITED = (
    rf"(?:{_OPERATOR_SIGNS}{_LIMITS}{{0,2}}+|(?:lim|max|min|sup|inf)_[({{][^(){{}}]{{1,40}}[)}}]|"
    rf"[ΣΠ]{_LIMITS}{{1,2}}+)"
)
_TERM = rf"(?:{NUMBER}|\d{{0,9}}+[{PARTS}])?{_NAME}{_PRIMES}{_INDEX}?{_RAISING}?(?:{_GROUP})?"
_APPLIED = (
    rf"(?:{_NAMED})(?![A-Za-z]){_PRIMES}{_INDEX}?{_RAISING}?(?:[ \u00a0]?(?={_GREEK})|[ \u00a0](?!-)|(?<=[{RAISED}]))"
    rf"(?:{_TERM}|{NUMBER})"
)
_FACTORIAL = rf"(?:(?<=[A-Za-z)])!{{1,2}}+(?![\w=!?])|(?<=\d)!{{1,2}}+(?=\s?{_SIGN}))"
# atomic: else each operand doubles the ways to read a formula
_OPERAND = (
    rf"(?>(?:[-−±∂∇]|√ ?|{_LIMITED} ?){{0,3}}+(?:∞|[{''.join(SETS)}]|{_GROUP}|{_SIZE}|{_ROUNDED}|{_APPLIED}|"
    rf"{_TERM}|{NUMBER}|\d{{0,9}}+[{PARTS}]){_RAISING}?{_FACTORIAL}?)"
)
_DIFFERENTIAL = r"[ \u00a0]?(?=d[xyztrsuvwθφωτλμ](?![\w(]))"
_BLANK = r"[ \u00a0\u202f]"
_BESIDE = rf"(?<=[\d)])(?=\()|(?<=\))(?=[A-Za-z]\()|(?<=[{RAISED}])(?={_LETTER})"
_OPERATOR = rf"(?!\s?(?:<-|->))(?:{_BLANK}(?:{_SIGN}|[<>=!]=){_BLANK}|[<>]=|{_SIGN}|{_DIFFERENTIAL}|{_BESIDE})"
_FORMULA = re.compile(
    rf"(?<![\w/@.:$£€¥*<>?&%#+'’\\|{KEPT}-]){_OPERAND}(?>{_OPERATOR}{_OPERAND}){{0,40}}"
    rf"(?![\w/@+*=<>^(|-]|[.:'’]\w|{KEPT})"
)
_STRONG = re.compile(
    rf"[=<>^⌊⌈{_ANYWHERE}{RAISED}{LOWERED}]|_[\d{{]|\b(?:sin|cos|tan|ln|exp|det)\(|(?<!\w)[fgh]\([xyztn]\)|"
    rf"\|[^|]+\||(?<![A-Za-z])[Pp]\([^()]{{1,40}}\||(?<![A-Za-z]){_LETTER}[′'’]{{1,3}}\(|"
    rf"{_GREEK}\s?[/·⋅*+]|[/·⋅*+]\s?{_GREEK}|(?:sin|cos|tan|log|ln|exp)\s?{_GREEK}|"
    r"\b(?:sin|cos|tan|log|ln|exp) \d{0,9}[xyztn](?!\w)|"
    rf"(?<![A-Za-z])[A-Za-z\d][·⋅][A-Za-z\d](?![A-Za-z])|(?<![A-Za-z])[A-Za-z\d]!\s?[/·⋅×*=]|\b(?!dc/dc\b)d\w?/d[a-z]\b"
)
_NO_ORDER = re.compile(r"<.*>|>.*<|^[IiUu] ?<3$")
"""Marks of a page, and a heart."""
_NO_FACTOR = re.compile(r"\([^()]*[=<>][^()]*\)!+$")
_NO_FACTOR_INSIDE = re.compile(r"\(([^()!]*[=<>][^()!]*)(!{1,2})\)")
_LIMITED_ALONE = re.compile(rf"{_LIMITED}|[{_ANYWHERE}]")
_FACTORIAL_ALONE = re.compile(r"(?<![\w'’.])([nmkN])!(?=\s[a-z]|[.,;])|(?<=\()([nmkN])!(?=\))")
_SENTENCE_ENDS = re.compile(r"[\"'”’]|\s*(?:$|[\"'“‘(]?[A-Z])")
_NOUN_OR_PREPOSITION = re.compile(r" (?:(?:sign|symbol|key|operator|button)s?|of|over|from|is|means|and|or)\b")
_ARTICLE = re.compile(r"(?i:\b(?:the|an?|this|that|each|every) )$")
_JUST_SAID = re.compile(r"(?i:(?:\bthe )?\b((?:(?:square|cube|double|triple) )?(?:sum|product|integral|root|limit)) )$")
_CHANGE = re.compile(r"(?<=\b[A-Z])(?=Δ[A-Z](?![a-z]))")
"""Between factors of which the second is a change: TΔS."""
_TIMES_TEN = re.compile(r"(?<![\w.,])(\d{1,20}+(?:\.\d{1,20}+)?) ?[x×·⋅*] ?10(?=\^|[⁺⁻]?[¹²³⁴⁵⁶⁷⁸⁹])")
_MULTIPLE = re.compile(r"(?:(?<=[=+−≈≤≥<>×·√(/±*^-])|(?<=[=+−≈≤≥<>×·/±*-] ))(\d{1,20}+(?:\.\d{1,20}+)?)(?=x(?!\w))")
"""A number of times is said otherwise than a product with x."""
_PARTS = re.compile(rf"(?<!\d)\d{{0,9}}+[{PARTS}]")
_MOLECULE = re.compile(r"(?<!\w)(?=\w{0,39}[₀-₉])(?:[A-Z][a-z]?[₀-₉]{0,4}){1,20}+(?!\w)")
_SCIENTIFIC = re.compile(
    r"(?<![\w.])(?<!\w-)(?:(\d{1,20}+(?:\.\d{1,20}+)?)e([-+−]?\d{1,3})|(\d{1,20}+\.\d{1,20}+)E([-+−]?\d{1,3})|"
    r"(\d{1,20}+)E([-+−]\d{1,3}))(?!\w|\.\d)"
)
_TEX = (
    r"(?<![\\$])\$\$(?=[^$]{0,800}[\\^_=])([^$]{1,800})\$\$(?!\$)|(?<![\\$\w])\$(?![\s$])(?=[^$\n]{0,400}[\\^_=])"
    r"([^$\n]{1,400})(?<!\s)\$(?![\w$])|\\\((.{1,400}?)\\\)|\\\[(.{1,800}?)\\\]|"
    r"(?<![\\$\w])\$(?=[^$]{0,80}[A-Za-z])"  # letters and signs alone
    r"((?:[A-Za-z]{1,2}(?![A-Za-z])|(?<!\$)[ ]|[\d+*/<>!'’|(),.-]){1,80})(?<!\s)\$(?![\w$])"
)
_LEFT = (
    r"(?:https?://|www\.)\S{1,2000}+|(?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}+|`[^`]*`|"  # links
    r"(?<![\w-])--[A-Za-z][\w-]{0,60}+(?:=\S{1,200}+)?|\$\{?[A-Za-z_]\w{0,60}+\}?|"  # options and variables
    r"(?<!\S)(?:~|\.{1,2}|[A-Za-z]:)?[/\\][\w.~/\\-]{1,400}+|"  # paths
    rf"(?<![\w{''.join(OPERATORS)}])(?!\d*{_LETTER}_(?:(?:\d{{1,6}}|{_LETTER})(?!\w)|\{{))(?!log_\d{{1,3}}(?!\w))"
    r"(?!(?:lim|max|min|sup|inf)_[{(])(?=[^\W_]*_)\w+|"  # names in code
    r"(?<![\w.])[A-Za-z][\w-]{0,60}+(?:\.[A-Za-z]\w{0,60}+){1,9}+"  # files
)
_TEX_OR_LEFT = re.compile(f"{_TEX}|{_LEFT}", re.S)


def set_aside(text: str) -> tuple[str, list[str]]:
    """English text with `KEPT` for each formula in TeX, link, path and name in code; and these, formulae in words."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        tex = next(filter(None, found.groups()), None)
        kept.append(found[0] if tex is None else spoken_commas(said(plain(tex))))
        return KEPT

    return _TEX_OR_LEFT.sub(keep, re.sub(f"[{KEPT}{VERBATIM}]", "", text)), kept


def put_back(text: str, kept: list[str]) -> str:
    """The reverse."""
    texts = iter(kept)
    return re.sub(KEPT, lambda _: next(texts), text)


def spoken_formulae(text: str) -> str:
    """English text, with what is written in plain signs put into words.

    A number that must not be taken for one of a unit is followed by `COUNTED`.
    """
    text = _CHANGE.sub(" ", text)
    text = _SCIENTIFIC.sub(lambda found: "{} × 10^{}".format(*filter(None, found.groups())), text)
    text = spoken_units(_TIMES_TEN.sub(r"\1 × 10", text))
    text = _MOLECULE.sub(_molecule, text)
    text = _FORMULA.sub(_surely_formula, text)
    text = _MULTIPLE.sub(rf"\1{COUNTED} ", text)
    text = _FACTORIAL_ALONE.sub(lambda found: f"{found[1] or found[2]} factorial", text)
    text = _LIMITED_ALONE.sub(_sign_alone, text)
    text = _GREEK_ALONE.sub(lambda found: _apart(found, SETS.get(found[0]) or letter_name(found[0])), text)
    return _PARTS.sub(lambda found: _apart(found, f"{parts(found[0])}{COUNTED}"), text)


def _molecule(found: re.Match[str]) -> str:
    return " ".join(re.findall(r"[A-Z][a-z]?|\d+", unicodedata.normalize("NFKC", found[0])))


def _sign_alone(found: re.Match[str]) -> str:
    """A sign that is not understood to belong to a formula; sums with their limits."""
    after = found.string[found.end() : found.end() + 12]
    of = " of" if re.match(r"\s?[\w(\[]", after) else ""
    words = SIGNS.get(found[0]) or said(found[0])
    if words.startswith("the "):
        words = words if words.endswith(" of") else f"{words}{of}"
        if _NOUN_OR_PREPOSITION.match(after):
            words = words.removesuffix(" of")
    return _apart(found, _once(found, words))


def _once(found: re.Match[str], words: str) -> str:
    """Without an article, or the name of the sign, that the text before has said."""
    if not words.startswith("the "):
        return words
    before = found.string[max(0, found.start() - 30) : found.start()]
    if _ARTICLE.search(before):
        return words.removeprefix("the ")
    name = _JUST_SAID.search(before)
    return words.removeprefix(f"the {name[1].lower()} ") if name else words


def _apart(found: re.Match[str], words: str) -> str:
    """Words for a sign, with a blank where a letter, a number or a sign is right beside it."""
    text, (first, end) = found.string, found.span()
    before = " " if first and (text[first - 1].isalnum() or text[first - 1] in _ANYWHERE + ")%,;:") else ""
    after = " " if end < len(text) and (text[end].isalnum() or text[end] in _ANYWHERE + "([-−") else ""
    if after and text[end] in "-−" and not text[end + 1 : end + 2].isdigit():
        after = ""  # a hyphen
    return f"{before}{words}{after}"


def _surely_formula(found: re.Match[str]) -> str:
    """A formula in words, if a sign in it is of no prose; brackets around the whole of it stay."""
    source = found[0].replace("||", "‖")
    if not _STRONG.search(source) or _NO_ORDER.search(source):
        return found[0]
    bang = ""
    if _NO_FACTOR.search(source) or _ends_sentence(source, found.string[found.end() : found.end() + 4]):
        source, bang = source.rstrip("!"), source[len(source.rstrip("!")) :]
    inside = _NO_FACTOR_INSIDE.fullmatch(source)
    if inside:
        words = f"({said(inside[1])}{inside[2]})"
    elif not re.fullmatch(_GROUP, source):
        words = said(source)
    elif re.search(rf"[=<>^{_ANYWHERE}{RAISED}]", source):
        words = f"({said(source[1:-1])})"
    else:
        words = source
    return f"{_once(found, words)}{bang}"


def _ends_sentence(source: str, after: str) -> bool:
    """Whether the sign at the end is no factorial: none is in the formula, and a sentence or a bracket ends."""
    if source.count("!") != len(source) - len(source.rstrip("!")):
        return False
    return bool(_SENTENCE_ENDS.match(after)) or (after[:1] == ")" and "=" in source)
