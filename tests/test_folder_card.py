"""The card: front matter that the Hub understands, provenance, accounting, quantization, parity."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cli_room import run
from folders import CONFIG
from huggingface_hub import ModelCard
from small_kokoro import write_source
from small_narration import write_narrator
from small_qwen3_tts import write_model
from typer.main import get_command

from pytorch_to_mlx import Audio, convert
from pytorch_to_mlx.cli import app
from pytorch_to_mlx.folder import render_card, with_parity
from pytorch_to_mlx.folder.card import COMMANDS
from pytorch_to_mlx.models.chatterbox.port import PORT as CHATTERBOX
from pytorch_to_mlx.models.chatterbox.text.tokenizers import EnglishTokenizer, Gpt2Tokenizer, MultilingualTokenizer
from pytorch_to_mlx.quantization import Choice, QuantizationPolicy
from pytorch_to_mlx.registry import ENTRIES
from pytorch_to_mlx.weights import Row

ACCOUNTING = [
    Row("conv.weight", (8, 3, 1, 5), "float32", "conv.weight", (8, 5, 3), "transpose OIK1->OKI"),
    Row("qkv", (12, 4), "float32", "q", (4, 4), "split"),
    Row("qkv", (12, 4), "float32", "k", (4, 4), "split"),
    *(Row(f"norm.{i}.steps", (), "int64", "", None, "drop: counts | batches") for i in range(6)),
]
POLICY = QuantizationPolicy(
    quantize=(Choice(r"layers\.(q|k)", "wide linear layers"),), never=(Choice("conv", "too small to gain"),)
)

TOKENIZERS: dict[str, Any] = {"english": EnglishTokenizer, "gpt2": Gpt2Tokenizer, "multilingual": MultilingualTokenizer}
NOT_VALIDATED = "Not validated yet: `pytorch-to-mlx validate` compares this folder with the upstream code."


def card(**changes: object) -> str:
    """The card of the toy model."""
    options = {"summary": "A toy.", "licence": "MIT", "accounting": ACCOUNTING, "policy": POLICY, **changes}
    return render_card(CONFIG.model_copy(update=options.pop("config", {})), **options)  # type: ignore[arg-type]


def test_front_matter_as_the_hub_reads_it() -> None:
    data = ModelCard(card(base_model="somebody/toy")).data.to_dict()
    assert data == {
        "library_name": "mlx",
        "tags": ["mlx", "pytorch-to-mlx", "toy", "pitch-tracker"],
        "license": "mit",
        "base_model": "somebody/toy",
    }
    plain = ModelCard(card(licence="unknown")).data.to_dict()
    assert "license" not in plain and "base_model" not in plain


def test_provenance_and_accounting() -> None:
    text = card()
    assert "# toy tiny, for MLX" in text and "by pytorch-to-mlx 0.1.0" in text
    assert "hub `somebody/toy`, revision `abc`" in text and "| `toy.pt` | 1,234 |" in text
    assert "Of 8 source tensors 2 are used and 6 dropped." in text
    assert "| split | 1 | `qkv` |" in text
    assert r"| drop: counts \| batches | 6 | `norm.0.steps`, `norm.1.steps`, `norm.2.steps`," in text
    assert "`norm.3.steps` and 2 more |" in text


def test_quantization_and_what_is_never_quantized() -> None:
    text = card()
    assert "None: the weights are float32." in text
    assert r"| `layers\.(q\|k)` | may be quantized | wide linear layers |" in text
    assert "| `conv` | never quantized | too small to gain |" in text
    quantization = {"bits": 4, "group_size": 64, "layers": {"layers.q": {}, "layers.k": {}}}
    text = card(config={"quantization": quantization})
    assert "2 layers in 4 bits, in groups of 64." in text
    assert r"| `layers\.(q\|k)` | quantized | wide linear layers |" in text


def test_how_to_use_it_from_the_command_line() -> None:
    """Each task of the registry has a line, with a command and flags that there are."""
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    for task in {entry.task for entry in ENTRIES}:
        verb, *rest = COMMANDS[task].split()
        taken = [option for parameter in verbs[verb].params for option in parameter.opts]
        assert {each for each in rest if each.startswith("-")} <= set(taken), task
    text = card(config={"task": "transcription"}, example="-l en")
    assert "```bash\npytorch-to-mlx transcribe PATH_OF_THIS_FOLDER speech.wav -l en\n```" in text
    assert "`pytorch-to-mlx transcribe --help`" in text and "```bash" not in card(config={"task": "a new one"})


def commanded(card: str, **names: Path) -> list[str]:
    """The card's command line, told of other files."""
    found = re.search("```bash\npytorch-to-mlx (.*)\n```", card)
    assert found is not None
    return [str(names.get(word.replace(".", "_"), word)) for word in shlex.split(found[1])]


@pytest.mark.parametrize("model", ["base", "custom-voice", "voice-design", "kokoro"])
def test_the_cards_command_line_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    folder, short = tmp_path / "model", ["--max-tokens", "6"]
    if model == "base":
        write_narrator(tmp_path)
    elif model == "kokoro":
        convert(write_source(tmp_path / "source"), folder)
        short = []  # it speaks as long as its text is
    else:
        convert(write_model(f"qwen3_tts-1.7b-{model}", tmp_path / "source"), folder)
    names = {"PATH_OF_THIS_FOLDER": folder, "anna_wav": tmp_path / "anna.wav", "hello_wav": tmp_path / "hello.wav"}
    assert run(monkeypatch, *commanded((folder / "README.md").read_text(), **names), *short) == 0
    assert len(Audio.read(tmp_path / "hello.wav").samples) > 1000


def test_chatterboxs_command_line_tells_what_every_variant_asks_for() -> None:
    synthesize = get_command(app).commands["synthesize"]  # type: ignore[attr-defined]
    for variant in [*CHATTERBOX.variants.values(), *CHATTERBOX.imports.values()]:
        text = card(config={"task": CHATTERBOX.task}, example=variant.example)
        told = synthesize.make_context("synthesize", commanded(text)[1:]).params
        assert str(told["ref_audio"]) == "anna.wav"
        TOKENIZERS[variant.config.text].check_language(None, told["language"])


def test_strangers_text_stays_in_its_cell() -> None:
    hostile = "x`\n\n# Broken | <script>"
    text = card(config={"source": CONFIG.source.model_copy(update={"location": hostile})})
    assert "hub `x' # Broken \\| <script>`, revision" in text
    text = card(accounting=[Row("a", (), "f", "", None, f"drop: {hostile}")])
    assert "| drop: x` # Broken \\| &lt;script> | 1 | `a` |" in text


def test_parity_section_is_replaced_alone() -> None:
    before = card()
    assert NOT_VALIDATED in before
    head, _, tail = before.partition(NOT_VALIDATED)
    validated = with_parity(before, "| tap | error |\n| --- | --- |")
    assert validated == f"{head}| tap | error |\n| --- | --- |{tail}"
    again = with_parity(validated + "\nThe owner's own words.\n", "second")
    assert again == f"{head}second{tail}\nThe owner's own words.\n"
    assert with_parity("# A card of its own\n", "table") == "# A card of its own\n"
