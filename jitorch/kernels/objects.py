"""Compiled kernels as data: what an object file is and needs, and its form on disk and in a pipe."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import NamedTuple

MAGIC = b"jitorch-kernel-1\n"
DIGEST_SIZE = 32


class Compiled(NamedTuple):
    """A compiled kernel: the exported symbol, the object file, the undefined symbols in it."""

    symbol: str
    code: bytes
    externals: tuple[str, ...]


def pack(key: str, kernel: Compiled) -> bytes:
    """Magic, SHA-256 of the rest, length of the header, header (JSON), object code.

    >>> unpack("k", pack("k", Compiled("f", b"code", ("exp",))))
    Compiled(symbol='f', code=b'code', externals=('exp',))
    """
    header = json.dumps({"key": key, "symbol": kernel.symbol, "externals": kernel.externals}).encode()
    rest = struct.pack("<I", len(header)) + header + kernel.code
    return MAGIC + hashlib.sha256(rest).digest() + rest


def unpack(key: str, data: bytes) -> Compiled:
    """The inverse of `pack`. Raises ValueError, with the reason, unless `data` is intact and belongs to `key`."""
    if not data.startswith(MAGIC):
        raise ValueError("it is not a kernel of this version")
    start = len(MAGIC) + DIGEST_SIZE
    rest = data[start:]
    if hashlib.sha256(rest).digest() != data[len(MAGIC) : start]:
        raise ValueError("its digest does not match its content")
    (length,) = struct.unpack_from("<I", rest)
    header = json.loads(rest[4 : 4 + length])
    if header["key"] != key:
        raise ValueError("it belongs to another kernel")
    return Compiled(header["symbol"], rest[4 + length :], tuple(header["externals"]))


def undefined_symbols(code: bytes) -> tuple[str, ...] | None:
    """The undefined symbols of a little-endian ELF64 object; None for another kind of file.

    Source: "Tool Interface Standard: Executable and Linking Format", version 1.2, chapter 1, and the ELF-64 Object
    File Format, version 1.5.
    """
    if code[:6] != b"\x7fELF\x02\x01":
        return None
    (sections_at,) = struct.unpack_from("<Q", code, 40)
    entry_size, count = struct.unpack_from("<HH", code, 58)
    # of a section header: type, file offset, size, link
    sections = [
        (*struct.unpack_from("<I", code, at + 4), *struct.unpack_from("<QQI", code, at + 24))
        for at in range(sections_at, sections_at + entry_size * count, entry_size)
    ]
    names = set()
    for kind, offset, size, link in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        strings = sections[link][1]
        for at in range(offset, offset + size, 24):
            name, _, _, section = struct.unpack_from("<IBBH", code, at)
            if name and section == 0:  # SHN_UNDEF
                names.add(code[strings + name : code.index(b"\0", strings + name)].decode())
    return tuple(sorted(names))
