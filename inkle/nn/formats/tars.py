"""The members of a tar archive: where each lies in the file.

Blocks of 512 bytes: a header (name, size in octal digits, kind, ...), then the data of a file,
filled up with zeros. Long names stand in a member of their own before the file.

Source: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Extended Header"; the GNU tar
manual, "Basic Tar Format", for long names and sizes in binary.
"""

from __future__ import annotations

from collections.abc import Iterator

from inkle.nn.formats.content import Content

BLOCK = 512
_FILES = b"0\0007"  # plain files, in three spellings
_LONG_NAME, _EXTENDED, _GLOBAL = b"L", b"x", b"g"
_SUM = slice(148, 156)  # of the header's bytes, with blanks in its own place


def tar_members(content: Content) -> dict[str, tuple[int, int]]:
    """Return start and size of each file in a tar archive by name; folders and links left out.

    Raises:
        FormatError: if a header is damaged, a file is not there in full, or a name occurs twice.
    """
    members: dict[str, tuple[int, int]] = {}
    at, long_name = 0, None
    while at + BLOCK <= len(content):
        header = bytes(content.data[at : at + BLOCK])
        if not any(header):
            return members
        size, name = _size(content, at, header), long_name or _name(header)
        content.take(at + BLOCK, size, f"member {name!r:.80}")
        kind, data = header[156:157], at + BLOCK
        if kind in (_LONG_NAME, _EXTENDED):
            raw = bytes(content.data[data : data + size])
            path = raw.rstrip(b"\0") if kind == _LONG_NAME else dict(_records(raw)).get(b"path")
            long_name = path.decode("utf-8", "replace") if path else long_name
        elif kind != _GLOBAL:
            if kind in _FILES and not name.endswith("/"):
                if name in members:
                    raise content.wrong(at, f"the name {name!r:.80} occurs twice")
                members[name] = (data, size)
            long_name = None
        at = data + -(-size // BLOCK) * BLOCK
    if at != len(content) or not at:
        raise content.wrong(at, "the header of a member is cut off; is the file compressed?")
    return members


def _size(content: Content, at: int, header: bytes) -> int:
    expected = sum(header) - sum(header[_SUM]) + 8 * ord(" ")
    if _number(header[_SUM]) != expected:
        raise content.wrong(at, "the sum of a header is wrong; this is no tar archive")
    size = _number(header[124:136])
    if size < 0:
        raise content.wrong(at, f"{header[124:136]!r} is no size")
    return size


def _number(field: bytes) -> int:
    """Return a number in octal digits, or in binary behind 0x80; -1 if it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.strip(b"\0 ")
    return int(text or b"0", 8) if all(c in b"01234567" for c in text) else -1


def _name(header: bytes) -> str:
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    full = prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name
    return full.decode("utf-8", "replace")


def _records(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a pax header: lines of a length, a blank, and KEY=VALUE."""
    while raw:
        digits, _, _ = raw.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        key, separator, value = raw[len(digits) + 1 : length - 1].partition(b"=")
        if not separator or length <= len(digits):  # a length of 0 would never end
            return
        yield key, value
        raw = raw[length:]
