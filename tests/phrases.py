"""Words that are said one after the other."""

from __future__ import annotations

from pytorch_to_mlx.tasks import Word


def phrase(text: str, start: float = 0.0, length: float = 0.5) -> list[Word]:
    """Words one after the other, each as long."""
    return [
        Word(f" {word}", start + length * place, start + length * (place + 1), 1.0)
        for place, word in enumerate(text.split())
    ]
