"""Damaged files for the readers: valid ones, changed a little."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from inkle.errors import DTypeError, FormatError

NUMBERS = (b"\0", b"\x7f", b"\xff", b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\x00\x00\x00\x80")


def mutate(rng: random.Random, original: bytes) -> bytes:
    """Flip bits, put extreme numbers, cut, double or drop a piece; one to three times."""
    content = bytearray(original)
    for _ in range(rng.randint(1, 3)):
        place, kind = rng.randrange(len(content) + 1), rng.randrange(7)
        if kind == 0 and content:
            content[place % len(content)] ^= 1 << rng.randrange(8)
        elif kind == 1 and content:
            content[place % len(content)] = rng.randrange(256)
        elif kind == 2:
            number = rng.choice(NUMBERS)
            content[place : place + len(number)] = number
        elif kind == 3:
            del content[place : place + rng.randint(1, 8)]
        elif kind == 4:
            start = rng.randrange(len(content) + 1)
            content[place:place] = content[start : start + rng.randint(1, 40)]
        elif kind == 5 and rng.random() < 0.3:
            del content[place:]
        else:
            start = rng.randrange(len(content) + 1)
            piece = content[start : start + rng.randint(1, 16)]
            content[place : place + len(piece)] = piece
    return bytes(content)


def check_reader(
    read: Callable[[Path], object], original: bytes, path: Path, count: int, seed: int
) -> int:
    """Read mutated files; return how many were accepted. Any other error than ours is a failure."""
    rng, accepted = random.Random(seed), 0
    for number in range(count):
        content = mutate(rng, original)
        path.write_bytes(content)
        message = _refusal(read, path)
        path.unlink()  # a new file each time: ext4 waits when one is shortened and rewritten
        accepted += message is None
        assert message is None or path.name in message, (number, message)
        assert message is None or len(message) < 1000, (number, message)
    return accepted


def _refusal(read: Callable[[Path], object], path: Path) -> str | None:
    """Return what our error says, or None if the file is accepted."""
    try:
        read(path)
    except (FormatError, DTypeError) as error:
        return str(error)
    return None
