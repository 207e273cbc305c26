"""How Qwen3-TTS chooses its codes: the first of each frame, and the others (the "subtalker's")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pytorch_to_mlx.decoding import Processor, RepetitionPenalty, Temperature, TopK, TopP
from pytorch_to_mlx.errors import UsageError


@dataclass(frozen=True)
class SamplingSettings:
    """Upstream's settings and its defaults.

    Attributes:
        temperature: what logits are divided by; 0 takes the most likely code.
        top_k: this many of the most likely codes stay; 0 for all.
        top_p: the most likely codes that together reach this probability stay.
        repetition_penalty: makes first codes that were said less likely.
        subtalker_temperature, subtalker_top_k, subtalker_top_p: the same for the other codes of a frame.
    """

    temperature: float = 0.9
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.05
    subtalker_temperature: float = 0.9
    subtalker_top_k: int = 50
    subtalker_top_p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("temperature", "subtalker_temperature", "top_k", "subtalker_top_k"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} {getattr(self, name):g} must be 0 or more")
        for name in ("top_p", "subtalker_top_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name):g} must be between 0 and 1")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(f"repetition_penalty {self.repetition_penalty:g} must be above 0")

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> SamplingSettings:
        """Of generation_config.json. Raises `ValueError` for a value that cannot be."""
        given = {field.name: told[field.name] for field in fields(cls) if told.get(field.name) is not None}
        for flag, name in (("do_sample", "temperature"), ("subtalker_dosample", "subtalker_temperature")):
            if told.get(flag) is False:
                given[name] = 0.0
        return cls(**given)

    def changed(self, settings: Mapping[str, float]) -> SamplingSettings:
        """These settings, some of them changed.

        Raises:
            UsageError: a setting that there is not, or a value that it cannot have.
        """
        known = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        if unknown := settings.keys() - known:
            raise UsageError(f"{min(unknown)} is not a setting of this model; it has {', '.join(sorted(known))}")
        try:
            return SamplingSettings(**{**vars(self), **{name: known[name](value) for name, value in settings.items()}})
        except ValueError as error:
            raise UsageError(str(error)) from error

    @property
    def talker_processors(self) -> list[Processor]:
        """What changes the logits of first codes, in the order of transformers' `generate`."""
        penalty = RepetitionPenalty(self.repetition_penalty)
        warpers = _warpers(self.temperature, self.top_k, self.top_p)
        return [penalty, *warpers] if penalty.penalty != 1 else warpers

    @property
    def subtalker_processors(self) -> list[Processor]:
        """What changes the logits of the other codes."""
        return _warpers(self.subtalker_temperature, self.subtalker_top_k, self.subtalker_top_p)


def _warpers(temperature: float, top_k: int, top_p: float) -> list[Processor]:
    """Nothing where the most likely is taken."""
    if not temperature:
        return []
    warpers: list[Processor] = [Temperature(temperature)] if temperature != 1 else []
    warpers += [TopK(top_k)] if top_k else []
    return warpers + ([TopP(top_p)] if top_p < 1 else [])
