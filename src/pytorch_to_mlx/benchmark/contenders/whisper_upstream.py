"""Upstream's PyTorch code as a contender at Whisper, in the environment of its reference.

    python whisper_upstream.py convert CHECKPOINT FOLDER DTYPE

writes the files that mlx-whisper would be given, as its own converter writes them.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import whisper  # type: ignore  # in its own environment
from on_torch import TorchContender
from serving import Setting, Stopwatch, serve
from whisper_serving import WhisperContender, endless, read, spectrum, states


class Upstream(TorchContender, WhisperContender):
    def __init__(self, setting: Setting, watch: Stopwatch) -> None:
        super().__init__(setting, watch)
        self.model = loaded(Path(setting.model))
        self.dims = self.model.dims
        watch.watch(self.model.encoder, "forward", "encoder")
        self._forward = self.model.decoder.forward
        self.model.decoder.forward = self._timed

    def _timed(self, tokens: Any, *rest: Any, **named: Any) -> Any:
        generates = named.get("kv_cache") is not None
        if generates and tokens.shape[1] > 1:
            self.watch.begin_tokens()
        elif generates:
            self.watch.tick()  # the token that is read now was drawn just before
        return self._forward(tokens, *rest, **named)

    def transcribe(self, path: str) -> str:
        options = {**self.setting.options}
        if "temperature" in options:
            options["temperature"] = tuple(options["temperature"])
        return self.model.transcribe(read(path), fp16=False, **options)["text"]

    @torch.inference_mode()
    def encode(self) -> int:
        mel = torch.from_numpy(spectrum(self.dims.n_mels)).transpose(1, 2)
        return self.model.encoder(mel).shape[1]

    def decode(self, tokens: int, beams: int) -> int:
        end = whisper.tokenizer.get_tokenizer(
            self.model.is_multilingual, num_languages=self.model.num_languages, language="en", task="transcribe"
        ).eot
        options = whisper.DecodingOptions(fp16=False, **endless(end, tokens, beams))
        (found,) = self.model.decode(torch.from_numpy(states(self.dims.n_audio_state)), options)
        return len(found.tokens)


def loaded(checkpoint: Path) -> Any:
    """The model of OpenAI's file, or of a folder in transformers' layout, as the reference reads it."""
    if not checkpoint.is_dir():
        return whisper.load_model(str(checkpoint), device="cpu").float().eval()
    sys.path.append(str(Path(__file__).parents[2] / "references"))
    from _whisper_folder import load  # type: ignore

    return load(checkpoint)


def convert(checkpoint: Path, folder: Path, dtype: str) -> None:
    """The files of mlx-whisper's form: its names, convolutions with the channels last, and no table of sinusoids."""
    from safetensors.torch import save_file

    folder.mkdir()
    model = loaded(checkpoint).to(getattr(torch, dtype))
    tensors: dict[str, Any] = {}
    for name, tensor in model.state_dict().items():
        if name == "encoder.positional_embedding":
            continue
        turned = tensor.transpose(1, 2) if name.startswith("encoder.conv") and tensor.ndim == 3 else tensor
        tensors[name.replace("mlp.0", "mlp1").replace("mlp.2", "mlp2")] = turned.contiguous()
    tensors["alignment_heads"] = model.alignment_heads.indices().T.contiguous()
    save_file(tensors, folder / "weights.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "whisper", **vars(model.dims)}))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    if sys.argv[1:2] == ["convert"]:
        convert(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        serve(Upstream)
