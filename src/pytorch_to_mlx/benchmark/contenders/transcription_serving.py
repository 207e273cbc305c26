"""What contenders that transcribe share."""

from __future__ import annotations

from abc import abstractmethod

from serving import Contender


class TranscriptionContender(Contender):
    """One implementation of a model that writes down what is said.

    It times the encoder as the span "encoder", begins tokens where the decoder is about to read a prompt, and ticks for
    each token.
    """

    @abstractmethod
    def transcribe(self, path: str) -> str:
        """What the recording says."""
