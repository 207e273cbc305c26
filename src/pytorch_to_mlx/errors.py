"""One exception type per kind of failure. A message is one line that names the file, tensor or flag and the way out."""

from collections.abc import Sequence

MAX_CHARACTERS = 2000


def printable(text: str) -> str:
    """`text` with control characters escaped: no stranger's file steers the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class PytorchToMlxError(Exception):
    """Base of every failure that a user can mend. The command line prints its message and exits 2.

    Messages quote names from strangers' files: whatever these hold, a message is one printable line of bounded length.
    """

    def __init__(self, message: str) -> None:
        line = printable(" ".join(message.split()))
        if len(line) > MAX_CHARACTERS:  # the way out stands at the end
            line = f"{line[: MAX_CHARACTERS // 2]} ... {line[-MAX_CHARACTERS // 2 + 5 :]}"
        super().__init__(line)


class UsageError(PytorchToMlxError):
    """A flag or argument that does not fit: names the flag and what it takes."""


class MissingDependencyError(PytorchToMlxError):
    """An optional library is not installed: names it and the command that installs it."""


class SourceError(PytorchToMlxError):
    """A source (folder, file, package or Hub repository) cannot be found, reached or recognised."""


class UnrecognisedSourceError(SourceError):
    """A source was found, but it holds no model that is known, or another than the one asked for."""


class CheckpointError(PytorchToMlxError):
    """A checkpoint file is damaged, incomplete or of an unsupported format."""


class UnsafeFileError(CheckpointError):
    """A file would execute code, or a path would leave its folder. It is never opened further."""


class WeightMapError(PytorchToMlxError):
    """Source tensors and MLX parameters do not account for each other; `problems` names every one that does not."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)


class QuantizationError(PytorchToMlxError):
    """The requested quantization does not fit the port's policy or a layer's shape."""


class FolderError(PytorchToMlxError):
    """A model folder cannot be written, replaced or loaded."""


class ConfigError(FolderError):
    """A model folder's config.json is damaged, too new or inconsistent."""


class UpstreamError(PytorchToMlxError):
    """A reference environment cannot be built, or a reference script failed."""


class BenchmarkError(PytorchToMlxError):
    """A benchmark's contender failed: names it, and the last line that it printed."""


class ParityError(PytorchToMlxError):
    """A parity check cannot be carried out, or its recording is dead (exercises too little to prove anything)."""


class AudioError(PytorchToMlxError):
    """A recording cannot be read or is unusable (empty, not finite, too short)."""


class CacheError(PytorchToMlxError):
    """A cache's folder cannot be used or is damaged."""


class ScriptError(PytorchToMlxError):
    """A script to narrate cannot be read: names the file, and the segment or line."""


class CaptureError(PytorchToMlxError):
    """A model cannot be captured: names the operator or the line, and the way out."""
