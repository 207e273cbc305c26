"""Record tests/goldens from upstream (`make goldens`): small cases, seeded weights, each variant."""

from pathlib import Path

from pytorch_to_mlx import environments, registry

GOLDENS = Path(__file__).parent / "goldens"


def main() -> None:
    """Write one recording for each variant of each port."""
    for entry in registry.ENTRIES:
        script = entry.load().reference.script
        environment = environments.of_script(script)
        environments.install(environment)
        for variant in entry.variants:
            path = GOLDENS / f"{entry.name}-{variant}.safetensors"
            arguments = ["run", "--variant", variant, "--seed", "0", "--small", "--out", str(path)]
            environments.run(environment, script, arguments)
            print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
