"""OpenAI's file of Whisper as transformers 4.57.3 converts and saves it: `whisper_transformers.py FILE FOLDER`."""

import sys
from pathlib import Path

from transformers.models.whisper.convert_openai_to_hf import convert_openai_whisper_to_tfms


def main() -> None:
    source, folder = map(Path, sys.argv[1:])
    made = convert_openai_whisper_to_tfms(str(source), str(folder))
    model = made[0] if isinstance(made, tuple) else made
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
