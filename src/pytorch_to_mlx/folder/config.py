"""config.json of a model folder, and the one reader of JSON from folders that strangers may have written."""

import json
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pytorch_to_mlx.errors import ConfigError
from pytorch_to_mlx.folder.workspace import undo_interrupted

FORMAT_VERSION = 1
_MAX_BYTES = 4 * 2**20  # quantization is recorded per layer: 10,000 layers take about 1 MB


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SourceFile(_Record):
    """A checkpoint file that the model was converted from."""

    name: str
    bytes: int = Field(ge=0)


class Packaged(_Record):
    """A file that came from a package, not from the source."""

    package: str
    version: str
    file: str


class SourceRecord(_Record):
    """Where the model came from: a Hub repository, a package, a local file or folder by its name, a Python factory."""

    kind: Literal["file", "folder", "package", "hub", "module"]
    location: str
    revision: str | None = None
    files: list[SourceFile] = []
    packaged: list[Packaged] | None = None


class Converter(_Record):
    """The program that wrote the folder."""

    name: Literal["pytorch-to-mlx"] = "pytorch-to-mlx"
    version: str


class FolderConfig(_Record):
    """What config.json holds. `config` is the port's own and is checked by the port; so is `quantization`."""

    format_version: Literal[1] = FORMAT_VERSION
    model_type: str
    variant: str
    task: str
    dtype: str
    config: dict[str, JsonValue]
    quantization: dict[str, JsonValue] | None = None
    source: SourceRecord
    converter: Converter

    def to_bytes(self) -> bytes:
        """The text of config.json: fields in this order, what is None left out."""
        return (json.dumps(self.model_dump(exclude_none=True), indent=2, ensure_ascii=False) + "\n").encode()


def read_config(folder: Path) -> FolderConfig:
    """Read config.json of a model folder, after mending a replacement of the folder that was killed half-way.

    Raises:
        ConfigError: it is missing or damaged, or its format is newer or older than this program's.
        FolderError: the folder is being replaced right now.
    """
    undo_interrupted(folder)
    path = folder / "config.json"
    fields = _read_object(path)
    version = fields.get("format_version")
    if type(version) is not int:
        raise ConfigError(f"{path}: has no format_version: is this a folder that pytorch-to-mlx converted?")
    if version > FORMAT_VERSION:
        raise ConfigError(f"{path}: has format_version {version}, which is newer: upgrade pytorch-to-mlx")
    if version < FORMAT_VERSION:
        raise ConfigError(f"{path}: has format_version {version}: convert the model again")
    try:
        return FolderConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = _one_line(".".join(map(str, first["loc"])))
        raise ConfigError(f"{path}: {where}: {_one_line(first['msg'])}: convert the model again") from error


def is_model_folder(folder: Path) -> bool:
    """Whether this program, of any version, wrote `folder`."""
    try:
        converter = _read_object(folder / "config.json").get("converter")
    except ConfigError:
        return False
    return isinstance(converter, dict) and converter.get("name") == "pytorch-to-mlx"


def _read_object(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: is missing: is this a folder that pytorch-to-mlx converted?")
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if len(text) > _MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {_MAX_BYTES} bytes: this is no config of a model folder")
    try:
        found = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is no valid JSON ({_one_line(str(error))}): convert again") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: is no JSON object: convert the model again")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
