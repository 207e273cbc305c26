"""Chatterbox's token-to-mel flow (chatterbox/models/s3gen/flow.py): what is recorded of it.

Cases: `flow/short`, a whole inference with every block of its first step; `flow/last`, the estimator's last step from
upstream's own state; `flow/control`, one step for few tokens. Upstream cannot run with `finalize=False`: it shortens
the frames and not their mask.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

import _seed
import numpy as np
import torch
from _recording import Recording, Taps, default_dtype, hooked, numpy, replaced

MELS = 80
STEPS = 10
MEANFLOW_STEPS = 2
CONTROL_TIMES = (0.3, 0.45)
# Outputs of which a recording that is to stay small has room.
SMALL = ("encoder_proj", "decoder.estimator.final_proj", "state.*", "mel")


def record(recording: Recording, network: torch.nn.Module, *, small: bool) -> None:
    """Adds the cases of a flow, standard or meanflow, float32 and in evaluation mode."""
    double = copy.deepcopy(network).double()
    meanflow = network.decoder.estimator.meanflow
    prompt, tokens = (4, 4) if small else (12, 20)

    inputs = _inputs(prompt, tokens)
    z = _noise("short", inputs)
    taps = infer(network, inputs, z)
    recording.add(
        "flow/short",
        inputs=inputs,
        noise={"z": z},
        taps=_kept(taps, small),
        exact=infer(double, inputs, z),
        alive={},
    )

    inputs = inputs | {"times": _last_times(meanflow)}
    state = _channels_last(taps[f"state.{(MEANFLOW_STEPS if meanflow else STEPS) - 1}"])
    recording.add(
        "flow/last",
        inputs=inputs,
        noise={"z": state},
        taps=_kept(solve(network, inputs, state), small),
        exact=solve(double, inputs, state),
        alive={},
    )

    inputs = _inputs(4, 4) | {"times": np.float32(CONTROL_TIMES)}
    z = _noise("control", inputs)
    taps = solve(network, inputs, z)
    recording.add(
        "flow/control",
        inputs=inputs,
        noise={"z": z},
        taps=_kept(taps, small),
        exact=solve(double, inputs, z),
        alive=_changes(network, inputs, z, taps["state.1"]),
    )


def infer(network: torch.nn.Module, inputs: Taps, z: np.ndarray) -> Taps:
    """Taps of upstream's inference with `z` in place of its noise."""
    estimator = network.decoder.estimator
    states: list[np.ndarray] = []

    def watching(forward):
        def call(*args, **kwargs):
            states.append(numpy(kwargs["x"][:1] if "x" in kwargs else args[0]))  # upstream writes into it again
            return forward(*args, **kwargs)

        return call

    steps = MEANFLOW_STEPS if estimator.meanflow else STEPS
    given = _given(network, inputs)
    # Upstream draws meanflow's noise for the generated part first and then overwrites that part: the result is given.
    with _computing(network, z) as taps, replaced(estimator, "forward", watching):
        mel, _ = network.inference(
            token=given["tokens"],
            token_len=torch.tensor([given["tokens"].shape[1]]),
            prompt_token=given["prompt_tokens"],
            prompt_token_len=torch.tensor([given["prompt_tokens"].shape[1]]),
            prompt_feat=given["prompt_mel"],
            prompt_feat_len=None,
            embedding=given["embedding"],
            finalize=True,
            n_timesteps=steps,
            meanflow=estimator.meanflow,
        )
    taps |= {f"state.{step}": state for step, state in enumerate(states) if step}
    return taps | {"mel": numpy(mel)}


def solve(network: torch.nn.Module, inputs: Taps, z: np.ndarray) -> Taps:
    """Taps of upstream's encoder and solver between given times, from the state `z` at the first."""
    given = _given(network, inputs)
    embed = network.spk_embed_affine_layer
    with _computing(network, z) as taps:
        tokens = torch.cat([given["prompt_tokens"], given["tokens"]], dim=1)
        embedded, _ = network.encoder(network.input_embedding(tokens), torch.tensor([tokens.shape[1]]))
        mu = network.encoder_proj(embedded).transpose(1, 2).contiguous()
        speaker = embed(torch.nn.functional.normalize(given["embedding"], dim=1))
        cond = torch.zeros_like(mu)
        cond[..., : given["prompt_mel"].shape[1]] = given["prompt_mel"].transpose(1, 2)
        euler = network.decoder.basic_euler if network.decoder.estimator.meanflow else network.decoder.solve_euler
        times = torch.from_numpy(inputs["times"]).to(mu.dtype)
        state = euler(
            torch.from_numpy(z).to(mu.dtype).transpose(1, 2),
            t_span=times,
            mu=mu,
            mask=torch.ones_like(mu[:, :1]),
            spks=speaker,
            cond=cond,
        )
    return taps | {"state.1": numpy(state)}


@contextlib.contextmanager
def _computing(network: torch.nn.Module, z: np.ndarray) -> Iterator[Taps]:
    """Within the block, upstream draws `z`, and the first outputs of its blocks are collected."""
    from chatterbox.models.s3gen import decoder, flow_matching

    taps: Taps = {}
    dtype = network.encoder_proj.weight.dtype

    def keep(name):
        def observe(output):
            if name not in taps:
                taps[name] = numpy(output[0] if isinstance(output, tuple) else output)

        return observe

    def draw(_original):
        return lambda like: torch.from_numpy(z).to(like.dtype).transpose(1, 2).contiguous()

    def biased(original):  # upstream's refuses float64, and all its masks are ones
        return lambda mask, _dtype: original(mask, torch.float32).to(dtype)

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(default_dtype(dtype))
        stack.enter_context(contextlib.redirect_stdout(None))
        stack.enter_context(replaced(torch, "randn_like", draw))
        stack.enter_context(replaced(decoder, "mask_to_bias", biased))
        stack.enter_context(replaced(flow_matching, "tqdm", lambda _original: lambda steps, total: steps))
        for name, module in tapped(network).items():
            stack.enter_context(hooked(module, keep(name)))
        yield taps


def tapped(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The modules whose first outputs are recorded, in the order of execution."""
    encoder, estimator = network.encoder, network.decoder.estimator
    modules = [network.spk_embed_affine_layer, encoder.embed, encoder.pre_lookahead_layer, *encoder.encoders]
    modules += [encoder.up_layer, encoder.up_embed, *encoder.up_encoders, encoder, network.encoder_proj]
    for blocks in (estimator.down_blocks, estimator.mid_blocks, estimator.up_blocks):
        for block in blocks:
            modules += [block[0], *block[1], *block[2:]]
    modules += [estimator.final_block, estimator.final_proj]
    names = {module: name for name, module in network.named_modules()}
    return {names[module]: module for module in modules}


def _inputs(prompt: int, tokens: int) -> Taps:
    draw = _seed.generator(0, "flow.inputs")
    return {
        "tokens": draw.integers(0, 6561, (1, tokens)),
        "prompt_tokens": draw.integers(0, 6561, (1, prompt)),
        "prompt_mel": draw.standard_normal((1, 2 * prompt, MELS), np.float32) - np.float32(2),
        "embedding": draw.standard_normal((1, 192), np.float32),
    }


def _noise(name: str, inputs: Taps) -> np.ndarray:
    frames = 2 * (inputs["prompt_tokens"].shape[1] + inputs["tokens"].shape[1])
    return _seed.NoiseStream(0, f"flow.{name}").normal((1, frames, MELS))


def _last_times(meanflow: bool) -> np.ndarray:
    times = torch.linspace(0, 1, (MEANFLOW_STEPS if meanflow else STEPS) + 1)
    return numpy(times if meanflow else 1 - torch.cos(times * 0.5 * torch.pi))[-2:]


def _given(network: torch.nn.Module, inputs: Taps) -> dict[str, torch.Tensor]:
    dtype = network.encoder_proj.weight.dtype
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items() if array.ndim > 1}
    return {name: each.to(dtype) if each.is_floating_point() else each for name, each in tensors.items()}


def _channels_last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 1))


def _kept(taps: Taps, small: bool) -> Taps:
    return {n: t for n, t in taps.items() if not small or any(fnmatchcase(n, pattern) for pattern in SMALL)}


def _changes(network: torch.nn.Module, inputs: Taps, z: np.ndarray, state: np.ndarray) -> Mapping[str, float]:
    """How far the state ends from where it does, as a part of its way, when one of the inputs is another."""
    way = np.linalg.norm(state - z.transpose(0, 2, 1))
    others = {
        "tokens": (inputs["tokens"] + 1) % 6561,
        "prompt_tokens": (inputs["prompt_tokens"] + 1) % 6561,
        "prompt_mel": inputs["prompt_mel"][:, ::-1].copy(),
        "embedding": inputs["embedding"][:, ::-1].copy(),
    }
    moved = {name: solve(network, inputs | {name: other}, z)["state.1"] - state for name, other in others.items()}
    return {name: float(np.linalg.norm(each) / way) for name, each in moved.items()}
