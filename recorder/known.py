"""What an assembler knew at the end of a sealed part, kept beside it: to go on need not take the whole tape.

A shortcut and nothing more. The same is found by taking in every frame before once again, and is, where there is no
such file, where it is damaged, and where another version of the decoders wrote it.
"""

import hashlib
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from recorder.assembly import Assembler
from recorder.log_folder import KNOWN
from recorder.tape_files import Part

_KEPT = 2
"""Files of a folder that stay: a reader may be about to go on from the part before the last."""

_FAST = 1  # zlib's level: books are numbers, more effort finds little more in them


class _Known(msgspec.Struct, kw_only=True):
    """The content of a file, compressed.

    code:      of the decoders that wrote it: what others know may mean something else.
    stop_seq:  the seq after the part's last row.
    symbols:   that the recording asked for, in their order.
    """

    code: str
    venue: str
    symbols: list[str]
    stop_seq: int
    memory: bytes


def keep(part: Part, assembler: Assembler, symbols: list[str]) -> None:
    """Write down what `assembler` knows, which has taken in everything up to the end of `part`, the last of its folder.

    Whatever the disk says to that: nothing depends on it.
    """
    known = _Known(
        code=_code(), venue=assembler.venue, symbols=symbols, stop_seq=part.stop_seq, memory=assembler.memory()
    )
    path = part.path.with_suffix(f".{KNOWN}")
    unfinished = path.with_name(f"{path.name}.tmp")
    with suppress(OSError):
        unfinished.write_bytes(zlib.compress(msgspec.msgpack.encode(known), _FAST))
        unfinished.replace(path)
        folder = part.path.parent
        for old in (*sorted(folder.glob(f"part-*.{KNOWN}"))[:-_KEPT], *folder.glob(f"part-*.{KNOWN}.tmp")):
            old.unlink()


def recalled(part: Part, venue: str, symbols: list[str]) -> Assembler | None:
    """An assembler that knows what was known at the end of `part`; None where that was not kept, or not for us."""
    try:
        packed = part.path.with_suffix(f".{KNOWN}").read_bytes()
        known = msgspec.msgpack.decode(zlib.decompress(packed), type=_Known)
        if (known.code, known.venue, known.symbols, known.stop_seq) != (_code(), venue, symbols, part.stop_seq):
            return None
        assembler = Assembler(venue, symbols)
        assembler.recall(known.memory)
    except (OSError, zlib.error, msgspec.DecodeError):
        return None
    return assembler


@cache
def _code() -> str:
    """A name for the decoders as they are: the SHA-256 of their source."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in (here / "assembly.py", *sorted((here / "venues").glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
