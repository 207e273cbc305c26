"""text/normalisation: technical text in words, and prose left alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pytorch_to_mlx.errors import MissingDependencyError
from pytorch_to_mlx.text import normalisation
from pytorch_to_mlx.text.normalisation import normalise

MANIFEST = Path(__file__).parents[2] / "shared" / "audio" / "manifest.json"

SAID = {
    # numbers
    "3.14159 of 1,234,567": "three point one four one five nine of one million two hundred thirty four thousand five "
    "hundred and sixty seven",
    "1/2 cup and 2/3": "one half cup and two thirds",
    "the 21st century, 50%": "the twenty first century, fifty percent",
    "the 1990s and the '80s": "the nineteen nineties and the eighties",
    "v1.2.3 and v2.0": "version one point two point three and version two point zero",
    "open 24/7": "open twenty four seven",
    "at 3:30pm": "at three thirty PM",
    # units
    "12 km/h, i.e. 3.4 m/s": "twelve kilometers per hour, i.e. three point four meters per second",
    "1 m wide, 2 ft high": "one meter wide, two feet high",
    "25°C or 30°": "twenty five degrees Celsius or thirty degrees",
    "9.81 m/s²": "nine point eight one meters per square second",
    "10 m², 4 km^2": "ten square meters, four square kilometers",
    "10 µm, 100 mV, 5.2 MHz, 230V": "ten micrometers, one hundred millivolts, five point two megahertz, two hundred "
    "and thirty volts",
    "5 kWh at 45 mph, 10 Mbps": "five kilowatt hours at forty five miles per hour, ten megabits per second",
    "4K video over 5G": "four K video over five G",
    # formulae
    "E = mc²": "E equals m c squared",
    "x² + y³ ≤ 10": "x squared plus y cubed is at most ten",
    "3x + 2 = 7": "three x plus two equals seven",
    "f(x) = x^2 - 2x + 1.": "f of x equals x squared minus two x plus one.",
    "sin(x)/x → 1": "sine of x over x to one",
    "α + β = 1/3": "alpha plus beta equals one third",
    "3×10^8 m/s": "three times ten to the power of eight meters per second",
    "3.5e8": "three point five times ten to the power of eight",
    "the angle θ, the area πr²": "the angle theta, the area pi r squared",
    "x_1 ∈ A ∪ B": "x sub one in A union B",
    "H₂O and CO₂": "H two O and C O two",
    r"$\frac{a+b}{2} \geq \sqrt{ab}$ for $5": "a plus b over two is at least the square root of a b for five dollars",
    # what is none
    "C++, A/B tests, and/or": "C++, A/B tests, and/or",
    "born in 1984 - a good year": "born in nineteen eighty four - a good year",
    'He said "no". Don\'t! [laugh]': 'He said "no". Don\'t! [laugh]',
    "Ωμέγα is Greek": "Ωμέγα is Greek",
}


@pytest.mark.parametrize("text", SAID)
def test_english(text: str) -> None:
    assert normalise(text, "en") == SAID[text]


def test_other_languages() -> None:
    assert normalise("温度25°C，占50%") == "温度二十五摄氏度，占百分之五十"
    assert normalise("気温は50%です") == "気温は五十パーセントです"
    assert normalise("Es kostet 5 Euro", "de") == "Es kostet 5 Euro"
    assert normalise("Ça coûte 5 euros") == "Ça coûte 5 euros", "no letters of English: left as it is"
    assert normalise("It is 5", "English") == normalise("It is 5", "en-GB") == normalise("It is 5") == "It is five"


def test_prose_is_left_alone() -> None:
    if not MANIFEST.is_file():
        pytest.skip("no shared recordings here")
    texts = [each["text"] for each in json.loads(MANIFEST.read_text(encoding="utf-8"))]
    assert len(texts) >= 5
    for text in texts:
        assert normalise(text, "en") == " ".join(text.split())


@pytest.mark.parametrize("text", ["a " * 5000 + "1", "(" * 3000, "x^" * 2000, "1+" * 3000, "$" * 999, "_{" * 1000])
def test_long_nonsense_takes_no_time(text: str) -> None:
    normalise(text, "en")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wetext", None)
    normalisation._normaliser.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pytorch-to-mlx\[narrate\].*--no-normalize"):
        normalise("5 kg", "en")
    normalisation._normaliser.cache_clear()
