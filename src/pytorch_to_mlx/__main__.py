"""`python -m pytorch_to_mlx`."""

from pytorch_to_mlx.cli import main

main()
