"""OpenAI's file of Whisper as transformers 4.57.3 would save it: `whisper_transformers.py FILE FOLDER`.

transformers' class takes the renamed tensors strictly, and must give the logits that openai-whisper gives.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import whisper
from _whisper_names import renamed
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

NEAR = 1e-4


def made(model: Any) -> WhisperForConditionalGeneration:
    """transformers' model of the same weights."""
    dims = model.dims
    config = WhisperConfig(
        vocab_size=dims.n_vocab,
        num_mel_bins=dims.n_mels,
        d_model=dims.n_audio_state,
        encoder_layers=dims.n_audio_layer,
        encoder_attention_heads=dims.n_audio_head,
        encoder_ffn_dim=4 * dims.n_audio_state,
        decoder_layers=dims.n_text_layer,
        decoder_attention_heads=dims.n_text_head,
        decoder_ffn_dim=4 * dims.n_text_state,
        max_source_positions=dims.n_audio_ctx,
        max_target_positions=dims.n_text_ctx,
    )
    state = {renamed(name): tensor for name, tensor in model.state_dict().items()}
    network = WhisperForConditionalGeneration(config).eval()
    network.load_state_dict(state | {"proj_out.weight": state["model.decoder.embed_tokens.weight"]})
    return network


def main() -> None:
    source, folder = map(Path, sys.argv[1:])
    model = whisper.load_model(str(source), device="cpu").float().eval()
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS[source.stem])
    network = made(model)
    mel = torch.linspace(-1, 1, 3000).sin().repeat(1, model.dims.n_mels, 1)
    tokens = torch.arange(50, 60)[None]
    with torch.inference_mode():
        theirs, own = network(mel, decoder_input_ids=tokens).logits, model(mel, tokens)
    if float((theirs - own).abs().max() / own.abs().max()) > NEAR:
        raise SystemExit("transformers' logits are not openai-whisper's")
    heads = [[int(i), int(j)] for i, j in model.alignment_heads.indices().T]
    network.generation_config = GenerationConfig(alignment_heads=heads)
    network.half().save_pretrained(folder)


if __name__ == "__main__":
    main()
