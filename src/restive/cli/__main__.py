"""``python -m restive.cli``: the same as ``restive``."""

from . import main

main()
