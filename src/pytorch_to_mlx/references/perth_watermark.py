"""The Perth watermarker as resemble-perth 1.0.1 computes it; `_perth.py` lists the taps."""

import tempfile
from pathlib import Path

import _seed
import torch
from _perth import record
from _recording import Case, Recording, arguments
from perth.perth_net.perth_net_implicit.config import default_hp
from perth.perth_net.perth_net_implicit.model.perth_net import PerthNet

PACKAGES = ("resemble-perth", "torch", "torchaudio", "librosa", "soxr", "scipy", "numpy")
COMPUTED = ("ap.spectrogram.window", "ap.inv_spectrogram.window", "ap.stretch.phase_advance")


def load(checkpoint: Path) -> PerthNet:
    """PerthNet.from_cm for a file of any place; the defaults are the settings that the package ships with it."""
    network = PerthNet(default_hp)
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["model"])
    return network.eval()


def export(seed: int, path: Path) -> None:
    """Writes a seeded checkpoint in upstream's format."""
    state = PerthNet(default_hp).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if name not in COMPUTED}
    drawn = {name: torch.from_numpy(array) for name, array in _seed.perth_weights(shapes, seed).items()}
    torch.save({"model": state | drawn, "step": 0}, path)


def main() -> None:
    args = arguments(__doc__, ["implicit"])
    if args.verb == "export":
        return export(args.seed, args.out)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.checkpoint
        if checkpoint is None:
            checkpoint = Path(folder) / "perth_net_000000.pth.tar"
            export(args.seed, checkpoint)
        recording = Recording("perth", args.variant, checkpoint, PACKAGES, args.seed)
        audio = [Case.read(path, args.seconds) for path in args.audio]
        record(recording, load(checkpoint), small=args.small, audio=audio)
    if args.small:
        recording.shrink()
    recording.save(args.out)


if __name__ == "__main__":
    main()
