"""Which reader a file belongs to, by its content; safetensors and ONNX, which lack a signature, by suffix."""

from pathlib import Path

from pytorch_to_mlx.checkpoint.files import map_file, naming
from pytorch_to_mlx.checkpoint.onnx_file import read_onnx
from pytorch_to_mlx.checkpoint.safetensors_file import read_safetensors
from pytorch_to_mlx.checkpoint.tensors import Contents
from pytorch_to_mlx.checkpoint.torch_pickles import read_torch_old, read_torch_zip
from pytorch_to_mlx.checkpoint.torch_tar import is_tar, read_torch_tar
from pytorch_to_mlx.checkpoint.torchscript import is_torchscript, read_torchscript
from pytorch_to_mlx.checkpoint.zip_archive import ZipArchive
from pytorch_to_mlx.errors import CheckpointError

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".jit", ".ptl", ".tar", ".onnx")


def read_file(path: Path) -> Contents:
    """Open one weights file of any supported format. Every failure names the file.

    Raises:
        CheckpointError: the file is damaged, of an unknown format, or holds tensors that cannot be converted.
        UnsafeFileError: it would run code.
        MissingDependencyError: its format needs torch or onnx.
    """
    with naming(path):
        buffer = map_file(path)
        start = buffer[:512]
        if start.startswith(b"version https://git-lfs"):
            raise CheckpointError("a Git LFS pointer, not the weights themselves; fetch them with: git lfs pull")
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        if path.suffix == ".onnx":
            return read_onnx(path)
        if start.startswith(b"PK\3\4"):
            archive = ZipArchive(buffer)
            root = _archive_root(archive)
            if is_torchscript(archive, root):
                return read_torchscript(path, buffer, archive, root)
            return read_torch_zip(path, buffer, archive, root)
        if is_tar(start):
            return read_torch_tar(path, buffer)
        if start.startswith(b"\x80"):
            return read_torch_old(path, buffer)
        if start[8:9] == b"{":
            return read_safetensors(path)
        raise CheckpointError(f"not a checkpoint of a known format; known are {', '.join(SUFFIXES)} files")


def _archive_root(archive: ZipArchive) -> str:
    """The one folder of a torch archive: the one that holds data.pkl."""
    roots = [name.removesuffix("/data.pkl") for name in archive.entries if name.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        raise CheckpointError("a zip archive that torch.save and torch.jit.save (1.4 or later) did not write")
    return roots[0]
