"""``python -m mountctl``, where the console script is not on the path."""

from mountctl.cli import main

main()
