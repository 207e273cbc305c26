"""Long text cut into pieces that a speech model says in one pass, where a speaker would pause.

Written here because no maintained library without heavy dependencies covers these languages and falls back to clauses
and words where a sentence is too long.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

LIMIT = 280
"""Letters of one piece: 15 to 20 s of speech. A pass of T3 ends at 40 s, and long ones lose their way before that."""

PARAGRAPH, SENTENCE, CLAUSE, WORD = 0.6, 0.3, 0.15, 0.0
"""Seconds of silence after a piece, by what ends there."""

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*|\u2029")
_CLOSING = "\"'”’»›)\\]】」』）〉》"
# A mark that ends a sentence, what closes after it, and the space that follows; Chinese and Japanese leave none.
_SENTENCE_END = re.compile(rf"(?:[.!?…؟۔।॥]+(?:[{_CLOSING}]|\s»)*(?=\s)|[。！？｡]+[{_CLOSING}]*)\s*")
_GREEK_QUESTION = re.compile(rf"[;\u037e]+[{_CLOSING}]*\s+")
_CLAUSE_END = re.compile(rf"(?:[,;:،؛]+[{_CLOSING}]*(?=\s)|[，、；：—–]+|\s[-–](?=\s))\s*")
# Between words, where a tag in brackets counts as one; between any two letters of a script without spaces.
_ACRONYM = re.compile(r"(?:\w\.)+\w")
_WORD = re.compile(r"(?:\[[^\[\]]{1,30}\]|\S)+\s*")

_TITLES = (
    "dr prof st mt mr mrs ms jr sr vs etc no vol fig e.g i.e al inc ltd co gen col sgt capt lt rev hon approx dept est"
)
_ABBREVIATIONS = {
    "en": _TITLES,
    "de": "dr prof hr fr st nr bzw ca usw z.b d.h u.a o.ä vgl evtl ggf inkl abs art bd jh mio mrd str tel",
    "fr": "dr m mm mme mlle me st ste etc cf p.ex av bd env no vol art chap fig",
    "es": "dr dra sr sra srta d dña ud uds etc pág núm art cap fig aprox av",
    "pt": "dr dra sr sra srta d dª prof profa etc pág núm art cap fig aprox av",
    "it": "dr dott sig sigg sig.ra prof ing avv ecc pag art cap fig es",
    "nl": "dr dhr mevr mw mr ir ing prof bijv d.w.z enz nr blz ca o.a t.a.v st",
    "pl": "dr prof inż mgr ul al np tzn tzw itd itp r w nr str godz zob",
    "ru": "г гг ул д кв стр рис см т.е т.д т.п т.к др проф акад им руб тыс млн млрд",
    "sv": "dr prof hr fr t.ex bl.a m.m d.v.s nr kl ca st",
    "da": "dr prof hr fr f.eks bl.a m.m d.v.s nr kl ca st",
    "no": "dr prof hr fr f.eks bl.a m.m d.v.s nr kl ca st",
    "fi": "tri prof esim mm ym jne ks nro klo n s",
    "tr": "dr prof doç av sn vb vs no cad sok apt tel yy",
    "el": "κ κα κος δρ καθ π.χ κ.λπ κ.ά αρ σελ",
}
# A number with a full stop is a place in an order.
_ORDINAL = frozenset({"de", "da", "no", "fi", "pl", "tr"})


@dataclass(frozen=True)
class Segment:
    """A piece of a text.

    Attributes:
        text: what to say in one pass, spaces made single.
        pause: seconds of silence after it.
    """

    text: str
    pause: float


def spoken_length(text: str) -> int:
    """How long a text takes to say, in letters: a character of Chinese, Japanese or Korean is said as long as three."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + 2 * wide


def split_text(text: str, *, language: str | None = None, limit: int = LIMIT) -> list[Segment]:
    """Cut a text at the ends of paragraphs and sentences, of clauses where a sentence is too long, else between words.

    Pieces of one paragraph are of about equal length. Nothing is lost: joined, they are the text but for its spaces and
    for paragraphs without a letter.

    Args:
        text: of any length; blank lines part paragraphs.
        language: code of the language, whose abbreviations are known; English if not given.
        limit: the greatest `spoken_length` of a piece.

    Returns:
        The pieces in order; none if there is nothing to say.
    """
    cutter = _Cutter((language or "en").lower(), limit)
    segments: list[Segment] = []
    for paragraph in _BLANK_LINE.split(text):
        if not any(c.isalnum() for c in paragraph):
            continue  # a row of asterisks
        pieces = [Segment(piece.strip(), pause) for piece, pause in cutter.pieces(" ".join(paragraph.split()))]
        segments += [*pieces[:-1], *(Segment(last.text, PARAGRAPH) for last in pieces[-1:])]
    return segments


def split_sentences(text: str, *, language: str | None = None) -> list[str]:
    """The sentences of a paragraph, each with the spaces behind it; the language is that of `split_text`."""
    return _Cutter((language or "en").lower(), LIMIT).sentences(text)


@dataclass(frozen=True)
class _Cutter:
    language: str
    limit: int

    def pieces(self, text: str) -> Iterator[tuple[str, float]]:
        """Pieces of one paragraph, each with the pause after it."""
        levels = [(self.sentences, SENTENCE), (self._clauses, CLAUSE), (_words, WORD), (self._letters, WORD)]
        return self._packed(text, levels)

    def _packed(self, text: str, levels: list[tuple[Callable[[str], list[str]], float]]) -> Iterator[tuple[str, float]]:
        """The parts of a text put together up to the limit; one that is itself too long is cut finer."""
        if not text.strip():
            return
        (cut, pause), *finer = levels
        whole = spoken_length(text)
        even = whole / -(-whole // self.limit)
        held, length = "", 0
        for part in cut(text):
            added = spoken_length(part.rstrip())
            if held and (length + added > self.limit or length >= even):
                yield held, pause
                held, length = "", 0
            if added > self.limit and finer:
                *first, (part, _) = self._packed(part, finer)
                yield from first
            held += part
            length += spoken_length(part)
        if held.strip():
            yield held, pause

    def sentences(self, text: str) -> list[str]:
        ends = [match.end() for match in _SENTENCE_END.finditer(text) if self._ends(text, match)]
        if self.language == "el":
            ends = sorted({*ends, *(match.end() for match in _GREEK_QUESTION.finditer(text))})
        return _cut_at(text, ends)

    def _ends(self, text: str, match: re.Match[str]) -> bool:
        """Whether a mark ends a sentence here: no abbreviation, initial or ordinal, and nothing small follows."""
        after = text[match.end() :].lstrip(_CLOSING + " “‘«„([¿¡")[:1]
        if after.islower():
            return False
        if not match.group().startswith(".") or match.group().startswith(".."):
            return True
        word = re.split(r"[\s(\[\"'“‘«„]", text[max(0, match.start() - 20) : match.start()])[-1]
        if _ACRONYM.fullmatch(word):
            return False
        if len(word) == 1 and word.isalpha() and word.isupper() and (word != "I" or self.language != "en"):
            return False
        if word.lower() in _ABBREVIATIONS.get(self.language, "").split():
            return word.lower() == "no" and not after.isdigit()
        return not (self.language in _ORDINAL and word.isdigit() and len(word) <= 2)

    def _clauses(self, text: str) -> list[str]:
        return _cut_at(text, [match.end() for match in _CLAUSE_END.finditer(text)])

    def _letters(self, text: str) -> list[str]:
        """A word too long for a piece: letters with what combines with them."""
        return _cut_at(text, [i for i in range(1, len(text)) if not (unicodedata.combining(text[i]) or text[i] == " ")])


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _cut_at(text: str, ends: list[int]) -> list[str]:
    bounds = [0, *ends, len(text)]
    return [text[a:b] for a, b in pairwise(bounds) if b > a]
