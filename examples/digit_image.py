"""Turn a picture of a digit, drawn or scanned, into what a network trained on MNIST expects.

MNIST's own preparation (Y. LeCun, C. Cortes, C. Burges, "The MNIST database"): the digit is scaled,
with its proportions and grey edges, into a box of 20 × 20 pixels; this goes into a field of 28 × 28
pixels so that the centre of mass is in the middle.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inkle.errors import DataError, FormatError

try:
    from PIL import Image, UnidentifiedImageError
except ImportError as error:
    raise ImportError("reading pictures needs Pillow: pip install 'inkle[demo]'") from error

FIELD = 28  # pixels on a side
BOX = 20  # pixels of the longer side of the digit
MIDDLE = 14.0  # MNIST's mean centre of mass, in indices of pixels
FAINT = 0.1  # share of the contrast below which a pixel is background: noise must not widen the box


def read_digit(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a picture file (PNG, JPEG, ...) of one digit.

    Dark on light and light on dark, colours, transparency, any size and any place are all fine.

    Args:
        path: the picture.

    Returns:
        float32, shape (28, 28): 0 is background, 1 the strongest ink.

    Raises:
        DataError: if the file cannot be opened.
        FormatError: if it is no picture, or there is nothing on it.
    """
    try:
        with Image.open(path) as image:
            grey = _to_grey(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as e:
        raise FormatError(f"{os.fspath(path)} is no picture that can be read: {e}") from e
    except OSError as e:
        if e.errno is None:  # not from the system: Pillow's word for a picture that is cut off
            raise FormatError(f"{os.fspath(path)} is damaged: {e}") from e
        raise DataError(f"cannot read {os.fspath(path)}: {e.strerror or e}") from e
    try:
        return center_digit(grey)
    except FormatError as e:
        raise FormatError(f"{os.fspath(path)}: {e}") from None


def center_digit(grey: NDArray[Any]) -> NDArray[np.float32]:
    """Scale and center a digit as MNIST does.

    Args:
        grey: shape (height, width), any number type; what most of the rim shows is background.

    Returns:
        float32, shape (28, 28): 0 is background, 1 the strongest ink.

    Raises:
        FormatError: if there is nothing but background.
    """
    ink = _cut_out(_to_ink(grey))
    scale = BOX / max(ink.shape)
    size = [max(1, round(scale * side)) for side in ink.shape]
    small = Image.fromarray(ink).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    digit = np.asarray(small)
    field = np.zeros((FIELD, FIELD), np.float32)
    rows, columns = (_place(digit.sum(axis=other)) for other in (1, 0))
    field[rows, columns] = digit / digit.max()  # thin lines of a big picture have become pale
    return field


def _to_grey(image: Image.Image) -> NDArray[Any]:
    if image.mode[0] in "IF":  # 16 and 32 bits; Pillow's conversion to 8 bits clips them
        return np.asarray(image)
    if not image.has_transparency_data:
        return np.asarray(image.convert("L"))
    layer = image.convert("RGBA")
    shade, cover = np.asarray(layer.convert("L"), np.float32), np.asarray(layer.getchannel("A"))
    # The paper is what sets off the drawing: white behind dark ink, black behind light ink.
    paper = 255 if (shade * cover).sum() < 128.0 * cover.sum() else 0
    return paper + (shade - paper) * (cover / np.float32(255))


def _to_ink(grey: NDArray[Any]) -> NDArray[np.float32]:
    """Return how much each pixel differs from the background: 0 not at all, 1 most."""
    values = grey.astype(np.float32)
    rim = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    background = np.median(rim)
    darker, lighter = background - values.min(), values.max() - background
    ink = values - background if lighter > darker else background - values
    contrast = max(darker, lighter)
    if not contrast > 0 or not np.isfinite(contrast):
        raise FormatError("there is no digit on it: all pixels are alike")
    ink /= contrast
    return np.where(ink > FAINT, ink, np.float32(0))


def _cut_out(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the smallest part that holds all ink."""
    rows, columns = (np.flatnonzero(ink.any(axis=other)) for other in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(weights: NDArray[np.float32]) -> slice:
    """Return where in the field `weights` go so that their centre of mass is in the middle."""
    mass_center = float(weights @ np.arange(len(weights))) / float(weights.sum())
    start = round(MIDDLE - mass_center)
    start = min(max(start, 0), FIELD - len(weights))
    return slice(start, start + len(weights))
