"""What is written down of Whisper beside openai-whisper, without checkpoints: alignment heads, English vocabularies."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from pytorch_to_mlx import environments, registry
from pytorch_to_mlx.hub import resolve
from pytorch_to_mlx.models.whisper.config import PUBLISHED
from pytorch_to_mlx.models.whisper.vocabulary import Vocabulary

pytestmark = pytest.mark.parity

SIZES = {
    name: (sizes.n_text_layer, sizes.n_text_head) for name, sizes in PUBLISHED.items() if not name.startswith("distil-")
}
TEXT = " Don't stop: naïve café, 東京タワー 🙂 (really) -- it's 42."
HEADS = """
import json, sys, whisper
from whisper.model import ModelDimensions, Whisper
found = {}
for name, (layers, heads) in json.loads(sys.argv[1]).items():
    model = Whisper(ModelDimensions(1, 1, 4, 1, 1, 1, 1, heads, heads, layers))  # a channel for each head
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])
    found[name] = model.alignment_heads.to_dense().nonzero().tolist()
print(json.dumps([found, sorted(whisper._ALIGNMENT_HEADS)]))
"""
TOKENIZER = """
import json, sys
from whisper.tokenizer import get_tokenizer
t = get_tokenizer(False)
tokens = t.encode(sys.argv[1])
special = [t.eot, t.sot, t.translate, t.transcribe, t.sot_lm, t.sot_prev, t.no_speech, t.no_timestamps]
lists = [list(t.sot_sequence), list(t.non_speech_tokens), t.encode(" ") + [t.eot]]
print(json.dumps([tokens, [*special, t.timestamp_begin], lists, t.split_to_word_tokens(tokens)]))
"""


def asked(script: str, argument: str) -> Any:
    """What a script in upstream's environment prints."""
    environment = environments.of_script(registry.get("whisper").reference.script)
    environments.install(environment)
    done = subprocess.run(
        [str(environment.interpreter), "-c", script, argument],
        env=environments.environment_of_children(),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_alignment_heads_are_upstreams() -> None:
    found, names = asked(HEADS, json.dumps(SIZES))
    assert {name: {*map(tuple, pairs)} for name, pairs in found.items()} == {
        name: {*PUBLISHED[name].alignment_heads} for name in SIZES
    }
    assert {*names} == {*SIZES, "large", "turbo"}, "two are other names of large-v3 and large-v3-turbo"


def test_the_vocabulary_of_english_models_is_upstreams() -> None:
    tokens, special, (start, silent, blank), (words, parts) = asked(TOKENIZER, TEXT)
    package = resolve("package:openai-whisper", search_paths=environments.search_paths())
    ours = Vocabulary(package.path / "assets" / "gpt2.tiktoken", PUBLISHED["tiny.en"])
    assert ours.encode(TEXT) == tokens and ours.decode(tokens) == TEXT
    told = [ours.eot, ours.sot, ours.translate, ours.transcribe, ours.sot_lm, ours.sot_prev]
    assert [*told, ours.no_speech, ours.no_timestamps, ours.timestamp_begin] == special
    assert ours.start("en", "transcribe") == start == [ours.sot]
    assert ours.not_speech == silent and ours.blank == blank
    assert ours.words(tokens, "en") == list(zip(words, parts, strict=True))
