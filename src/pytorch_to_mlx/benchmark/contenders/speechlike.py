"""A recording like speech, with the references' folder on the path.

python speechlike.py FILE SECONDS RATE
"""

import sys

import _seed  # type: ignore[import-not-found]
import soundfile

file, seconds, rate = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
soundfile.write(file, _seed.speechlike(3, seconds, rate), rate, "FLOAT")
