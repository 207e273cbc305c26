"""convert() and inspect(): from PyTorch files to an MLX model folder, with every tensor accounted for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fnmatch import filter as matching_names
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pytorch_to_mlx import environments, hub
from pytorch_to_mlx.checkpoint import Checkpoint, TensorInfo, open_checkpoint
from pytorch_to_mlx.errors import PytorchToMlxError, SourceError, UnrecognisedSourceError, UsageError, WeightMapError
from pytorch_to_mlx.folder import (
    Converter,
    FolderConfig,
    FolderWriter,
    Packaged,
    SourceFile,
    SourceRecord,
    is_model_folder,
    render_card,
)
from pytorch_to_mlx.matching import Match, match
from pytorch_to_mlx.port import Asset, floating_parameters, parameter_shapes
from pytorch_to_mlx.quantization import Quantization
from pytorch_to_mlx.weights import Plan, Row, TensorSpec, numpy_dtype

if TYPE_CHECKING:
    import mlx.nn as nn

DType = Literal["float32", "float16", "bfloat16"]
Progress = Callable[[str, int, int], None]
"""Called with a tensor's name, the bytes written so far and the bytes in all."""

# Of an unknown repository, `inspect` fetches the first kind of these that it holds.
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.onnx")


@dataclass(frozen=True)
class Conversion:
    """What a conversion made.

    Attributes:
        folder: the model folder.
        config: its config.json.
        accounting: a row for each source tensor.
        bytes: size of the written weights.
        url: where it was uploaded, if it was.
        notices: what whoever uses the folder should know; its card says it too.
    """

    folder: Path
    config: FolderConfig
    accounting: list[Row]
    bytes: int
    url: str | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What a source was found to be.

    Attributes:
        tensors: every tensor of every checkpoint file.
        match: the port that it fits, if any.
        accounting: what maps to what, if a port fits and the map covers everything.
        problems: why there is no match or no accounting.
    """

    tensors: list[TensorInfo]
    match: Match | None
    accounting: list[Row]
    problems: tuple[str, ...] = ()


def convert(
    source: str | Path,
    output: str | Path,
    *,
    variant: str | None = None,
    port: str | None = None,
    dtype: DType | None = None,
    quantize: bool = False,
    q_bits: int | None = None,
    q_group_size: int | None = None,
    revision: str | None = None,
    include: Collection[str] = (),
    offline: bool = False,
    force: bool = False,
    upload_repo: str | None = None,
    private: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a PyTorch checkpoint to an MLX model folder.

    Args:
        source: a path, `package:NAME`, or a Hub repository `owner/name`.
        output: the folder to write; replaced whole or not at all.
        variant, port: which model, where the source holds or fits several.
        dtype: of floating-point weights; the checkpoint's own if None.
        quantize: quantize what the port's policy allows, to `q_bits` (4) in groups of `q_group_size` (64).
        revision: branch, tag or commit of a Hub repository.
        include: optional parts to convert too.
        offline: take Hub repositories from the cache only.
        force: replace an existing model folder.
        upload_repo: Hub repository to upload the folder to.
        private: keep that repository private.
        progress: called as tensors are written.

    Raises:
        PytorchToMlxError: every failure is one of its subclasses, and leaves `output` as it was. Only a failed upload
            leaves the new folder there, and says so.
    """
    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise UsageError(f"--dtype {dtype} is not float32, float16 or bfloat16")
    for flag, value in (("--q-bits", q_bits), ("--q-group-size", q_group_size)):
        if value is not None and not quantize:
            raise UsageError(f"{flag} {value} is for quantizing; add -q, or leave it out")
    if upload_repo:
        hub.check_repo_id(upload_repo)
    elif private:
        raise UsageError("--private is for uploads; add --upload-repo OWNER/NAME, or leave it out")
    folder = Path(output)
    # The writer comes first: a folder that may not be written is told before anything is fetched.
    with FolderWriter(folder, force=force) as writer, ExitStack() as stack:
        with _hinted():
            found = match(str(source), port=port, variant=variant, revision=revision, include=include, offline=offline)
        parts = {prefix: stack.enter_context(open_checkpoint(path)) for prefix, path in found.files.items()}
        network = found.port.network(found.config)
        plans = _plans(found, parts, network)
        bits, group_size = 4 if q_bits is None else q_bits, 64 if q_group_size is None else q_group_size
        quantization = found.port.quantization.decide(network, bits, group_size) if quantize else None
        steps = [
            (plan, parts[prefix], [_written(spec, dtype, quantization) for spec in plan.outputs])
            for prefix, plan in plans.items()
        ]
        specs = [spec for _, _, groups in steps for group in groups for spec in group]
        config = _folder_config(found, parts, specs, quantization)
        accounting = [row for plan in plans.values() for row in plan.table()]
        writer.write_tensors(specs, _watched(_arrays(steps, quantization), specs, progress))
        writer.write_bytes("config.json", config.to_bytes())
        for asset in found.taken_assets:
            writer.write_bytes(asset.target, _made(asset, found.files_of(asset)))
        notices = tuple(each.notice for each in (found.variant, *found.taken_assets) if each.notice)
        card = render_card(
            config,
            summary=found.port.summary,
            licence=found.variant.licence,
            accounting=accounting,
            policy=found.port.quantization,
            base_model=found.variant.base_model,
            notices=notices,
            imported=found.variant.name in found.port.imports,
            example=found.variant.example,
        )
        writer.write_bytes("README.md", card.encode())
    url = _uploaded(folder, upload_repo, private) if upload_repo else None
    return Conversion(folder, config, accounting, sum(spec.nbytes for spec in specs), url, notices)


def inspect(
    source: str | Path,
    *,
    variant: str | None = None,
    port: str | None = None,
    revision: str | None = None,
    offline: bool = False,
) -> Inspection:
    """Tell what is in a checkpoint, which port matches it, and what maps to what. Writes nothing.

    Raises:
        PytorchToMlxError: the source cannot be found or read. A source that no port knows is no error.
    """
    source = str(source)
    try:
        found = match(source, variant=variant, port=port, revision=revision, offline=offline)
    except UnrecognisedSourceError as error:
        path = _unknown(source, revision, offline)
        problem = f"{source} is converted already; load or validate it" if is_model_folder(path) else str(error)
        with open_checkpoint(path) as checkpoint:
            return Inspection([checkpoint.info(name) for name in checkpoint], None, [], (problem,))
    with ExitStack() as stack:
        parts = {prefix: stack.enter_context(open_checkpoint(path)) for prefix, path in found.files.items()}
        tensors = [checkpoint.info(name) for checkpoint in parts.values() for name in checkpoint]
        try:
            plans = _plans(found, parts, found.port.network(found.config))
        except WeightMapError as error:
            return Inspection(tensors, found, [], error.problems)
        return Inspection(tensors, found, [row for plan in plans.values() for row in plan.table()])


@contextmanager
def _hinted() -> Iterator[None]:
    try:
        yield
    except UnrecognisedSourceError as error:
        raise type(error)(f"{error}; pytorch-to-mlx inspect shows what is in it") from error


def _uploaded(folder: Path, repo_id: str, private: bool) -> str:
    try:
        return hub.upload(folder, repo_id, private=private)
    except PytorchToMlxError as error:
        raise type(error)(f"converted to {folder}, but not uploaded: {error}") from error


def _unknown(source: str, revision: str | None, offline: bool) -> Path:
    """A source that no port knows, brought to local files."""
    if not hub.is_repository(source):
        return hub.resolve(source, revision=revision, search_paths=environments.search_paths()).path
    listed = hub.hub_files(source, revision, offline=offline)
    kinds = [kind for kind in WEIGHTS if matching_names(listed, kind)][:1] or WEIGHTS
    patterns = [pattern for kind in kinds for pattern in (kind, f"{kind}.index.json")]
    return hub.resolve(source, revision=revision, patterns=patterns, offline=offline).path


def _plans(found: Match, parts: Mapping[str, Checkpoint], network: nn.Module) -> dict[str, Plan]:
    expected, floating = parameter_shapes(network), floating_parameters(network)
    # A parameter belongs to the part with the longest prefix that fits.
    prefixes = sorted((part.prefix for part in found.parts), key=len)
    owner = {name: [p for p in prefixes if name.startswith(p) or p == prefixes[0]][-1] for name in expected}
    plans = {}
    for part in found.parts:
        where = found.files[part.prefix].name
        wanted = {name: shape for name, shape in expected.items() if owner[name] == part.prefix}
        plan = part.weights.under("", part.prefix).plan(parts[part.prefix], wanted, where=where)
        odd = [spec for spec in plan.outputs if (spec.name in floating) != _is_floating(spec.dtype)]
        if odd:
            kind = "floating-point numbers" if odd[0].name in floating else "integers"
            raise WeightMapError(f"{where} does not fit: {odd[0].name} is {odd[0].dtype}, the model has {kind} there")
        plans[part.prefix] = plan
    return plans


def _is_floating(dtype: str) -> bool:
    return "float" in dtype


def _written(spec: TensorSpec, dtype: str | None, quantization: Quantization | None) -> tuple[TensorSpec, ...]:
    """What is written for one parameter: cast, then quantized."""
    if _is_floating(spec.dtype):
        # MLX has float64 on the CPU only.
        spec = replace(spec, dtype=dtype or spec.dtype.replace("float64", "float32"))
    return quantization.specs(spec) if quantization else (spec,)


def _arrays(
    steps: list[tuple[Plan, Checkpoint, list[tuple[TensorSpec, ...]]]], quantization: Quantization | None
) -> Iterator[tuple[str, np.ndarray]]:
    for plan, checkpoint, groups in steps:
        for (name, array), specs in zip(plan.apply(checkpoint), groups, strict=True):
            target = numpy_dtype(specs[-1].dtype)
            if array.dtype != target:
                array = _cast(name, array, target)
            if len(specs) == 1:
                yield name, array
            else:
                assert quantization is not None
                for spec, packed in zip(specs, quantization.arrays(array), strict=True):
                    yield spec.name, packed


def _cast(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if dtype.itemsize < array.dtype.itemsize and not np.array_equal(np.isfinite(cast), np.isfinite(array)):
        raise WeightMapError(f"{name} has values too large for {dtype}; use --dtype bfloat16 or float32")
    return cast


def _made(asset: Asset, files: Mapping[str, Path]) -> bytes:
    if asset.make is not None:
        return asset.make(files)
    (path,) = files.values()
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror})") from error


def _watched(
    arrays: Iterator[tuple[str, np.ndarray]], specs: list[TensorSpec], progress: Progress | None
) -> Iterator[tuple[str, np.ndarray]]:
    total, done = sum(spec.nbytes for spec in specs), 0
    for name, array in arrays:
        yield name, array
        done += array.nbytes
        if progress:
            progress(name, done, total)


def _folder_config(
    found: Match, parts: Mapping[str, Checkpoint], specs: list[TensorSpec], quantization: Quantization | None
) -> FolderConfig:
    own = [file for prefix, c in parts.items() if prefix not in found.packaged for file in c.files]
    own += [path for files in found.assets.values() for path in files.values()]
    files = [SourceFile(name=file.name, bytes=file.stat().st_size) for file in dict.fromkeys(own)]
    packaged = [
        Packaged(package=source.location, version=source.revision or "", file=found.files[prefix].name)
        for prefix, source in found.packaged.items()
    ]
    packaged += [
        Packaged(package=source.location, version=source.revision or "", file=name)
        for source, files in found.packaged_assets.values()
        for name in files
    ]
    floats = {spec.dtype for spec in specs if _is_floating(spec.dtype)}
    return FolderConfig(
        model_type=found.port.name,
        variant=found.variant.name,
        task=found.port.task,
        dtype=floats.pop() if len(floats) == 1 else "mixed",
        config=found.port.dump_config(found.config),
        quantization=quantization.to_config() if quantization else None,
        source=SourceRecord(
            kind=found.source.kind,
            location=found.source.location,
            revision=found.source.revision,
            files=files,
            packaged=packaged or None,
        ),
        converter=Converter(version=version("pytorch-to-mlx")),
    )


__all__ = ["Conversion", "DType", "Inspection", "Progress", "convert", "inspect"]
