"""Say which digit is on a picture, with the weights that mnist.py has trained.

    python examples/classify_digit.py digit.png
    python examples/classify_digit.py digit.png --weights build/mnist/mnist.safetensors

Dark on light or light on dark, any size and place, PNG, JPEG, ...: see digit_image.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from digit_image import read_digit
from mnist_network import build_network, score_digits

from inkle import Tensor, nn
from inkle.errors import DataError, InkleError

BAR = 40  # characters of a probability of 1


def main() -> None:
    """Read the command line, classify, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("picture", type=Path, help="picture file of one digit")
    parser.add_argument("--weights", type=Path, default=Path("build/mnist/mnist.safetensors"))
    options = parser.parse_args()
    probabilities = classify(options.picture, options.weights)
    sys.stdout.reconfigure(errors="replace")  # bars in a terminal that has none are question marks
    best = max(range(10), key=probabilities.__getitem__)
    for digit, probability in enumerate(probabilities):
        bar = "█" * round(BAR * probability)
        print(f"{digit}  {probability:6.1%}  {bar}{'  <' if digit == best else ''}")
    print(f"{options.picture}: {best}")


def classify(picture: Path, weights: Path) -> list[float]:
    """Return the probability of each digit.

    Raises:
        DataError: if a file is missing.
        FormatError: if the picture is none, or shows nothing, or the weights are none.
        StateError: if the weights are those of another network.
    """
    pixels = Tensor(read_digit(picture)[None] * 255)
    if not weights.exists():
        raise DataError(
            f"there are no weights at {weights}; `make demo` trains them (or --weights)"
        )
    network = build_network()
    nn.state.load_state_dict(network, nn.state.safe_load(weights))
    return score_digits(network, pixels).softmax()[0].tolist()


if __name__ == "__main__":
    try:
        main()
    except InkleError as error:
        sys.exit(f"error: {error}")
