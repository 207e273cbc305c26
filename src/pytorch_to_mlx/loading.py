"""load(): a model folder becomes a model, with nothing transformed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from pytorch_to_mlx import captured, registry
from pytorch_to_mlx.arrays import dtype_name
from pytorch_to_mlx.errors import ConfigError, FolderError, QuantizationError, UsageError
from pytorch_to_mlx.folder import FolderConfig, load_weights, read_config
from pytorch_to_mlx.layers.quantized import quantize_modules


def load(folder: str | Path, *, trust: bool = False) -> Any:
    """Load a converted or captured model.

    Args:
        folder: a folder that `convert` or `capture` wrote.
        trust: run a captured folder's own source though another machine wrote it.

    Returns:
        An object with the methods of the model's task (see `tasks`): `pitch`, `embed`, ...; a captured model is called.

    Raises:
        FolderError, ConfigError, QuantizationError, CheckpointError: the folder is damaged, too new, or does not fit
            its own config.
        UnsafeFileError: the folder has source that this machine did not write, and `trust` was not given.
    """
    path = Path(folder)
    config = read_config(path)
    if config.model_type == captured.MODEL_TYPE:
        settings = captured.CapturedConfig.parse(config.config)
        network = captured.build(path, settings, trusted=trust)
        _fill(network, path, config)
        return captured.CapturedModel(network, settings)
    try:
        port = registry.get(config.model_type)
    except UsageError as error:
        raise ConfigError(f"{path / 'config.json'}: model_type: {error}") from error
    try:
        settings = port.parse_config(config.config)
        network = port.network(settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; convert it again") from error
    _fill(network, path, config)
    return port.model(network, settings, path)


def _fill(network: nn.Module, path: Path, config: FolderConfig) -> None:
    """Quantize what the config says, and load the weights of the folder `path`, strictly."""
    try:
        if config.quantization is not None:
            quantize_modules(network, config.quantization)
    except QuantizationError as error:
        raise QuantizationError(f"{path}: {error}") from error
    expected = dict(tree_flatten(network.parameters()))
    weights = load_weights(path) if expected else {}
    _check(path, weights, expected, config.dtype)
    network.load_weights(list(weights.items()), strict=True)
    network.eval()
    mx.eval(network.parameters())


def _check(path: Path, weights: dict[str, mx.array], expected: Mapping[str, mx.array], dtype: str) -> None:
    """Names, shapes and kinds of number; floating-point weights are of the declared dtype unless it is mixed."""
    problems = [f"lacks {name}" for name in expected if name not in weights]
    for name, found in weights.items():
        if name not in expected:
            problems.append(f"has {name!r}, which the model has not")
        elif found.shape != expected[name].shape:
            problems.append(f"has {name} in shape {found.shape} instead of {expected[name].shape}")
        elif not _dtype_fits(found.dtype, expected[name].dtype, dtype):
            problems.append(f"has {name} in {dtype_name(found.dtype)}, not in the {dtype} that config.json declares")
    if problems:
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        listed = "; ".join(problem[:200] for problem in problems[:6])
        raise FolderError(f"{path} does not hold its model: it {listed}{more}; convert it again")


def _dtype_fits(found: mx.Dtype, expected: mx.Dtype, declared: str) -> bool:
    if not mx.issubdtype(expected, mx.floating):
        return found == expected
    return mx.issubdtype(found, mx.floating) and declared in ("mixed", dtype_name(found))
