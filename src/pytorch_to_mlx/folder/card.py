"""README.md of a model folder: the card that says where the model came from and how well it was proven."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from pytorch_to_mlx.folder.config import FolderConfig
from pytorch_to_mlx.quantization import QuantizationPolicy
from pytorch_to_mlx.weights import Row

_PARITY_START, _PARITY_END = "<!-- parity -->", "<!-- end of parity -->"
_NOT_VALIDATED = "Not validated yet: `pytorch-to-mlx validate` compares this folder with the upstream code."
_IMPORTED = "Not validated: an import lacks the files that the upstream code would load for a comparison."
_NAMES_SHOWN = 4
COMMANDS = {
    "speaker encoder": "embed {} anna.wav",
    "pitch tracker": "pitch {} speech.wav --plot pitch.png",
    "text to speech": 'synthesize {} -t "Hello there." -o hello.wav',
    "watermarker": "watermark {} apply speech.wav -o marked.wav",
    "speech tokenizer": "tokenize {} speech.wav",
    "speech codec": "tokenize {} speech.wav -o codes.json --json",
    "transcription": "transcribe {} speech.wav",
}
"""What a model of a task does from the command line."""


def render_card(
    config: FolderConfig,
    *,
    summary: str,
    licence: str,
    accounting: Sequence[Row],
    policy: QuantizationPolicy,
    base_model: str = "",
    notices: Sequence[str] = (),
    imported: bool = False,
    example: str = "",
) -> str:
    """The card of a converted model, with the front matter that the Hub reads.

    Args:
        config: the folder's config.
        summary: what the model is, in one line.
        licence: SPDX identifier of the weights' licence, or "unknown".
        accounting: the weight map's table, one row for each source tensor.
        policy: what the port lets be quantized, and what never.
        base_model: the Hub repository of the original weights, where there is one.
        notices: sentences that whoever uses this folder should read.
        imported: whether it comes from another program's conversion rather than from PyTorch.
        example: options that the command line of its task has for this model.
    """
    title = f"{config.model_type} {config.variant}".strip()
    made = "Imported from another program's conversion" if imported else "Converted from PyTorch"
    blocks = [
        _front_matter(config, licence, base_model),
        f"# {title}, for MLX",
        f"{summary}\n\n{made} by {config.converter.name} {config.converter.version}.",
        *(f"> {notice}" for notice in notices),
        "## Use",
        *_use(config.task, example),
        "## Source",
        _source(config),
        "## Weights",
        _weights(accounting),
        "## Quantization",
        _quantization(config, policy),
        "## Parity",
        _parity(_IMPORTED if imported else _NOT_VALIDATED),
    ]
    return "\n\n".join(blocks) + "\n"


def with_parity(card: str, parity_markdown: str) -> str:
    """`card` with its section on parity replaced; a card without one, its owner's own, stays as it is."""
    before, start, rest = card.partition(_PARITY_START)
    _, end, after = rest.partition(_PARITY_END)
    return before + _parity(parity_markdown) + after if start and end else card


def _front_matter(config: FolderConfig, licence: str, base_model: str) -> str:
    tags = ["mlx", "pytorch-to-mlx", config.model_type, config.task.replace(" ", "-")]
    fields: dict[str, str | list[str]] = {"library_name": "mlx", "tags": tags}
    if licence != "unknown":
        fields["license"] = licence.lower()
    if base_model:
        fields["base_model"] = base_model
    # JSON is YAML too, and nothing in a JSON string can break out of its line.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in fields.items()), "---"])


def _use(task: str, example: str) -> list[str]:
    folder = "PATH_OF_THIS_FOLDER"
    python = f'```python\nfrom pytorch_to_mlx import load\n\nmodel = load("{folder}")\n```'
    command = COMMANDS.get(task)  # none of tasks that a user's own port invents
    if command is None:
        return [python]
    verb = command.split()[0]
    more = f"`pytorch-to-mlx {verb} --help` lists what else it takes. From Python:"
    line = f"pytorch-to-mlx {command.format(folder)} {example}".rstrip()
    return [f"```bash\n{line}\n```", more, python]


def _source(config: FolderConfig) -> str:
    source = config.source
    revision = f", revision {_code(source.revision)}" if source.revision else ""
    files = [[_code(file.name), f"{file.bytes:,}"] for file in source.files]
    for file in source.packaged or ():
        files.append([f"{_code(file.file)} of the package {_code(f'{file.package} {file.version}')}", ""])
    return f"{source.kind} {_code(source.location)}{revision}\n\n{_table(['file', 'bytes'], files)}"


def _weights(accounting: Sequence[Row]) -> str:
    sources = {row.source for row in accounting}
    used = {row.source for row in accounting if row.target}
    by_action: dict[str, dict[str, None]] = defaultdict(dict)
    for row in sorted(accounting, key=lambda row: not row.target):
        by_action[row.action][row.source] = None
    rows = [[_cell(action), str(len(names)), _listed(list(names))] for action, names in by_action.items()]
    count = f"Of {len(sources)} source tensors {len(used)} are used and {len(sources) - len(used)} dropped."
    return f"{count} Every parameter is filled.\n\n{_table(['what was done', 'tensors', 'names'], rows)}"


def _quantization(config: FolderConfig, policy: QuantizationPolicy) -> str:
    applied = config.quantization
    text = f"None: the weights are {config.dtype}."
    if applied is not None:
        layers = applied["layers"]
        assert isinstance(layers, dict)
        text = f"{len(layers)} layers in {applied['bits']} bits, in groups of {applied['group_size']}."
    treated = [("quantized" if applied else "may be quantized", choice) for choice in policy.quantize]
    treated += [("never quantized", choice) for choice in policy.never]
    rows = [[_code(choice.pattern), treatment, _cell(choice.reason)] for treatment, choice in treated]
    return f"{text}\n\n{_table(['modules', 'treatment', 'why'], rows)}"


def _parity(markdown: str) -> str:
    return f"{_PARITY_START}\n{markdown.strip()}\n{_PARITY_END}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(_code, names[:_NAMES_SHOWN]))
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def _cell(text: str) -> str:
    """`text`, perhaps a stranger's, without what would end a line or a table's cell, or open a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    plain = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{plain}`"
