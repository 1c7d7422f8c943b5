"""``python -m ragopt``."""

from ragopt.cli import main

main()
