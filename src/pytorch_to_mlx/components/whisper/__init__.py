"""Whisper's spectrum and encoder, which speech tokenizers share with it."""
