"""Record tests/goldens/text.json from upstream's tokenizers: `python tests/record_text_goldens.py`.

It runs itself by path in the environment of Chatterbox's reference. There, no package marks Russian stress or sets
Chinese words apart, and the one for Hebrew fails, as it does for every user of upstream.
"""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from text_files import LANGUAGES, write_english, write_gpt2, write_multilingual

GOLDEN = Path(__file__).parent / "goldens" / "text.json"
ENGLISH = [
    "Hello there, the world is ending!",
    '  well ... "this" is — “quoted”; isn’t it?  ',
    "the thing: 1 - 2…",
    "Ünknown ñ 5",
    "No end mark",
    "-",
]
TURBO = [
    *ENGLISH,
    "[laugh] That is [sigh] odd [clear throat].",
    "tail[laugh]",
    "new\nline\tand emoji 🙂",
    "<|endoftext|>x",
]
MULTILINGUAL = [
    ("en", "Hello There, the World!"),
    ("fr", "Ça déjà vu — n’est-ce pas ?"),
    ("ko", "안녕하세요 world"),
    ("ja", "こんにちは、日本の花は橋へ。カタカナ"),
    ("ja", "かな"),
    ("zh", "你好，世界人日曰。"),
    ("ru", "Привет, мир"),
    ("he", "שלום עולם"),
    ("ar", "مرحبا"),
    ("hi", "नमस्ते।"),
    ("el", "Γειά σου;"),
    ("de", "Über Straßen?"),
    *((language, "ok and the rest") for language in LANGUAGES),
]


def record() -> dict[str, list]:
    """Normalised texts and ids, by variant."""
    import chatterbox.models.tokenizers.tokenizer as upstream  # pyright: ignore[reportMissingImports]
    from chatterbox import mtl_tts, tts, tts_turbo  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
    from transformers import AutoTokenizer

    found: dict[str, list] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        upstream.hf_hub_download = lambda repo_id, filename, **_: str(folder / filename)
        tokenizer = upstream.EnTokenizer(str(write_english(folder)))
        texts = [tts.punc_norm(text) for text in ENGLISH]
        found["english"] = [[a, b, tokenizer.encode(b)] for a, b in zip(ENGLISH, texts, strict=True)]
        tokenizer = upstream.MTLTokenizer(str(write_multilingual(folder)))
        texts = [mtl_tts.punc_norm(text) for _, text in MULTILINGUAL]
        pairs = zip(MULTILINGUAL, texts, strict=True)
        found["multilingual"] = [[a, b, tokenizer.encode(b, language_id=code), code] for (code, a), b in pairs]
    for form in ("legacy", "config", "start"):
        with tempfile.TemporaryDirectory() as name:
            write_gpt2(Path(name), form)
            tokenizer = AutoTokenizer.from_pretrained(name)
            texts = [tts_turbo.punc_norm(text) for text in TURBO]
            found[f"gpt2-{form}"] = [[a, b, tokenizer(b)["input_ids"]] for a, b in zip(TURBO, texts, strict=True)]
    return found


def main() -> None:
    """In this interpreter with `--here`, else in the environment's."""
    if "--here" in sys.argv:
        with contextlib.redirect_stdout(io.StringIO()):  # perth greets
            found = record()
        lines = [
            f' "{k}": [\n' + ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows) + "\n ]"
            for k, rows in found.items()
        ]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        return
    from pytorch_to_mlx import environments

    environment = environments.get("synthesis")
    environments.install(environment)
    subprocess.run([environment.interpreter, __file__, "--here"], check=True)


if __name__ == "__main__":
    main()
