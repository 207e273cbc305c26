"""Files of transcripts beside openai-whisper's own writers, of results that nobody chose."""

from __future__ import annotations

import pytest
from record_transcript_goldens import upstream
from transcripts import OPTIONS, drawn, transcript

from pytorch_to_mlx.presentation.transcripts import FORMATS, Layout, render

pytestmark = pytest.mark.parity

COUNT = 3000


def test_files_are_upstreams() -> None:
    """Each with other options; the files of options one letter wider must differ now and then."""
    theirs, noticed = upstream(), 0
    for seed in range(1000, 1000 + COUNT):
        result, options = drawn(seed), OPTIONS[seed % len(OPTIONS)]
        for kind in FORMATS:
            assert render(transcript(result), kind, Layout(**options)) == theirs(result, kind, options), (seed, kind)
        if options["max_line_width"]:
            wider = options | {"max_line_width": options["max_line_width"] + 1}
            noticed += render(transcript(result), "srt", Layout(**wider)) != theirs(result, "srt", options)
    assert noticed > COUNT // 50
