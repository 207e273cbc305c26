"""Numbers of English text that wetext reads badly: decades, versions, sections, sums of money, telephone numbers."""

from __future__ import annotations

import re

from pytorch_to_mlx.text.equations import COUNTED

_DECADE = re.compile(r"(?<![\w.,$£€¥])(?:(\d[1-9]|[1-9]0(?=[1-9]))(\d)0s|['’]([1-9])0s)\b")
_MANY = re.compile(r"(?<![\w.,$£€¥])1(0|00|,?000)s(?= of\b)")
_TENS = (
    "hundreds",
    "tens",
    "twenties",
    "thirties",
    "forties",
    "fifties",
    "sixties",
    "seventies",
    "eighties",
    "nineties",
)
_VERSION = re.compile(r"(?<![\w.])(?<!\w-)(?:((?i:versions?)\s)v?|v)(\d{1,9}(?:\.\d{1,9}+){1,9}+)(?!\.?\w)")
_ALL_DAY = re.compile(r"(?<![\w/.])24/7(?![\w/])")
_SECTION = re.compile(
    r"(?<![\w.,$£€¥])(?<![A-Za-z]-)(?!\d{1,2}\.\d{1,2}\.\d{4}(?!\d))(?!(?:0[1-9]|[12]\d|3[01])\.(?:0[1-9]|1[0-2])\.\d\d(?!\d))"
    r"(\d{1,6}(?:\.\d{1,6}+){2,9}+)(?!\.?\w)"
)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}")
_ORDINALS = re.compile(r"(?<![\w/])\d{1,6}(?:st|nd|rd|th)(?:/\d{1,6}(?:st|nd|rd|th)){1,4}+(?![\w/])")
_MONEY = re.compile(
    r"(?<![\w$£€])(?:US)?([$£€])(\d{0,15}|\d{1,3}(?:,\d{3}){1,5})[.,](\d\d)(?![\w.,]{0,20}\d)(?!\w)"
    r"(?!\s?(?i:thousand|million|billion|trillion|bn|[kmb]\b))"
)
_CENTS = re.compile(r"(?<![\w.,])(\d{1,9}+(?:\.\d{1,9}+)?) ?¢")
_SHARES = re.compile(r"(?<![\w/.,$£€])([1-9]0|25|75)/([1-9]0|25|75)(?![\w/%]|[.,]\d)")
"""Two parts of a hundred, such as 50/50, are no fraction."""
_ALMOST = r"(?i:(about|around|some|roughly|approximately|nearly) )"
_ABOUT = re.compile(rf"(?<![^\s(\"'“‘«]){_ALMOST}?~(?=[$£€]?\d)")
_PROSE = "of|is|was|are|were|be|weighs?|weighed|costs?|takes?|took|than|to|by|in|at|for|with|only|just"
_ABOUT_APART = re.compile(rf"(?:{_ALMOST}|(?i:\b({_PROSE}) )|^)[~≈∼] ?(?=[$£€]?\d)")
"""Where a sign stands by itself it may be of a formula, unless such a word is before it."""
_PRICES = re.compile(r"(?<=\d)[-–](?=[$£€]\d)")
_PRICE_RANGE = re.compile(r"([$£€])(\d{1,9}\.\d\d)[-–](?=\d{1,9}\.\d\d(?![\w.,-]))")
_COINS = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_TELEPHONE = re.compile(
    r"(?<![\w.,/$£€¥(-])(?:(?:\+?\d{1,3}[ -])?(?:\(\d{3}\) ?|\d{3}[-. ](?=\d{3}[-.]))(?P<group>\d{3})[-.]\d{4}|"
    r"(?P<short>\d{3})-\d{4})(?![\w%°/$£€-]|[.,]\d)"
)
_CALL = re.compile(
    r"(?i:\b(?:call(?:s|ed|ing)?|(?:tele)?phone|tel|dial(?:s|ed|ing)?|ring|fax|number)[.:]?"
    r"(?:\s(?:me|us|him|her|them|at|on|is|was)){0,2}[:]?\s)$"
)
"""What a telephone number of seven digits follows; else it is a range."""
_DECIMAL_COMMA = re.compile(r"(?<![\w.,$£€¥])(?:(0),(\d{1,9})|(\d{1,9}),(\d{1,2}))(?=\s?%|\s(?:m|b|tr)illion\b)(?!\d)")
_LIST = re.compile(r"(?<![\w.,$£€¥])(?!\d{1,3}(?:,\d{3})+(?!,?\d))\d{1,9}(?:,\d{1,9}+){1,9}+(?![\w,]|\.\d)")
_RANGE = re.compile(
    r"(?<=\d,\d{3})[-–](?=\d{1,3}(?:(?:,\d{3}){1,4}|\d?)(?!\w|[,-]\d))|(?<=\d)[-–](?=\d{1,3},\d{3}(?!-?\d))"
)
_THOUSAND = re.compile(
    rf"(?<![\w.,$£€¥])([$£€]?)1,(\d{{3}})(\.\d{{1,20}}+)?(?![,.]?\w|\s?(?:thousand|[mb]illion|trillion)\b){COUNTED}?"
)
"""wetext says `thousand` without the one, and drops it."""


def spoken_figures(text: str) -> str:
    """Text with these in words, or as wetext reads them well; what must be said alone is followed by `COUNTED`."""
    text = _PRICES.sub(" to ", _PRICE_RANGE.sub(r"\1\2 to \1", text))
    text = _VERSION.sub(_version, _DECADE.sub(_decade, text))
    text = _MANY.sub(_many, _ALL_DAY.sub("24 7", text))
    text = _TELEPHONE.sub(_telephone, _MONEY.sub(_money, text))
    text = _SHARES.sub(_shares, _CENTS.sub(lambda found: f"{found[1]} {'cent' if found[1] == '1' else 'cents'}", text))
    text = _ABOUT_APART.sub(_about, _ABOUT.sub(_about, text))
    return _SECTION.sub(_section, _ORDINALS.sub(_ordinals, text))


def spoken_commas(text: str) -> str:
    """Commas within numbers, once units are said: of decimals, and of lists without blanks."""
    text = _THOUSAND.sub(_thousand, _RANGE.sub(" to ", _DECIMAL_COMMA.sub(_decimal, text)))
    return _LIST.sub(lambda found: found[0].replace(",", ", "), text)


def _decade(found: re.Match[str]) -> str:
    century, tens, short = found.groups()
    return f"{century} {_TENS[int(tens)]}" if century else _TENS[int(short)]


def _many(found: re.Match[str]) -> str:
    return {"0": "tens", "00": "hundreds"}.get(found[1], "thousands")


def _shares(found: re.Match[str]) -> str:
    return f"{found[1]}{COUNTED} {found[2]}" if int(found[1]) + int(found[2]) == 100 else found[0]


def _about(found: re.Match[str]) -> str:
    almost, *before = (each or "" for each in found.groups())
    return f"{almost} " if almost else " ".join([*filter(None, before), "about "])


def _version(found: re.Match[str]) -> str:
    return f"{found[1] or 'version '}{_points(found[2])}"


def _points(dotted: str) -> str:
    return " point ".join(dotted.split("."))


def _section(found: re.Match[str]) -> str:
    """Numbers with points between; four may be an address of the internet, which wetext reads."""
    if _THOUSANDS.fullmatch(found[0]):
        return found[0].replace(".", ",")
    return found[0] if found[0].count(".") == 3 else _points(found[0])


def _ordinals(found: re.Match[str]) -> str:
    return "/".join(f"{ordinal}{COUNTED}" for ordinal in found[0].split("/"))


def _money(found: re.Match[str]) -> str:
    sign, whole, part = found.groups()
    coin, small = _COINS[sign]
    amount = int(whole.replace(",", "") or 0)
    said = [_coins(amount, coin)] if amount or not int(part) else []
    if int(part):
        said.append(_coins(int(part), small))
    return " and ".join(said)


def _thousand(found: re.Match[str]) -> str:
    sign, rest, decimals = found[1], int(found[2]), found[3] or ""
    if decimals.strip(".0") and not rest:
        return found[0]
    words = f"1{COUNTED} thousand" + (f"{' and' if rest < 100 else ''} {rest}{decimals}{COUNTED}" if rest else "")
    return f"{words} {_COINS[sign][0]}s" if sign else words


def _coins(number: int, name: str) -> str:
    several = {"penny": "pence"}.get(name, f"{name}s")
    return f"{number:,} {name if number == 1 else several}"


def _telephone(found: re.Match[str]) -> str:
    """Digit by digit; seven digits may be a range."""
    if found["short"] not in (None, "555") and not _CALL.search(
        found.string[max(0, found.start() - 30) : found.start()]
    ):
        return found[0]
    return ", ".join(" ".join(f"{digit}{COUNTED}" for digit in group) for group in re.findall(r"\d+", found[0]))


def _decimal(found: re.Match[str]) -> str:
    return ".".join(filter(None, found.groups()))
