"""The directory of a zip archive: where each member lies in the file.

Members that are stored as they are can be viewed in place. Others are inflated, up to the size that
the directory says and a limit: a file of a megabyte can claim to hold a terabyte.

Source: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification", version 6.3.10, sections 4.3 and
4.5.3 (zip64).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise

from inkle.nn.formats.content import Content

STORED, DEFLATED = 0, 8
MOST_INFLATED = 1 << 28  # bytes of all members together, unless the caller allows more
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_END_BYTES, _COMMENT_BYTES = 22, 65_535
_MASK16, _MASK32 = 0xFFFF, 0xFFFFFFFF  # "the number is in the extra field"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: bytes `start` to `start + packed`, which hold `size` bytes."""

    start: int
    packed: int
    size: int
    method: int


def zip_members(content: Content) -> dict[str, Member]:
    """Return the members of a zip archive by name, folders left out, in the directory's order.

    Raises:
        FormatError: if the directory is damaged, members overlap, are encrypted or packed by a
            method other than deflate, or a name occurs twice.
    """
    offset, count = _directory(content)
    members: dict[str, Member] = {}
    places = []
    for _ in range(count):
        at = offset
        (magic, flags, method, packed, size, names, extras, comments, header) = content.unpack(
            "<4s4xHH8xIIHHH8xI", at, "an entry of the directory"
        )
        if magic != _ENTRY:
            raise content.wrong(at, f"an entry of the directory begins with {magic!r}")
        raw = bytes(content.take(at + 46, names, "a name"))
        name = raw.decode("utf-8" if flags & 0x800 else "latin-1", "replace")
        extra = bytes(content.take(at + 46 + names, extras, "an extra field"))
        size, packed, header = _zip64(extra, [size, packed, header])
        offset += 46 + names + extras + comments
        if flags & 1:
            raise content.wrong(at, f"member {name!r:.80} is encrypted")
        if method not in (STORED, DEFLATED) or (method == STORED and packed != size):
            raise content.wrong(at, f"member {name!r:.80} is packed by unknown method {method}")
        if name in members:
            raise content.wrong(at, f"the name {name!r:.80} occurs twice")
        start = _data_start(content, header)
        content.take(start, packed, f"member {name!r:.80}")
        places.append((header, start + packed, name))
        if not name.endswith("/"):
            members[name] = Member(start, packed, size, method)
    places.sort()
    for (_, end, _), (begin, _, name) in pairwise(places):
        if begin < end:
            raise content.wrong(begin, f"member {name!r:.80} overlaps the one before")
    return members


def member_content(
    content: Content, name: str, member: Member, kind: str, limit: int = MOST_INFLATED
) -> Content:
    """Return a member as the content of a file: a view where it is stored as it is.

    Raises:
        FormatError: if it does not inflate to its size, or that is above `limit`.
    """
    part = content.part(member.start, member.packed, name, kind)
    if member.method == STORED:
        return part
    if member.size > limit:
        raise content.wrong(
            member.start, f"member {name!r:.80} inflates to {member.size} bytes, above {limit}"
        )
    # Never more than a byte above the announced size; zlib grows its output as it goes.
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(part.data, member.size + 1)
    except zlib.error as error:
        raise content.wrong(member.start, f"member {name!r:.80}: {error}") from None
    if len(data) != member.size:
        raise content.wrong(
            member.start,
            f"member {name!r:.80} inflates to {len(data)} bytes or more, not to {member.size}",
        )
    return Content(memoryview(data), part.name, kind)


def _directory(content: Content) -> tuple[int, int]:
    """Return where the directory begins, and how many entries it has."""
    first = max(0, len(content) - _END_BYTES - _COMMENT_BYTES)
    tail = bytes(content.data[first:])
    place = tail.rfind(_END, 0, max(0, len(tail) - _END_BYTES + len(_END)))
    if place < 0:
        raise content.wrong(len(content), "there is no directory at the end; is the file cut off?")
    end = first + place
    count, size, offset = content.unpack("<10xHII2x", end, "the end of the directory")
    if count == _MASK16 or _MASK32 in (size, offset):
        magic, where = content.unpack("<4s4xQ4x", end - 20, "the locator of the directory")
        if magic == _LOCATOR64:
            magic, count, size, offset = content.unpack("<4s28xQQQ", where, "the end record")
            if magic != _END64:
                raise content.wrong(where, f"the end record begins with {magic!r}")
            end = where
    if offset + size > end or 46 * count > size:
        raise content.wrong(end, f"no directory of {count} entries and {size} bytes at {offset}")
    return offset, count


def _zip64(extra: bytes, numbers: list[int]) -> list[int]:
    """Return size, packed size and place, those that 32 bits cannot hold from the extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = [
                int.from_bytes(extra[i : i + 8], "little")
                for i in range(at + 4, min(at + 4 + length, len(extra) - 7), 8)
            ]
            return [wide.pop(0) if n == _MASK32 and wide else n for n in numbers]
        at += 4 + length
    return numbers


def _data_start(content: Content, header: int) -> int:
    magic, names, extras = content.unpack("<4s22xHH", header, "the header of a member")
    if magic != _LOCAL:
        raise content.wrong(header, f"the header of a member begins with {magic!r}")
    return header + 30 + int(names) + int(extras)
