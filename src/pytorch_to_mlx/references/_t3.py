"""T3 of Chatterbox, text tokens to speech tokens, as upstream computes it: `t3/...`.

Inputs of a case: `speaker` (1, 256), `prompt` (1, P), `emotion`, `text` (N,) without start and stop tokens, and of the
first two cases `speech` (S,). Their taps are named by module paths relative to the network:

    cond_enc...                         (1, n, size)  L rows in the end; modules in their first use
    text_emb, speech_emb, ..._pos_emb   in their first use: of speech that is the prompt
    embeds                              (1, T, size)  T = L + N + 2 + S
    tfmr.layers.{i}...                  (1, T, size)  its attention, its feed-forward and itself; Turbo: tfmr.h.{i}...
    tfmr.norm                           (1, T, size)  Turbo: tfmr.ln_f
    text_head, speech_head              logits, (1, N + 2, V) and (1, S, V)

    t3/forward              upstream's teacher-forced `forward`
    t3/control              the same for few tokens; the transformer does not get the L rows of the condition, as the
                            input `apart` says: they would take most of the time

Generated tokens, n of them, with upstream's settings and, as `said`, upstream's tokens among the inputs:

    t3/greedy               with guidance, but for Turbo
    t3/greedy-unguided      not for Turbo; upstream computes two sequences of the same text, of which it uses one
    t3/sampled              its noise `t3` (n, V) is what torch.multinomial itself drew

    tokens                  (n,)        the stop token included
    scores                  (n, V)      greedy: what tokens are the largest of, 0 where the analyser has decided
    attention               (n, N + 2)  multilingual: of the newest position to the text, mean of the analyser's heads
    verdicts                (n,)        multilingual: 0 free, 1 held back from stopping, 2 made to stop

Greedy is temperature 0 and nothing left out by top_p, top_k and min_p. The multilingual model also has
`t3/alignment-...`, see _t3_alignment.py.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import _seed
import _t3_alignment
import numpy as np
import torch
from _chatterbox_checkpoint import FILES
from _recording import Recording, Taps, hooked, nearest_distance, numpy, observed, replaced
from _t3_alignment import HELD, STOPPED, verdict
from chatterbox.models.t3 import T3, llama_configs
from chatterbox.models.t3 import t3 as t3_module
from chatterbox.models.t3.inference.alignment_stream_analyzer import LLAMA_ALIGNED_HEADS, AlignmentStreamAnalyzer
from chatterbox.models.t3.modules.cond_enc import T3Cond
from chatterbox.models.t3.modules.perceiver import Perceiver
from transformers.models.llama import modeling_llama

START, STOP = 6561, 6562
SPEECH = 6561  # tokens below
EMBEDS = "embeds"

Settings = dict[str, float]
GREEDY = {"temperature": 0.0, "top_p": 1.0, "min_p": 0.0, "top_k": 0}
PENALTY = {"english": 1.2, "multilingual": 2.0, "turbo": 1.2}
SAMPLED: dict[str, Settings] = {
    "english": {"temperature": 0.8, "top_p": 1.0, "min_p": 0.05, "top_k": 0, "cfg_weight": 0.5},
    "multilingual": {"temperature": 0.8, "top_p": 1.0, "min_p": 0.05, "top_k": 0, "cfg_weight": 0.5},
    "turbo": {"temperature": 0.8, "top_p": 0.95, "min_p": 0.0, "top_k": 1000, "cfg_weight": 0.0},
}


def small_network(variant: str, seed: int = 0) -> T3:
    """Upstream's network with seeded weights and all that it has, narrower and with fewer layers."""
    config = FILES[variant].config()
    config.text_tokens_dict_size = 704 if variant == "turbo" else config.text_tokens_dict_size
    depth = 14 if variant == "multilingual" else 2  # the analyser reads layers 9, 12 and 13
    smaller = {"hidden_size": 256, "head_dim": 16, "intermediate_size": 256, "num_hidden_layers": depth}
    if variant == "turbo":
        smaller = {"hidden_size": 256, "n_embd": 256, "n_inner": 256, "n_layer": depth, "vocab_size": 8}
    name = config.llama_config_name
    with contextlib.ExitStack() as stack:
        reduced = {name: llama_configs.LLAMA_CONFIGS[name] | smaller}
        stack.enter_context(replaced(t3_module, "LLAMA_CONFIGS", lambda _: reduced))
        stack.enter_context(replaced(type(config), "n_channels", lambda _: smaller["hidden_size"]))
        stack.enter_context(replaced(Perceiver.__init__, "__defaults__", lambda _: (32, 256, 256, 4)))
        network = T3(config).eval()
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    network.load_state_dict({key: torch.from_numpy(a) for key, a in _seed.t3_weights(shapes, seed).items()})
    return network


@dataclass(frozen=True)
class Given:
    """What is said, and by whom."""

    speaker: np.ndarray
    prompt: np.ndarray
    emotion: float
    text: np.ndarray

    @classmethod
    def drawn(cls, network: T3, prompt: int, text: int, seed: int = 0) -> "Given":
        random = _seed.generator(seed, "t3")
        speaker = np.maximum(random.standard_normal((1, 256)), 0).astype(np.float32)
        return cls(
            speaker / np.linalg.norm(speaker),
            random.integers(0, SPEECH, (1, prompt)),
            0.5 + 0.1 * seed,
            random.integers(1, min(network.hp.text_tokens_dict_size, 700), text),
        )

    def condition(self, network: T3) -> T3Cond:
        dtype = network.speech_head.weight.dtype
        return T3Cond(
            speaker_emb=torch.from_numpy(self.speaker).to(dtype),
            cond_prompt_speech_tokens=torch.from_numpy(self.prompt),
            emotion_adv=torch.full((1, 1, 1), self.emotion, dtype=torch.float32).to(dtype),
        )

    def framed(self, network: T3, times: int = 1) -> torch.Tensor:
        """The text with its start and stop tokens, (times, N + 2)."""
        tokens = [network.hp.start_text_token, *self.text, network.hp.stop_text_token]
        return torch.tensor([tokens] * times)

    @property
    def inputs(self) -> Taps:
        return {"speaker": self.speaker, "prompt": self.prompt, "emotion": np.array(self.emotion), "text": self.text}


def record(recording: Recording, network: T3, *, small: bool, variant: str) -> None:
    """Adds the cases `t3/...`; `network` is `small_network(variant)` where small."""
    _record_forwards(recording, network, small)
    _record_generations(recording, network, small, variant)
    if network.hp.is_multilingual:
        _t3_alignment.record(recording)


# --- Teacher-forced ---------------------------------------------------------------------------------------------------


def _record_forwards(recording: Recording, network: T3, small: bool) -> None:
    speech = _seed.generator(0, "t3.speech").integers(0, SPEECH, 1 if small else 10)
    speech[0] = START
    given = Given.drawn(network, prompt=6, text=2) if small else Given.drawn(network, prompt=30, text=12)
    tiny = Given.drawn(network, prompt=2, text=1)
    modules = _modules(network)
    apart = [name for name in modules if name != EMBEDS]  # which would have the rows of the condition
    runs = {
        "t3/forward": (_forward, ["speech_head"] if small else modules, given, speech),
        "t3/control": (_without_condition, apart, tiny, speech[:1]),
    }
    taps = {case: _tapped(network, *run) for case, run in runs.items()}
    with _exactly(network):
        exact = {case: _tapped(network, *run) for case, run in runs.items()}

    other = Given.drawn(network, prompt=given.prompt.size, text=given.text.size, seed=1)
    changed = [given, *(replace(given, **{field: value}) for field, value in vars(other).items())]
    if network.is_gpt:
        changed = [each for each in changed if each.emotion == given.emotion]
    logits = [_tapped(network, _forward, ["speech_head"], each, speech)["speech_head"][0, -1] for each in changed]
    alive = {"t3/forward": {"nearest_logits": nearest_distance(logits)}, "t3/control": {}}

    for case, (run, _, inputs, tokens) in runs.items():
        if small and case == "t3/control":
            taps[case] = {name: tap for name, tap in taps[case].items() if _tells_most(name)}
        recording.add(
            case,
            inputs=inputs.inputs | {"speech": tokens, "apart": np.array(run is _without_condition)},
            taps=taps[case],
            exact=exact[case],
            alive=alive[case],
        )


def _tells_most(name: str) -> bool:
    """Whether no later tap of the small cases tells the same. A bias of keys changes nothing but the keys."""
    if name.startswith("cond_enc."):
        return name == "cond_enc.perceiver.attn.to_k"
    return not name.endswith((".self_attn", ".attn", ".mlp", "speech_head"))


def _modules(network: T3) -> list[str]:
    """The modules whose outputs are taps."""
    around = ("cond_enc", "text_emb", "speech_emb", "text_pos_emb", "speech_pos_emb", "text_head", "speech_head")
    names = [name for name, _ in network.named_modules() if name.partition(".")[0] in around]
    layers = "tfmr.h" if network.is_gpt else "tfmr.layers"
    names = [name for name in names if not name.endswith((".emb", ".attention", ".dropout"))]
    for index in range(len(network.get_submodule(layers))):
        attention = "attn" if network.is_gpt else "self_attn"
        names += [f"{layers}.{index}.{attention}", f"{layers}.{index}.mlp", f"{layers}.{index}"]
    return [*names, EMBEDS, "tfmr.ln_f" if network.is_gpt else "tfmr.norm"]


def _tapped(network: T3, run: Callable[..., None], names: list[str], given: Given, speech: np.ndarray) -> Taps:
    """Outputs of named modules in `run`, each in its first use, in order."""
    seen: Taps = {}

    def keep(name: str, output: Any) -> None:
        if name not in seen:
            seen[name] = numpy(output[0] if isinstance(output, tuple) else output)

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for name in names:
            if name == EMBEDS:
                stack.enter_context(observed(network, "prepare_input_embeds", functools.partial(keep, name)))
            else:
                stack.enter_context(hooked(network.get_submodule(name), functools.partial(keep, name)))
        run(network, given, torch.from_numpy(speech)[None])
    return seen


def _forward(network: T3, given: Given, speech: torch.Tensor) -> None:
    text = given.framed(network)
    lengths = {"text_token_lens": torch.tensor([text.size(1)]), "speech_token_lens": torch.tensor([speech.size(1)])}
    network(t3_cond=given.condition(network), text_tokens=text, speech_tokens=speech, **lengths)


def _without_condition(network: T3, given: Given, speech: torch.Tensor) -> None:
    text = given.framed(network)
    embeds, start = network.prepare_input_embeds(
        t3_cond=given.condition(network), text_tokens=text, speech_tokens=speech
    )
    hidden = network.tfmr(inputs_embeds=embeds[:, start:]).last_hidden_state
    network.text_head(hidden[:, : text.size(1)])
    network.speech_head(hidden[:, text.size(1) :])


@contextlib.contextmanager
def _exactly(network: T3) -> Iterator[None]:
    """Within the block, the network computes in float64, but for rotary angles, which upstream rounds to float32."""
    network.double()  # a copy beside it would take another 4 GB
    wide = types.SimpleNamespace(**vars(torch) | {"float32": torch.float64})  # of norms and softmax, always
    with replaced(modeling_llama, "torch", lambda _: wide):
        yield
    network.float()


# --- Generated --------------------------------------------------------------------------------------------------------


def _record_generations(recording: Recording, network: T3, small: bool, variant: str) -> None:
    hp = network.hp
    given = Given.drawn(network, prompt=6 if small else hp.speech_cond_prompt_len, text=12 if small else 60)
    penalty = {"repetition_penalty": PENALTY[variant]}
    guided, steps = {"cfg_weight": SAMPLED[variant]["cfg_weight"]}, 16 if small else 200
    plans = {"t3/greedy": (GREEDY | penalty | guided, steps)}
    if guided["cfg_weight"]:
        plans["t3/greedy-unguided"] = (GREEDY | penalty | {"cfg_weight": 0.0}, steps)
    plans["t3/sampled"] = (SAMPLED[variant] | penalty, 2 if small else 40)

    made = {case: _generated(network, given, *plan) for case, plan in plans.items()}
    with _exactly(network):
        exact = {case: _replayed(network, given, settings, made[case][0]) for case, (settings, _) in plans.items()}
    for case, (settings, _) in plans.items():
        taps, noise = made[case]
        alive = {"distinct_share": len(np.unique(taps["tokens"])) / len(taps["tokens"])}
        if "scores" in taps:
            second, first = np.partition(taps["scores"], -2)[:, -2:].T
            alive["least_gap"] = (first - second).min()
        if small:  # the largest, by which ties are told
            taps.pop("scores", None)
        inputs = given.inputs | {name: np.array(value) for name, value in settings.items()} | {"said": taps["tokens"]}
        recording.add(case, inputs=inputs, noise=noise, taps=taps, exact=exact[case], alive=alive)


@torch.inference_mode()
def _generated(network: T3, given: Given, settings: Settings, steps: int) -> tuple[Taps, Taps]:
    """Upstream's own generation: taps, and what torch.multinomial drew."""
    tokens: list[int] = []
    kept: dict[str, list[np.ndarray]] = {}
    draws: list[np.ndarray] = []
    greedy = settings["temperature"] == 0

    def keep(name: str, value: Any) -> None:
        kept.setdefault(name, []).append(np.asarray(value))

    def choosing(multinomial: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def choose(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
            if greedy:
                token = probabilities.argmax(dim=-1, keepdim=True)
            else:
                before = torch.get_rng_state()
                draw = torch.empty_like(probabilities).exponential_()
                torch.set_rng_state(before)
                token = multinomial(probabilities, num_samples=num_samples)
                if token != (probabilities / draw).argmax():
                    raise SystemExit("torch.multinomial drew otherwise than replayed")
                draws.append(numpy(draw[0]))
            tokens.append(int(token))
            return token

        return choose

    def watching(step: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def watch(analyser: AlignmentStreamAnalyzer, logits: torch.Tensor, next_token: int) -> torch.Tensor:
            begin, end = analyser.text_tokens_slice
            keep("attention", torch.stack(analyser.last_aligned_attns).mean(dim=0)[-1, begin:end])
            judged = step(analyser, logits, next_token=next_token)
            keep("verdicts", verdict(judged, STOP))
            return judged

        return watch

    penalty = t3_module.RepetitionPenaltyLogitsProcessor
    torch.manual_seed(0)
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(replaced(torch, "multinomial", choosing))
        enter(replaced(AlignmentStreamAnalyzer, "step", watching))
        if greedy:
            enter(observed(penalty, "__call__", lambda out, *_: keep("scores", numpy(out[0]))))
        shared = {name: settings[name] for name in ("top_p", "repetition_penalty")}
        if network.is_gpt:
            network.inference_turbo(
                given.condition(network),
                torch.from_numpy(given.text)[None],
                temperature=settings["temperature"],
                top_k=int(settings["top_k"]),
                max_gen_len=steps - 1,
                **shared,
            )
        else:
            network.inference(
                t3_cond=given.condition(network),
                text_tokens=given.framed(network, times=2),
                temperature=settings["temperature"] or 1.0,
                min_p=settings["min_p"],
                cfg_weight=settings["cfg_weight"],
                max_new_tokens=steps,
                **shared,
            )
            for layer in network.tfmr.layers:  # of analysers, which upstream leaves there
                layer.self_attn._forward_hooks.clear()
    taps = {"tokens": np.array(tokens)} | {name: np.stack(values) for name, values in kept.items()}
    if "verdicts" in taps and "scores" in taps:
        _without_verdicts(taps["scores"], taps["verdicts"])
    return taps, {"t3": np.stack(draws)} if draws else {}


@torch.inference_mode()
def _replayed(network: T3, given: Given, settings: Settings, taps: Taps) -> Taps:
    """Scores and attention of generated tokens, all in one pass."""
    history = [START, *taps["tokens"][:-1]]
    guidance = settings["cfg_weight"]
    text = torch.from_numpy(given.text)[None] if network.is_gpt else given.framed(network, times=2)
    start = torch.full((len(text), 1), START)
    embeds, condition = network.prepare_input_embeds(
        t3_cond=given.condition(network), text_tokens=text, speech_tokens=start, cfg_weight=guidance
    )
    said = network.speech_emb(torch.tensor([history]))
    if network.is_gpt:
        said = said[:, 1:]
    else:
        said = said + network.speech_pos_emb.get_fixed_embedding(torch.arange(len(history)))
    maps: dict[int, np.ndarray] = {}
    with contextlib.ExitStack() as stack:
        if "attention" in taps:
            for index, head in LLAMA_ALIGNED_HEADS:
                attention = network.tfmr.layers[index].self_attn
                stack.enter_context(
                    hooked(attention, lambda out, index=index, head=head: maps.update({index: numpy(out[1][0, head])}))
                )
        hidden = network.tfmr(
            inputs_embeds=torch.cat([embeds, said.expand(len(text), -1, -1)], dim=1)
        ).last_hidden_state
    logits = network.speech_head(hidden[:, -len(history) :])
    logits = logits[0] if network.is_gpt else logits[0] + guidance * (logits[0] - logits[1])
    exact: Taps = {}
    if maps:
        text_columns = slice(condition, condition + text.size(1))
        exact["attention"] = np.mean([each[-len(history) :, text_columns] for each in maps.values()], axis=0)
    if "scores" in taps:
        penalise = t3_module.RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"])
        seen = [history[1 if network.is_gpt and step else 0 : step + 1] for step in range(len(history))]
        exact["scores"] = np.stack(
            [numpy(penalise(torch.tensor([ids]), row[None])[0]) for ids, row in zip(seen, logits, strict=True)]
        )
        if "verdicts" in taps:
            _without_verdicts(exact["scores"], taps["verdicts"])
    return exact


def _without_verdicts(scores: np.ndarray, verdicts: np.ndarray) -> None:
    scores[verdicts == HELD, STOP] = 0
    scores[verdicts == STOPPED] = 0
