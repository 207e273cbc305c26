"""Which words of a stream are certain, and where its sound can be cut.

LocalAgreement-2 of Macháček, Dabre and Bojar, "Turning Whisper into a Real-Time Transcription System"
(arXiv:2307.14743): the latest sound is transcribed again and again, and words on which two hypotheses in a row agree
are confirmed. Nothing here knows of sound or of a model: words with times come in, confirmed words go out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytorch_to_mlx.tasks import Word

TRIM = 15.0
"""Seconds of sound from which on it is cut where a confirmed sentence or phrase ends."""
LONGEST = 30.0
"""Seconds that are never gone beyond; Whisper hears as many at once."""
MARGIN = 0.2
"""Seconds after a word, at most, that are cut away with it: where words end is known about as well."""
QUICKEST = 0.2
"""Seconds: nobody says words in less; what sounds like one is the end of the word before."""
PROMPT = 200
"""Letters of what was said that a recogniser is told, about as many as a sentence or two have."""
SENTENCE_ENDS = (*".!?…。！？",)
CLOSING = "\"'”’»)]」』"


@dataclass(frozen=True)
class Said:
    """A word of a hypothesis.

    Attributes:
        closes: whether a sentence or a phrase ends with it.
    """

    word: Word
    closes: bool = False


class LocalAgreement:
    """Hypotheses in, confirmed words out.

    Attributes:
        start: seconds at which the sound begins that the next hypothesis is about.
        said: the last words that were confirmed before `start`: what a recogniser is told.
    """

    def __init__(self, step: float) -> None:
        """Of sound that grows by `step` seconds, or more, from hypothesis to hypothesis."""
        self.start, self.said = 0.0, ""
        self._step = step
        self._end = 0.0  # of the last confirmed word
        self._recent: list[Word] = []  # confirmed, since `start`
        self._last: list[Word] = []  # confirmed, whenever: as many as may be heard twice
        self._rest: list[Said] = []  # of the last hypothesis: not confirmed
        self._closed: float | None = None  # since `start`: where the last sentence or phrase ended

    def hear(self, phrases: Sequence[Sequence[Word]], heard: float) -> list[Said]:
        """What a hypothesis confirms; `start` and `said` go on where sound is not needed any more.

        Args:
            phrases: words by phrase, with times of the whole stream, of the sound from `start` on.
            heard: seconds at which that sound ends.
        """
        words = self._unconfirmed(_marked(phrases))
        agreed = 0
        for old, new in zip(self._rest, words, strict=False):
            if old.word.word.strip() != new.word.word.strip():
                break
            agreed += 1
        self._rest = words[agreed:]
        confirmed = self._confirm(words[:agreed], heard)
        if heard - self.start > TRIM and self._closed is not None:
            self._cut(self._closed + self._margin(self._closed, heard))
        if heard - self.start > LONGEST - self._step:
            confirmed += self._make_room(heard)
        return confirmed

    def finish(self, heard: float) -> list[Said]:
        """What the last hypothesis says beyond what is confirmed: at the end of the stream nothing will confirm it."""
        rest, self._rest = self._rest, []
        return self._confirm(rest, heard)

    def _unconfirmed(self, hypothesis: list[Said]) -> list[Said]:
        """A hypothesis without what it repeats of the confirmed words."""
        words = [said.word for said in hypothesis]
        new = hypothesis[_repeated(self._recent, words, self.start, self._end) :]
        if self._recent:
            return new
        for count in range(min(len(self._last), len(new)), 0, -1):  # the end of a word may be heard again after a cut
            again = [said.word for said in new[:count]]
            too_quick = again[-1].end - self._end < count * QUICKEST
            if too_quick and [*map(_bare, again)] == [*map(_bare, self._last[-count:])]:
                return new[count:]
        return new

    def _confirm(self, words: Sequence[Said], heard: float) -> list[Said]:
        """Words, with times that neither go back nor lie ahead."""
        confirmed = []
        for said in words:
            start = min(max(said.word.start, self._end), heard)
            self._end = min(max(said.word.end, start), heard)
            confirmed.append(replace(said, word=replace(said.word, start=start, end=self._end)))
            if said.closes:
                self._closed = self._end
        found = [said.word for said in confirmed]
        self._recent += found
        self._last = (self._last + found)[-5:]
        return confirmed

    def _make_room(self, heard: float) -> list[Said]:
        """Cut half of the sound off, where need be with words in it that nothing confirmed."""
        middle = heard - LONGEST / 2
        forced = 0
        if self._end < middle:
            while forced < len(self._rest) and self._rest[forced].word.start < middle:
                forced += 1
        taken, self._rest = self._rest[:forced], self._rest[forced:]
        confirmed = self._confirm(taken, heard)
        self._cut(middle if self._end <= middle else self._end + self._margin(self._end, heard))
        return confirmed

    def _margin(self, end: float, heard: float) -> float:
        """Seconds after a confirmed word that hold nothing of the next."""
        following = [*self._recent, *(said.word for said in self._rest)]
        next_start = min((word.start for word in following if word.end > end), default=end)
        return min(MARGIN, max(0.0, min(next_start, heard) - end) / 2)

    def _cut(self, time: float) -> None:
        gone = "".join(word.word for word in self._recent if word.end <= time)
        self._recent = [word for word in self._recent if word.end > time]
        self.start, self.said, self._closed = max(self.start, time), _tail(self.said + gone), None


def _marked(phrases: Sequence[Sequence[Word]]) -> list[Said]:
    """Words in a row; the end of the last phrase may be nothing but the end of the sound."""
    spoken = [phrase for phrase in phrases if phrase]
    return [
        Said(word, _ends_sentence(word) or (place == len(phrase) - 1 and number < len(spoken) - 1))
        for number, phrase in enumerate(spoken)
        for place, word in enumerate(phrase)
    ]


def _ends_sentence(word: Word) -> bool:
    return word.word.strip().rstrip(CLOSING).endswith(SENTENCE_ENDS)


def _repeated(confirmed: Sequence[Word], words: Sequence[Word], start: float, end: float) -> int:
    """How many words of a hypothesis are the confirmed ones again.

    So many that the fewest words differ (Levenshtein's distance), since times are not exact; of equals, those that
    end closest to the confirmed ones' end.
    """
    old, new = [_bare(word) for word in confirmed], [_bare(word) for word in words]
    distances = [*range(len(new) + 1)]
    for row, wanted in enumerate(old, 1):
        above, distances = distances, [row]
        for column, found in enumerate(new):
            changed = above[column] + (wanted != found)
            distances.append(min(changed, above[column + 1] + 1, distances[column] + 1))
    ends = [words[0].start if words else start, *(word.end for word in words)]  # the first: none is repeated
    return min(range(len(ends)), key=lambda count: (distances[count], abs(ends[count] - end)))


def _bare(word: Word) -> str:
    """Letters and digits, small; hypotheses differ in marks and capitals."""
    text = word.word.strip()
    return "".join(letter for letter in text if letter.isalnum()).casefold() or text


def _tail(text: str) -> str:
    """The last words, as many as a prompt holds."""
    if len(text) <= PROMPT:
        return text
    cut, space, words = text[-PROMPT:].partition(" ")
    return words if space else cut
