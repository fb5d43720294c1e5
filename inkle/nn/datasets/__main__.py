"""`python -m inkle.nn.datasets`: fetch the data sets, and say where they are."""

from __future__ import annotations

import logging
import sys

from inkle.errors import DataError
from inkle.nn.datasets import find_mnist


def main() -> int:
    """Fetch what is missing; return 0 if all is there."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _, where = find_mnist()
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"MNIST: complete and checked, in {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
