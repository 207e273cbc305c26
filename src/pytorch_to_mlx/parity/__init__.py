"""Recording taps, comparing them with upstream's, and finding the first divergence."""

from pytorch_to_mlx.parity.compare import FLOAT32, INFO, Bar, compare_tap, relative_error
from pytorch_to_mlx.parity.perturb import perturbed
from pytorch_to_mlx.parity.record import Tape, is_recording, recording, scope, tap, watching
from pytorch_to_mlx.parity.recorded import Case, Recording

__all__ = [
    "FLOAT32",
    "INFO",
    "Bar",
    "Case",
    "Recording",
    "Tape",
    "compare_tap",
    "is_recording",
    "perturbed",
    "recording",
    "relative_error",
    "scope",
    "tap",
    "watching",
]
