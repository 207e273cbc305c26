"""The S3 speech tokenizer: V1 at 50 and 25 tokens a second, V2 at 25."""

from pytorch_to_mlx.components.s3_tokenizer.network import S3Tokenizer, S3TokenizerConfig, S3TokenizerV2, Tokens
from pytorch_to_mlx.components.s3_tokenizer.tokenizing import S3TokenizerModel, tokenize

__all__ = ["S3Tokenizer", "S3TokenizerConfig", "S3TokenizerModel", "S3TokenizerV2", "Tokens", "tokenize"]
