"""Seeded weights, named noise and a speech-like test signal: numpy only, loaded by path by references and by tests.

A tensor is drawn from the crc32 of its own name, so it depends on nothing but seed, name and shape: not on construction
order, framework or version. Both sides redraw it, and goldens need not store weights.
"""

import zlib
from collections.abc import Mapping

import numpy as np

Shape = tuple[int, ...]

QWEN3_CODEC_EOS = 102
"""Where the token that ends speech stands behind Qwen3-TTS's codes, of which there are 1024 fewer than tokens."""

_NORM_WORDS = ("norm", "bn", "ln", "batchnorm", "layernorm", "layer_scale", "gamma")


def generator(seed: int, name: str) -> np.random.Generator:
    """The random stream that belongs to `name` under `seed`."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def weight(name: str, shape: Shape, seed: int = 0, gain: float = 1.0) -> np.ndarray:
    """One tensor of seeded weights, float32 (int64 zeros for batch counters).

    Scaled so that a network of such tensors keeps activations of order one: matrices and convolutions
    N(0, gain / sqrt(fan in)) with fan in the product of all axes but the first, norms near 1, biases and running means
    small, running variances above 1, embeddings and codebooks N(0, 1).

    Args:
        name: the tensor's name in upstream's state dict; its last parts decide its kind.
        shape: its shape there.
        seed: another seed draws other weights.
        gain: multiplies matrices, convolutions, embeddings and norms; biases and running statistics keep their scale.
    """
    parent, _, leaf = name.lower().rpartition(".")
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    draw = generator(seed, name).standard_normal(shape)
    if leaf == "running_var":
        draw = 1 + 0.1 * np.abs(draw)
    elif leaf in ("running_mean", "alpha", "beta"):
        draw = 0.1 * draw
    elif "bias" in leaf:
        draw = 0.05 * draw
    elif leaf in ("original0", "weight_g"):
        draw = gain * (1 + 0.1 * np.abs(draw))
    elif len(shape) <= 1 or any(word in _words(parent) for word in _NORM_WORDS):
        draw = gain * (1 + 0.1 * draw)
    elif "emb" in name.lower() or "codebook" in name.lower():
        draw = gain * draw
    else:
        draw = gain * draw / np.sqrt(np.prod(shape[1:]))
    return np.ascontiguousarray(draw, np.float32)


def weights(
    shapes: Mapping[str, Shape], seed: int = 0, gains: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Seeded weights for every tensor in `shapes`; `gains` gives some of them, by full name, a gain other than 1."""
    gains = gains or {}
    if unknown := gains.keys() - shapes.keys():
        raise KeyError(f"gains for tensors that do not exist: {', '.join(sorted(unknown))}")
    return {name: weight(name, tuple(shape), seed, gains.get(name, 1.0)) for name, shape in shapes.items()}


def voice_encoder_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the LSTM voice encoder, either variant's names, for which different inputs give different embeddings.

    A power mel spectrogram is small, hence the large gain where it enters; a recurrent gain much above 1 would make the
    network chaotic, and float32 itself meaningless.
    """
    entering = {name: 20.0 if name.endswith("_l0") else 2.0 for name in shapes if name.startswith("lstm.weight_ih_")}
    return weights(shapes, seed, entering)


def crepe_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of CREPE for which the pitch moves with the input and stays between 80 and 400 Hz.

    Batch norms expect what they get, a rectified N(0, 1): left near 0 and 1, each layer would drown what differs
    between inputs in its constant part. Kernels of 64 rows over maps of 32, 16 and 8 see mostly padding, hence the
    gains. The classifier is weak and biased against every 20-cent bin outside the range.
    """
    gains = {"conv4.weight": 1.2, "conv5.weight": 1.5, "conv6.weight": 2.0, "classifier.weight": 1.5}
    drawn = weights(shapes, seed, gains)
    for name in drawn:
        if name.endswith("running_mean"):
            drawn[name] += np.float32(0.4)
        elif name.endswith("running_var"):
            drawn[name] *= np.float32(0.34)
    bias = drawn["classifier.bias"]
    hertz = 10 * 2 ** ((1997.3794084376191 + 20 * np.arange(bias.size)) / 1200)
    outside = (hertz < 85) | (hertz > 375)
    bias[outside] -= 4
    drawn["classifier.weight"][outside] /= 4
    return drawn


def hift_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the HiFT vocoder with an F0 that is voiced and moves with the spectrum, and audio of order 0.1.

    Residual branches are weak, upsampling makes up for the zeros it puts in, Snake's frequencies are positive and near
    1. The F0 predictor sees no loudness (its first kernels add up to zero over mel bands) and moves by tens of Hz.
    """
    upsampling = {"ups.0": 1.8, "ups.1": 1.5, "ups.2": 1.3}
    gains = {f"{name}.parametrizations.weight.original0": gain for name, gain in upsampling.items()}
    for name in shapes:
        if name.startswith("source_downs.") and name.endswith("weight"):
            gains[name] = 3.0
        elif name.endswith("original0"):
            if name.startswith("f0_predictor.") and "condnet.0" not in name:
                gains[name] = 2.0
            elif name.startswith("conv_pre") or ".convs2." in name:
                gains[name] = 0.4
            elif name.startswith("conv_post"):
                gains[name] = 0.6
    drawn = weights(shapes, seed, gains)
    for name in drawn:
        if name.endswith(".alpha"):
            drawn[name] = np.exp(3 * drawn[name])
        elif name.startswith("f0_predictor.condnet.") and name.endswith("bias"):
            drawn[name] *= np.float32(5)  # or they would drown among five layers of large activations
    entering = drawn["f0_predictor.condnet.0.parametrizations.weight.original1"]
    entering -= entering.mean(axis=1, keepdims=True)
    drawn["f0_predictor.classifier.weight"] *= np.float32(12)
    drawn["f0_predictor.classifier.bias"] += np.float32(180)
    drawn["conv_post.bias"][: len(drawn["conv_post.bias"]) // 2] -= np.float32(0.5)  # of the logarithms of magnitudes
    return drawn


def campplus_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of CAM++ for which frames differ from one another at its end, and recordings in their embeddings.

    A layer's average over time passes through unchanged while what varies is halved at each transit, hence the gains
    there; batch norms expect a rectified N(0, 1).
    """
    gains = {name: 1.8 for name in shapes if name.startswith("xvector.transit") and name.endswith("linear.weight")}
    drawn = weights(shapes, seed, gains)
    for name in drawn:
        if name.startswith("xvector.") and name.endswith("running_mean"):
            drawn[name] += np.float32(0.1)
        elif name.startswith("xvector.") and name.endswith("running_var"):
            drawn[name] *= np.float32(0.6)
    return drawn


def perth_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the watermarker, without windows, that change a spectrogram by some decibels and are sure of nothing.

    A residual of 1 would be 195 dB, hence the weak last layer of the encoder.
    """
    gains = {name: 10.0 if name.endswith(".6.conv.weight") else 1.4 for name in shapes if name.endswith("weight")}
    drawn = weights(shapes, seed, gains | {"encoder.layers.6.conv.weight": 0.02, "encoder.layers.6.conv.bias": 0.2})
    for name in drawn:
        if name.endswith("_layers.6.conv.bias"):
            drawn[name][1] += 0.5
    return drawn


def flow_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of the token-to-mel flow whose output depends on tokens, speaker and prompt and stays of order one.

    What is called an embedding there is a linear layer but for the table of tokens. The encoder's residual stream is
    scaled by 22 before its layers, hence their large outputs: else they would be lost in it. So would small biases of
    the convolutions be in the estimator's.
    """
    gains = {
        name: float(np.prod(shape[1:]) ** -0.5)
        for name, shape in shapes.items()
        if "embed" in name and len(shape) > 1 and not name.startswith(("input_embedding", "spk_embed"))
    }
    gains |= {n: 8.0 for n in shapes if n.startswith("encoder.") and n.endswith(("linear_out.weight", "w_2.weight"))}
    drawn = weights(shapes, seed, gains)
    for name in drawn:
        if name.endswith("block.0.bias"):
            drawn[name] *= 20
    return drawn


def s3_tokenizer_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of an S3 speech tokenizer, V1 or V2, whose tokens vary with what is said.

    It sees no loudness (its first kernels add up to zero over mel bands), residual branches are weak, and what is
    quantized is of order one, as are V1's vectors: of free lengths, the shortest would be the nearest to everything.
    """
    gains = {}
    for name, shape in shapes.items():
        if name.endswith("conv1.weight"):
            gains[name] = 3.0
        elif name.endswith(("attn.out.weight", "mlp.2.weight")):
            gains[name] = 0.5
        elif name.endswith("project_down.weight"):  # named like a codebook, but a linear layer
            gains[name] = 0.43 * shape[1] ** -0.5
        elif name.endswith("positional_embedding"):  # stronger, it would say more than the sound
            gains[name] = 0.5
    drawn = weights(shapes, seed, gains)
    drawn["encoder.conv1.weight"] -= drawn["encoder.conv1.weight"].mean(axis=1, keepdims=True)
    if (embed := drawn.get("quantizer._codebook.embed")) is not None:
        embed /= np.linalg.norm(embed, axis=1, keepdims=True)
    return drawn


def qwen3_codec_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of Qwen3-TTS's 12 Hz codec whose codes vary with what is said, and whose sound varies with the codes.

    The encoder's vectors are of one length, half that of what they are to stand for: else the shortest would be the
    nearest to everything. What is quantized is how the sound changes (the kernels of its last convolution add up to
    zero over time), not what all of it has in common. Residual branches of convolutions are weak, and the sound stays
    within -1 and 1.
    """
    gains: dict[str, float] = {}
    for name in shapes:
        if name.endswith((".conv2.conv.weight", "block.3.conv.weight")):
            gains[name] = 0.5
        elif name.endswith("decoder.6.conv.weight"):
            gains[name] = 0.1
    drawn = weights(shapes, seed, gains)
    for name, vectors in drawn.items():
        if name.endswith("downsample.conv.weight"):
            vectors -= vectors.mean(axis=2, keepdims=True)
        elif name.endswith("codebook.embed_sum"):
            lengths = 2 * np.linalg.norm(vectors, axis=1, keepdims=True) / np.float32(vectors.shape[1] ** 0.5)
            vectors *= drawn[name.replace("embed_sum", "cluster_usage")][:, None] / lengths
    return drawn


def qwen3_tts_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of Qwen3-TTS's talker, code predictor and speaker encoder, with which greedy speech does not loop.

    As T3's: queries are sharp, what layers add is weak beside the embeddings. Speech ends where it is told to,
    since the row of the token that ends it is zero. Rectified layers of the speaker encoder lose half of what passes,
    and none of all their inputs; the first sees how a spectrum differs from the mean over its bands.
    """
    gains: dict[str, float] = {}
    for name in shapes:
        stack = name.partition(".layers.")[0]
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            depth = sum(each.startswith(f"{stack}.layers.") and each.endswith("o_proj.weight") for each in shapes)
            gains[name] = min(0.5, 1.4 / depth**0.5)
        elif name.endswith(("q_norm.weight", "_head.weight")) or ".lm_head." in name:
            gains[name] = 2.0
        elif name.startswith("speaker_encoder.") and name.endswith("conv.weight"):
            gains[name] = 1.4
    drawn = weights(shapes, seed, gains)
    head = drawn["talker.codec_head.weight"]
    head[len(head) - 1024 + QWEN3_CODEC_EOS] = 0
    for name in drawn:
        if name.startswith("speaker_encoder.") and name.endswith("conv.bias"):
            drawn[name] += np.float32(0.3)
    if (entering := drawn.get("speaker_encoder.blocks.0.conv.weight")) is not None:
        entering -= entering.mean(axis=1, keepdims=True)
    return drawn


def t3_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of T3, Llama or GPT-2, with which greedy decoding goes on without loops and attention picks what it sees.

    Positions are as strong as tokens, so that each step differs from the last; queries are sharp; what layers add is
    weak beside the embeddings, the weaker the more there are, as in GPT-2's initialisation, so that 4 bits do not drown
    it. The speaker's vector has length 1: hence its gain.
    """
    depth = sum(name.endswith(("self_attn.o_proj.weight", "attn.c_proj.weight")) for name in shapes)
    branch = min(0.5, 1.4 / max(depth, 1) ** 0.5)
    gains = {"cond_enc.spkr_enc.weight": 16.0, "cond_enc.perceiver.pre_attention_query": 100.0, "tfmr.wpe.weight": 16.0}
    gains = {name: gain for name, gain in gains.items() if name in shapes}
    for name in shapes:
        if name.endswith("q_proj.weight"):
            gains[name] = 2.0
        elif name.endswith(("o_proj.weight", "down_proj.weight", "c_proj.weight")):
            gains[name] = branch
        elif name == "speech_head.weight":
            gains[name] = 2.0
    return weights(shapes, seed, gains)


class NoiseStream:
    """Random numbers drawn one array after another from a named stream; `log` lists what was drawn, in order.

    A reference puts these in place of upstream's own draws and records them, so that the other side replays the same.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._generator = generator(seed, name)
        self.log: list[tuple[str, Shape]] = []

    def normal(self, shape: Shape) -> np.ndarray:
        """N(0, 1), float32."""
        self.log.append(("normal", shape))
        return self._generator.standard_normal(shape).astype(np.float32)

    def uniform(self, shape: Shape) -> np.ndarray:
        """Uniform in [0, 1), float32."""
        self.log.append(("uniform", shape))
        return self._generator.random(shape).astype(np.float32)

    def exponential(self, shape: Shape) -> np.ndarray:
        """Exponential with rate 1, float32: what `torch.multinomial` divides probabilities by."""
        self.log.append(("exponential", shape))
        return self._generator.standard_exponential(shape).astype(np.float32)

    def triangular(self, shape: Shape, half_width: float) -> np.ndarray:
        """Triangular on [-half_width, half_width] with its peak at 0, float32."""
        self.log.append(("triangular", shape))
        return self._generator.triangular(-half_width, 0, half_width, shape).astype(np.float32)


def speechlike(seed: int, seconds: float, rate: int) -> np.ndarray:
    """A deterministic signal with what speech front ends listen for, (seconds * rate,) float32 in [-1, 1].

    Phrases of about a second, syllables at 4 Hz, pauses between phrases, F0 gliding between 85 and 375 Hz, harmonics
    under three formants, and a little breath noise throughout. Seeds differ in melody, formants and phrasing, as
    speakers do. The same seed at two rates is the same signal but for its noise.
    """
    parts = ("melody", "phrasing", "voice", "breath")
    melody, phrasing, voice, breath = (generator(seed, f"speechlike.{part}") for part in parts)
    time = np.arange(round(seconds * rate)) / rate

    anchors = np.arange(0, seconds + 0.35, 0.35)
    steps = melody.uniform(-0.3, 0.3, anchors.size)
    steps[0] = melody.uniform(np.log(100), np.log(300))
    pitch = np.exp(np.interp(time, anchors, np.clip(np.cumsum(steps), np.log(85), np.log(375))))
    phase = 2 * np.pi * np.cumsum(pitch) / rate

    formants = np.array([500, 1500, 2500]) * voice.uniform(0.8, 1.25, 3)
    widths = np.array([150, 250, 350])
    voiced = np.zeros(time.size)
    for harmonic in range(1, 60):
        frequency = harmonic * pitch
        resonance = 0.1 + np.exp(-(((frequency[:, None] - formants) / widths) ** 2)).sum(axis=1)
        audible = frequency < min(5000, 0.45 * rate)
        voiced += np.where(audible, resonance / harmonic**0.5, 0) * np.sin(harmonic * phase)

    signal = voiced / 6 * _phrases(time, phrasing) + 0.002 * breath.standard_normal(time.size)
    return np.clip(signal, -1, 1).astype(np.float32)


def _phrases(time: np.ndarray, phrasing: np.random.Generator) -> np.ndarray:
    """Loudness over time, 0 to 1: phrases with 20 ms edges, syllables at 4 Hz, pauses of 0.5 to 0.7 s."""
    loudness = np.zeros(time.size)
    start = 0.0
    while start < (time[-1] if time.size else 0.0):
        length = phrasing.uniform(0.8, 1.3)
        inside = time - start
        edges = np.clip(np.minimum(inside, length - inside) / 0.02, 0, 1)
        loudness += edges * (0.7 - 0.3 * np.cos(2 * np.pi * 4 * inside))
        start += length + phrasing.uniform(0.5, 0.7)
    return loudness


def _words(dotted: str) -> set[str]:
    """The words of the last part of a dotted name, digits removed: "encoder.conv1_BN" gives {"conv", "bn"}."""
    last = dotted.rpartition(".")[2]
    return {word.strip("0123456789") for word in last.split("_")}
