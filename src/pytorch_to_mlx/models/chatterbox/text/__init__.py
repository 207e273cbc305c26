"""What Chatterbox reads: text made ready as upstream makes it, then token ids."""

from pytorch_to_mlx.models.chatterbox.text.normalise import TextKind, normalise
from pytorch_to_mlx.models.chatterbox.text.tokenizers import LANGUAGES, TextTokenizer, load_tokenizer

__all__ = ["LANGUAGES", "TextKind", "TextTokenizer", "load_tokenizer", "normalise"]
