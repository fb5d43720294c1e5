"""Pictures of digits, made from MNIST's own test images, come back as MNIST's own test images."""

from __future__ import annotations

import numpy as np
import pytest

from inkle.errors import DataError, FormatError
from inkle.nn import datasets

Image = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install 'inkle[demo]'")
digit_image = pytest.importorskip("examples.digit_image")
COUNT = 30


@pytest.fixture(scope="module")
def digits():
    try:
        return datasets.mnist(download=False).test_images[:COUNT]
    except DataError:
        pytest.skip("MNIST is not on this machine: run `make data`")


def scaled(digit, factor):
    size = (round(28 * factor), round(28 * factor))
    return np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC))


def off_center(digit):
    field = np.zeros((60, 90), np.uint8)
    field[3:31, 55:83] = digit
    return field


def in_color(digit):
    ink, paper = np.array([200, 30, 60]), np.array([240, 235, 220])
    share = digit[..., None] / 255
    return (share * ink + (1 - share) * paper).astype(np.uint8)


def transparent(shade):
    return lambda digit: np.dstack([np.full_like(digit, shade)] * 3 + [digit])


# What a user may do to a picture, and the least correlation of the result with the original.
VARIANTS = {
    "as it is": (lambda digit: digit, 0.999),
    "dark on light": (lambda digit: 255 - digit, 0.999),
    "pale": (lambda digit: 90 + digit // 3, 0.999),
    "off center": (off_center, 0.999),
    "16 bits": (lambda digit: digit.astype(np.uint16) * 257, 0.999),
    "in color": (in_color, 0.999),
    "dark, transparent": (transparent(0), 0.999),
    "light, transparent": (transparent(255), 0.999),
    "5 times, pixels": (lambda digit: np.kron(digit, np.ones((5, 5), np.uint8)), 0.97),
    "10 times, smooth": (lambda digit: scaled(digit, 10), 0.95),
    "3.7 times, dark on light": (lambda digit: 255 - scaled(digit, 3.7), 0.95),
    "noise": (
        lambda digit: np.clip(
            digit + np.random.default_rng(0).normal(10, 4, digit.shape), 0, 255
        ).astype(np.uint8),
        0.99,
    ),
}


@pytest.mark.parametrize(("change", "close"), VARIANTS.values(), ids=VARIANTS)
def test_a_changed_picture_gives_the_original_digit(tmp_path, digits, change, close):
    path = tmp_path / "digit.png"
    correlations = []
    for digit in digits:
        Image.fromarray(change(digit)).save(path)

        got = digit_image.read_digit(path)

        assert got.shape == (28, 28)
        assert got.dtype == np.float32
        assert (got.min(), got.max()) == (0, 1)
        correlations.append(np.corrcoef(got.ravel(), digit.ravel())[0, 1])
    assert np.median(correlations) > close


def test_a_palette_picture_is_read(tmp_path, digits):
    Image.fromarray(digits[0]).convert("P").save(tmp_path / "digit.png")

    got = digit_image.read_digit(tmp_path / "digit.png")

    assert np.corrcoef(got.ravel(), digits[0].ravel())[0, 1] > 0.999


@pytest.mark.parametrize("shape", [(400, 3), (3, 400), (1, 1), (200, 200)])
def test_any_shape_of_ink_fits_into_the_field(shape):
    grey = np.zeros((500, 500), np.uint8)
    grey[50 : 50 + shape[0], 50 : 50 + shape[1]] = 255

    got = digit_image.center_digit(grey)

    assert got.max() == 1
    rows, columns = np.nonzero(got)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert 13.5 <= rows.mean() <= 14.5
    assert 13.5 <= columns.mean() <= 14.5


@pytest.mark.parametrize("value", [0, 255, 77])
def test_an_empty_picture_is_an_error_that_says_so(tmp_path, value):
    path = tmp_path / "empty.png"
    Image.fromarray(np.full((30, 30), value, np.uint8)).save(path)

    with pytest.raises(FormatError, match=r"empty\.png: there is no digit on it"):
        digit_image.read_digit(path)


def test_what_is_no_picture_is_an_error_that_says_so(tmp_path, digits):
    Image.fromarray(np.kron(digits[0], np.ones((9, 9), np.uint8))).save(tmp_path / "whole.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-200])

    with pytest.raises(FormatError, match=r"text\.png is no picture that can be read"):
        digit_image.read_digit(tmp_path / "text.png")
    with pytest.raises(FormatError, match=r"half\.png is damaged"):
        digit_image.read_digit(tmp_path / "half.png")


def test_a_missing_picture_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none\.png: No such file"):
        digit_image.read_digit(tmp_path / "none.png")
