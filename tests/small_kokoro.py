"""A small Kokoro of seeded weights, as its small recording describes it: of one layer, but upstream's decoder."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from described import described, tensors
from held import loaded
from small_ports import WEIGHTS_KOKORO, Tensors, torch_file

from pytorch_to_mlx.models.kokoro.config import from_json
from pytorch_to_mlx.models.kokoro.network import Kokoro
from pytorch_to_mlx.models.kokoro.weights import weights

GOLDEN = "kokoro-v1.0"
PARTS = ("bert", "bert_encoder", "predictor", "text_encoder", "decoder")
SETTINGS: dict[str, Any] = described(GOLDEN)["settings"]["config.json"]


@cache
def seeded() -> Tensors:
    """Its checkpoint, by part and name."""
    return tensors(GOLDEN)


def small_kokoro() -> Any:
    """The network alone."""
    return SimpleNamespace(network=loaded(Kokoro(from_json(SETTINGS)), weights(""), seeded()))


def write_source(folder: Path, *, within: str = "module.", **changes: Any) -> Path:
    """The folder that upstream would load, with four voices; `changes` are of config.json."""
    tree = {part: {} for part in PARTS}
    for name, array in seeded().items():
        part, _, rest = name.partition(".")
        tree[part][f"{within}{rest}"] = array
    torch_file(folder / "kokoro-v1_0.pth", tree)
    (folder / "config.json").write_text(json.dumps(SETTINGS | changes), encoding="utf-8")
    for name in WEIGHTS_KOKORO.VOICES:
        torch_file(folder / "voices" / f"{name}.pt", WEIGHTS_KOKORO.voice(name))
    return folder
