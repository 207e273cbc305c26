"""Captured source of upstream's own classes, against them and against our ports.

Chatterbox's CAM++, HiFT decoder, S3 tokenizer encoder and voice encoder with seeded weights, and torchcrepe's and
Perth's modules with their trained weights on speech, are captured in upstream's environments, this one's MLX beside.
Prints how far outputs are from PyTorch's and from the port's, lines, and median times taken in turns. The port's judge
is upstream itself (`make parity`); here it is compared where it takes the same inputs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import beside

if TYPE_CHECKING:
    import torch

LIMIT = 1e-5
SPEECH = Path(__file__).parents[2] / "shared" / "audio" / "jfk.flac"
DOCS = Path(__file__).parents[1] / "docs" / "capture-ports.md"
TITLE = """# Captured source against our hand-written ports

Written by `benchmarks/capture_ports.py --update-docs`: upstream's classes, captured, against them and against the ports
on the same inputs. CREPE and Perth have their trained weights; their ports take other inputs, and are not compared.
Perturbed: how far outputs are with noise of 1 % on the first, the middle or the last matrix, the second of the three.
Speed: the other's median time over the captured network's under `mx.compile`, in turns in one process.

"""
COMPONENTS = Path(__file__).parents[1] / "src" / "pytorch_to_mlx" / "components"
NETWORKS = {
    "campplus": "chatterbox_tts",
    "hift": "chatterbox_tts",
    "s3_tokenizer": "chatterbox_tts",
    "voice_encoder": "chatterbox_tts",
    "crepe_tiny": "crepe",
    "crepe_full": "crepe",
    "perth_encoder": "perth_watermark",
    "perth_decoder": "perth_watermark",
}
"""The reference in whose environment upstream's class is."""
SOURCES = {
    "campplus": ("network.py",),
    "hift": ("network.py", "../../layers/fourier.py"),
    "s3_tokenizer": ("memory.py", "../whisper/encoder.py"),
    "voice_encoder": ("network.py",),
}
"""The files of a port that do what is captured."""


def main() -> None:
    """Run each network in upstream's environment; print the table."""
    parser = argparse.ArgumentParser(description="Captured source against our hand-written ports.")
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)}; all if none is given")
    parser.add_argument("--rounds", type=int, default=5, help="of each timing")
    parser.add_argument("--source", type=Path, help="write the captured sources into this folder")
    parser.add_argument("--update-docs", action="store_true", help=f"write the table into {DOCS.name}")
    parser.add_argument("--json", type=Path, help="write the results here too")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        beside.enter()
        print(json.dumps(measured(options.networks[0], options.rounds, options.source)))
        return
    results = [in_upstreams_environment(name, options) for name in options.networks or NETWORKS]
    table = markdown(results)
    print(table)
    if options.update_docs:
        DOCS.write_text(TITLE + table, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if worst := [result["network"] for result in results if not holds(result)]:
        sys.exit(f"more than {LIMIT:g} apart, or a perturbed weight is not: {', '.join(worst)}")


def holds(result: dict[str, Any]) -> bool:
    """Whether the captured network agrees with PyTorch and with the port, and would not with another weight."""
    apart = max(result["error"], result.get("port_error", 0.0))
    return apart <= LIMIT < result["perturbed"]


def in_upstreams_environment(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The result of one network, from a process of its own."""
    from pytorch_to_mlx import environments

    interpreter = environments.install(environments.of_script(NETWORKS[name]))
    command = [__file__, name, "--inside", "--rounds", str(options.rounds)]
    command += ["--source", str(options.source)] if options.source else []
    return beside.last_line(interpreter, command, [environments.SCRIPTS.parents[1], environments.SCRIPTS])


def measured(name: str, rounds: int, folder: Path | None) -> dict[str, Any]:
    """Capture upstream's network, and compare it with upstream and with the port."""
    import mlx.core as mx
    import torch

    from pytorch_to_mlx.capture.package import capture
    from pytorch_to_mlx.capture.proof import to_mlx
    from pytorch_to_mlx.capture.subject import subject_of

    os.environ["PYTORCH_TO_MLX_TRUSTED"] = os.devnull
    torch.manual_seed(0)
    module, inputs, *ported = globals()[f"_{name}"]()
    with tempfile.TemporaryDirectory() as room:
        made = capture(subject_of(module.eval(), inputs), Path(room) / "captured", note=lambda line: None)
    assert made.report.passed, made.report.summary()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(made.generated.source, encoding="utf-8")
    arrays = [to_mlx(value) for value in inputs]
    captured = mx.compile(made.network)
    with torch.no_grad():
        expected = first(module(*inputs)).numpy()
        error = apart(captured(*arrays), expected)
        contenders: list[Callable[[], Any]] = [lambda: captured(*arrays), lambda: module(*inputs)]
        result = {
            "network": name,
            "error": error,
            "perturbed": with_another_weight(made.network, arrays, expected),
            "taps": sum(len(case.taps) for case in made.report.cases),
            "lines": made.generated.source.count("\n"),
        }
        if ported:
            state, port, call = ported
            with tempfile.TemporaryDirectory() as room:
                load_port(port, state, name, Path(room))
            result["port_error"] = apart(captured(*arrays), call(port, *arrays))
            result["port_lines"] = sum(len((COMPONENTS / name / f).read_text().splitlines()) for f in SOURCES[name])
            contenders.append(lambda: call(port, *arrays))
        times = taken_in_turns(contenders, rounds)
    return result | dict(zip(("torch", "speed"), (each / times[0] for each in times[1:]), strict=False))


def apart(result: Any, other: Any) -> float:
    """How far the first outputs are apart, relatively."""
    import numpy as np

    from pytorch_to_mlx.parity import relative_error

    return relative_error(np.array(first(result)), np.array(first(other)))


def with_another_weight(network: Any, arrays: list[Any], expected: Any) -> float:
    """How far the network is from `expected` with noise of 1 % on its first, middle or last matrix: the second.

    Not the nearest: the output compared need not hear of every matrix, as Perth's first output does not of the last.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten

    from pytorch_to_mlx.parity import perturbed

    weights = dict(tree_flatten(network.parameters()))
    matrices = [name for name, value in weights.items() if value.ndim > 1 and value.dtype == mx.float32]
    errors = []
    for name in (matrices[0], matrices[len(matrices) // 2], matrices[-1]):
        network.load_weights([(name, perturbed(weights[name], 0, 1))], strict=False)
        errors.append(apart(network(*arrays), expected))
        network.load_weights([(name, weights[name])], strict=False)
    return sorted(errors)[1]


def load_port(port: Any, state: dict[str, torch.Tensor], name: str, room: Path) -> None:
    """Fill our network with upstream's tensors by the port's own weight map."""
    import mlx.core as mx
    from safetensors.torch import save_file

    from pytorch_to_mlx.checkpoint import open_checkpoint
    from pytorch_to_mlx.port import parameter_shapes

    maps = importlib.import_module(f"pytorch_to_mlx.components.{name}.weights")
    weights = {"voice_encoder": "CHATTERBOX", "s3_tokenizer": "V2"}.get(name, "WEIGHTS")
    save_file({key: value.contiguous() for key, value in state.items()}, room / "model.safetensors")
    with open_checkpoint(room / "model.safetensors") as checkpoint:
        plan = getattr(maps, weights).plan(checkpoint, parameter_shapes(port), where=name)
        port.load_weights([(key, mx.array(array)) for key, array in plan.apply(checkpoint)])
    port.eval()
    mx.eval(port.parameters())


def taken_in_turns(functions: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """The median time of each."""
    import mlx.core as mx

    taken: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds + 1):
        for times, function in zip(taken, functions, strict=True):
            start = time.perf_counter()
            result = first(function())
            if isinstance(result, mx.array):
                mx.eval(result)
            if turn:  # the first compiles
                times.append(time.perf_counter() - start)
    return [sorted(times)[rounds // 2] for times in taken]


def first(result: Any) -> Any:
    """A result, or the first of several."""
    return result[0] if isinstance(result, tuple | list) else result


def markdown(results: list[dict[str, Any]]) -> str:
    """The table of the docs."""
    head = (
        "network",
        "from PyTorch",
        "perturbed",
        "from the port",
        "lines captured",
        "lines by hand",
        "speed against ours",
        "speed against PyTorch",
    )
    rows = [
        (
            result["network"],
            f"{result['error']:.1e}",
            f"{result['perturbed']:.1e}",
            f"{result['port_error']:.1e}" if "port_error" in result else "-",
            str(result["lines"]),
            str(result.get("port_lines", "-")),
            f"{result['speed']:.2f} x" if "speed" in result else "-",
            f"{result['torch']:.2f} x",
        )
        for result in results
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)) + "\n"


# The networks: upstream's module, an example; where a port takes the same, its tensors, our network, how to call it.


def _campplus() -> tuple:
    import torch
    from _chatterbox_checkpoint import seeded_s3gen  # type: ignore[import-not-found]

    from pytorch_to_mlx.components.campplus import CAMPPlus

    module = seeded_s3gen("english", 0).speaker_encoder
    return module, (torch.randn(1, 240, 80),), module.state_dict(), CAMPPlus(), lambda port, x: port(x)


def _hift() -> tuple:
    import torch
    from _chatterbox_checkpoint import seeded_s3gen  # type: ignore[import-not-found]

    from pytorch_to_mlx.components.hift import HiFT

    hift = seeded_s3gen("english", 0).mel2wav

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hift = hift

        def forward(self, mel: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
            return self.hift.decode(mel, source)

    frames = 50
    inputs = (torch.randn(1, 80, frames) - 4, 0.1 * torch.randn(1, 1, 480 * frames))
    return (
        Decoder(),
        inputs,
        hift.state_dict(),
        HiFT(),
        lambda port, m, s: port.decode(m.swapaxes(1, 2), s.swapaxes(1, 2)),
    )


def _s3_tokenizer() -> tuple:
    import torch
    from _chatterbox_checkpoint import seeded_s3gen  # type: ignore[import-not-found]

    from pytorch_to_mlx.components.s3_tokenizer import S3TokenizerV2

    tokenizer = seeded_s3gen("english", 0).tokenizer
    state = {key: value for key, value in tokenizer.state_dict().items() if key.startswith(("encoder.", "quantizer."))}

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = tokenizer.encoder

        def forward(self, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
            return self.encoder(mel, frames)[0]

    inputs = (torch.randn(1, 128, 200), torch.tensor([200]))
    port = S3TokenizerV2()
    return Encoder(), inputs, state, port, lambda port, mel, frames: port.encoder(mel.swapaxes(1, 2), frames.tolist())


def _voice_encoder() -> tuple:
    import torch
    from _chatterbox_checkpoint import seeded_voice_encoder  # type: ignore[import-not-found]

    from pytorch_to_mlx.components.voice_encoder.network import VoiceEncoder

    module = seeded_voice_encoder(0)
    return module, (torch.rand(4, 160, 40),), module.state_dict(), VoiceEncoder(), lambda port, mels: port(mels)


def _crepe(capacity: str) -> tuple:
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # torchcrepe reads files with it, nothing else
    import torch
    import torchcrepe  # type: ignore[import-not-found]

    torchcrepe.load.model("cpu", capacity)
    audio = torch.from_numpy(speech(16000, 1.0))[None]
    frames = next(torchcrepe.preprocess(audio, 16000, 160, batch_size=16))
    return torchcrepe.infer.model, (frames,)


def _perth(part: str) -> tuple:
    import torch
    from perth import PerthImplicitWatermarker  # type: ignore[import-not-found]

    network = PerthImplicitWatermarker().perth_net
    with torch.no_grad():
        magnitudes = network.ap.signal_to_magphase(torch.from_numpy(speech(32000, 3.0)))[0][None]
    return getattr(network, part), (magnitudes.clone(),)


_crepe_tiny, _crepe_full = partial(_crepe, "tiny"), partial(_crepe, "full")
_perth_encoder, _perth_decoder = partial(_perth, "encoder"), partial(_perth, "decoder")


def speech(rate: int, seconds: float) -> Any:
    """Real speech where this checkout lies beside the shared recordings, else a speech-like signal."""
    import numpy as np
    import soxr

    if SPEECH.exists():
        import soundfile

        samples, given = soundfile.read(SPEECH, dtype="float32", always_2d=True)
        return soxr.resample(samples[: int(seconds * given)].mean(axis=1), given, rate).astype(np.float32)
    import _seed  # type: ignore[import-not-found]

    return _seed.speechlike(1, seconds, rate)


if __name__ == "__main__":
    main()
