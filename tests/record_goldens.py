"""Record tests/goldens from upstream (`make goldens`): small cases, seeded weights, each variant."""

from pathlib import Path

from pytorch_to_mlx import environments, registry

GOLDENS = Path(__file__).parent / "goldens"
NETWORKS = {
    ("chatterbox", "english"): ("campplus", "t3", "flow", "hift"),
    ("chatterbox", "turbo"): ("t3", "flow"),
    ("chatterbox", "multilingual"): ("t3",),
}
"""Of models of many networks those that no other port or variant has, a recording for each."""
ELSEWHERE = {("qwen3_tts", "1.7b-base"), ("qwen3_tts", "0.6b-custom-voice"), ("kokoro", "v1.1-zh")}
ELSEWHERE |= {("whisper", variant) for variant in registry.get("whisper").variants if variant != "tiny"}
"""What they consist of is in the recordings of the other variants."""


def goldens() -> dict[str, tuple[str, str, str]]:
    """Port, variant and network ("" where it is all) by the name of the recording."""
    names = [(entry.name, variant) for entry in registry.ENTRIES for variant in entry.variants]
    names = [key for key in names if key not in ELSEWHERE]
    each = [(port, variant, network) for port, variant in names for network in NETWORKS.get((port, variant), ("",))]
    return {"-".join(filter(None, key)): key for key in each}


def main() -> None:
    """Write each recording."""
    for name, (port, variant, network) in goldens().items():
        script = registry.get(port).reference.script
        path = GOLDENS / f"{name}.safetensors"
        parts = ["--parts", network] if network else []
        arguments = ["run", "--variant", variant, "--seed", "0", "--small", *parts, "--out", str(path)]
        environments.run_script(script, arguments)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
