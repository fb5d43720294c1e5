"""`python -m inkle`."""

import sys

from inkle.cli import main

sys.exit(main())
