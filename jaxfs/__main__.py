"""The daemon, ``python -m jaxfs '<json>'``.  People use ``mountctl mount``."""

import sys

from jaxfs.front.main import main

sys.exit(main(sys.argv[1]))
