"""What a model warns of while it speaks: kept with the speech, since nobody reads the terminal of a long job."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_QUOTED = re.compile(r"(['\"])(.+)\1")


@contextmanager
def collected() -> Iterator[list[str]]:
    """Texts of the warnings to users (`UserWarning`) of the block, there when it is over; other kinds go their way.

    Where the block fails all go their way: there is no speech to keep them with.
    """
    told: list[str] = []
    raised: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always", UserWarning)
            yield told
        told += dict.fromkeys(str(each.message) for each in raised if issubclass(each.category, UserWarning))
    finally:
        for each in raised:
            if str(each.message) not in told:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def by_text(told: Sequence[str], texts: Sequence[str]) -> list[list[str]]:
    """Each text's share of what was warned of while all were said: a warning is of the text whose words it quotes.

    One that quotes none, or words of several, goes to each that it may be of, and says so.
    """
    if len(texts) == 1:
        return [list(told)]
    shares: list[list[str]] = [[] for _ in texts]
    for warning in told:
        quoted = _QUOTED.search(warning)
        meant = [n for n, text in enumerate(texts) if quoted and quoted[2] in " ".join(text.split())]
        if len(meant) == 1:
            shares[meant[0]].append(warning)
            continue
        meant = meant or list(range(len(texts)))
        for place in meant:
            shares[place].append(f"{warning} (of this segment, or of one of {len(meant) - 1} that were said with it)")
    return shares
