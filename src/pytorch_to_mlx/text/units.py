"""Quantities and bare units of English text, in words; as they stand where they may be something else."""

from __future__ import annotations

import re

from pytorch_to_mlx.text.equations import PARTS, plain, raised

KEPT = "\ue001"
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

_SQUARED_BEFORE = ("meter", "foot", "mile", "inch", "pixel")
_BARE = frozenset(["m/s"])
"""Units without a number that are told by neither a power nor a symbol of two letters."""

NUMBER = r"\d{1,40}+(?:[.,]\d{1,20}+){0,12}+"
_POWER = r"(?:\^\{?[-−+]?\d{1,9}\}?|[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,9}+)?"
_SYMBOL = "|".join(sorted(map(re.escape, NAMES), key=len, reverse=True))
_BELOW_ONE = r"(?:\^\{?[-−]\d{1,2}\}?|⁻[¹²³⁴⁵⁶⁷⁸⁹])"
_JOINED = rf"(?:\s?[/·⋅]\s?(?:{_SYMBOL}){_POWER}|[ \u00a0](?:{_SYMBOL}){_BELOW_ONE})"
_BELOW = re.compile(
    rf"(?P<above>{NUMBER}[\s\u202f]?(?:{_SYMBOL}){_POWER})/"
    rf"(?:\((?P<first>{_SYMBOL})(?P<power>{_POWER})[ ·⋅](?P<second>{_SYMBOL})\)|"
    rf"(?P<plain>{_SYMBOL})(?P<raised>{_POWER})(?<![A-Za-z])(?P<temperature>K))(?!\w)"
)
"""Two units below one line: W/(m·K), W/m²K."""
_QUANTITY = re.compile(
    rf"(?<![\w.$£€¥{KEPT}])(?<!\d,)(?P<number>[-−]?(?:{NUMBER}{_POWER}|\d{{0,9}}+[{PARTS}]))(?P<space>[\s\u202f]?)"
    rf"(?P<unit>{_SYMBOL})(?P<power>{_POWER})(?P<rest>{_JOINED}{{0,4}}+)"
    rf"(?![\w°/{KEPT}]|\.\w|['’]\w)(?P<stop>\.(?=\s[a-z]))?"
)
_ALONE_UNIT = re.compile(
    rf"(?<![\w./·⋅^$£€¥°{KEPT}-])(?<!\d[ \u00a0\u202f])(?P<unit>{_SYMBOL})(?P<power>{_POWER})"
    rf"(?P<rest>(?:[/·⋅](?:{_SYMBOL}){_POWER}){{1,4}}+)(?![\w°/{KEPT}(=^+*-]|\.\w|['’]\w|\s?[=+*])"
)
_PART = re.compile(rf"(?:(?P<joint>[/·⋅])\s?|[ \u00a0])(?P<unit>{_SYMBOL})(?P<power>{_POWER})")
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


def spoken_units(text: str) -> str:
    """Text with its units in words; numbers stay."""
    text = _BELOW.sub(_below, text)
    return _ALONE_UNIT.sub(_alone, _QUANTITY.sub(_quantity, text))


def _below(found: re.Match[str]) -> str:
    first, power = found["first"] or found["plain"], found["power"] or found["raised"] or ""
    return f"{found['above']}/{first}{power}/{found['second'] or found['temperature']}"


def _quantity(found: re.Match[str]) -> str:
    """A number with its unit; as it stands where the unit may be something else."""
    number, unit, rest = found["number"], found["unit"], _PART.findall(found["rest"])
    if not (rest or found["power"]):
        if unit in _DOUBTFUL or (not found["space"] and len(unit) == 1 and unit not in _CLOSE):
            return found[0]
        around = found.string[max(0, found.start() - 40) : found.start()], found.string[found.end() : found.end() + 20]
        if not _is_unit(number, unit, bool(found["space"]), *around):
            return found[0]
    elif rest and all(len(each) == 1 and each.isupper() for each in (unit, *(symbol for _, symbol, _ in rest))):
        return found[0]  # A/B, N/A, T/F
    several = number.strip(PARTS) not in ("", "1", "-1", "−1") or (number[-1] in PARTS and len(number) > 1)
    stop = "" if unit in ("ft", "lb", "mi", "min") and not rest else found["stop"] or ""
    return f"{_with_point(number)} {_joined([('', unit, found['power']), *rest], several)}{stop}"


def _with_point(number: str) -> str:
    """`1,5`, which can be no thousands, as `1.5`."""
    return re.sub(r"^([-−]?\d+),(\d{1,2}|\d{4,})$|^([-−]?0),(\d+)$", _decimal, number)


def _decimal(found: re.Match[str]) -> str:
    return ".".join(filter(None, found.groups()))


def _alone(found: re.Match[str]) -> str:
    """Units without a number, if they are surely such."""
    rest = _PART.findall(found["rest"])
    symbols = [found["unit"], *(symbol for _, symbol, _ in rest)]
    powers = found["power"] or any(power for *_, power in rest)
    sure = powers or found[0] in _BARE or any(len(symbol) > 1 for symbol in symbols)
    factors = all(len(symbol) == 1 for symbol in symbols)
    if factors and re.search(r"[=+<>≤≥≈×−-] $", found.string[max(0, found.start() - 2) : found.start()]):
        return found[0]
    if not powers and all(symbol in ("s", "min", "h", "d") for symbol in symbols):
        return found[0]
    kinds = [NAMES[symbol][-4:] for symbol in symbols]
    if not sure or (len(set(kinds)) < len(kinds) and not powers) or all(map(str.isupper, symbols)):
        return found[0]  # MB/GB are alternatives
    return _joined([("", found["unit"], found["power"]), *rest], True)


def _joined(parts: list[tuple[str, str, str]], several: bool) -> str:
    """Units that are multiplied and divided: of what is multiplied, the last is in the plural."""
    parts = [
        ("/", unit, _positive(power)) if _is_negative(power) else (joint, unit, power) for joint, unit, power in parts
    ]
    above = next((at for at, (joint, *_) in enumerate(parts) if joint == "/"), len(parts))
    words = [
        f"{'per ' if joint == '/' else ''}{_unit(symbol, power, several and at == above - 1)}"
        for at, (joint, symbol, power) in enumerate(parts)
    ]
    return " ".join(words)


def _is_negative(power: str) -> bool:
    return plain(power).lstrip("^{").startswith("-")


def _positive(power: str) -> str:
    exponent = plain(power).strip("^{-}")
    return "" if exponent == "1" else exponent


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
    exponent = plain(power).strip("^{}")
    if not exponent:
        return word
    if exponent in ("2", "3") and NAMES[symbol].endswith(_SQUARED_BEFORE):
        return f"{'square' if exponent == '2' else 'cubic'} {word}"
    return f"{word} {raised(exponent)}"
