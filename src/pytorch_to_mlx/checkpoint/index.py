"""Checkpoints in several files: an index that says which tensor is in which shard, and shards that agree."""

from pathlib import Path

from pytorch_to_mlx.checkpoint.files import map_file, member, naming, parse_json, some
from pytorch_to_mlx.checkpoint.formats import read_file
from pytorch_to_mlx.checkpoint.tensors import Contents, LazyTensor
from pytorch_to_mlx.errors import CheckpointError

MAX_INDEX_BYTES = 32 * 2**20


def read_index(path: Path) -> Contents:
    """Open a sharded checkpoint by its `*.index.json`.

    Raises:
        UnsafeFileError: a shard lies outside of the index's folder.
        CheckpointError: a shard is missing or damaged, or index and shards disagree about a tensor.
    """
    with naming(path):
        buffer = map_file(path)
        if len(buffer) > MAX_INDEX_BYTES:
            raise CheckpointError(f"larger than the {MAX_INDEX_BYTES} bytes allowed for an index")
        index = parse_json(buffer[:])
        weight_map = index.get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError("has no weight_map; it is not the index of a sharded checkpoint")
        if not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError("weight_map holds something other than file names")
        shards = {name: member(path.parent, name) for name in dict.fromkeys(weight_map.values())}
        metadata = index.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise CheckpointError("metadata is not an object")
    contents = {name: read_file(shard) for name, shard in shards.items()}
    with naming(path):
        tensors = _agreed(weight_map, contents)
    return Contents(
        next(iter(contents.values())).format,
        (path, *(file for shard in contents.values() for file in shard.files)),
        tensors,
        {key: str(value) for key, value in metadata.items()},
    )


def _agreed(weight_map: dict[str, str], contents: dict[str, Contents]) -> dict[str, LazyTensor]:
    """The tensors in the index's order, each found in exactly the shard that the index names."""
    holder: dict[str, str] = {}
    for shard, content in contents.items():
        for name in content.tensors:
            if name in holder:
                raise CheckpointError(f"tensor {name!r} is in two shards: {holder[name]!r} and {shard!r}")
            holder[name] = shard
    if absent := [name for name, shard in weight_map.items() if holder.get(name) != shard]:
        raise CheckpointError(f"the shards lack {some(absent)}, or hold it elsewhere than it says; fetch them again")
    if extra := holder.keys() - weight_map.keys():
        raise CheckpointError(f"does not mention {some(extra)}, which its shards hold; fetch it again")
    if len({content.format for content in contents.values()}) > 1:
        raise CheckpointError("its shards are of different formats")
    return {name: contents[shard].tensors[name] for name, shard in weight_map.items()}
