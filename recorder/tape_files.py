"""The files of a tape: found, opened, and checked to be one recording without a gap."""

import hashlib
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recorder.log_folder import LOG, SEALED
from recorder.tape_columns import FORMAT_VERSION, METADATA_KEY, SCHEMA, Header, RowGroupHeader, TapeProblem

DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, KeyError)
"""What pyarrow raises over a file that is no Parquet, or not any more."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Where a row group is: its file, its number within it, the seq of its first row, and what its header says.

    sealed:  the file's Parquet where it is not on disk: the rows of a log, sealed in memory. Else None.
    """

    path: Path
    index: int
    first_seq: int
    header: RowGroupHeader
    sealed: Any = None  # a pyarrow Buffer: pyarrow has no types

    @property
    def stop_seq(self) -> int:
        """The seq after its last row."""
        return self.first_seq + self.header.rows


class Part:
    """One file of a tape, its footer read and checked; or a log, by its rows as `sealed` in memory."""

    def __init__(self, path: Path, sealed: Any = None) -> None:
        self.path = path
        self.sealed = sealed
        parquet = opened(path, sealed)
        self.header = _header(path, parquet.metadata.metadata or {})
        _check_columns(path, _columns(path, parquet))
        self.groups = _groups(path, self.header, parquet.num_row_groups, sealed)

    @property
    def stop_seq(self) -> int:
        """The seq after its last row."""
        return self.groups[-1].stop_seq if self.groups else self.header.first_seq

    def identity(self) -> str:
        """The SHA-256 of the file, or of what it would be were it sealed now."""
        if self.sealed is not None:
            return hashlib.sha256(self.sealed).hexdigest()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def files_at(place: str | Path) -> list[Path]:
    """The files at `place`: itself, those of the tape in the folder, or those that the pattern matches."""
    path = Path(place)
    if path.is_dir():
        return _files_in(path)
    if not path.exists() and has_magic(str(place)):
        matches = sorted(glob(str(place)))  # noqa: PTH207 - a Path cannot expand a pattern with a root of its own
        return [found for match in matches for found in files_at(match)]
    sealed = path.with_suffix(f".{SEALED}")
    return [sealed if is_log(path) and not path.exists() and sealed.exists() else path]


def _files_in(folder: Path) -> list[Path]:
    """The Parquet files in a folder, and its logs that are not sealed yet."""
    files = set(folder.iterdir())
    sealed = {path for path in files if path.suffix == f".{SEALED}"}
    logs = {path for path in files if is_log(path) and path.with_suffix(f".{SEALED}") not in sealed}
    return sorted(sealed | logs)


def is_log(path: Path) -> bool:
    """A part that has not been sealed, by its name."""
    return path.suffix == f".{LOG}"


def opened(path: Path, sealed: Any = None) -> Any:
    """The file, or what was sealed of it in memory, its footer read."""
    if sealed is not None:
        return pq.ParquetFile(pa.BufferReader(sealed))
    if not path.exists():
        raise TapeProblem(f"{path}: expected a wspt tape, found no such file")
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except DAMAGE as error:
        raise TapeProblem(f"{path}: expected a wspt tape (Parquet), found {_not_parquet(path, error)}") from error


def _not_parquet(path: Path, error: Exception) -> str:
    """What a file is that pyarrow cannot open as Parquet."""
    if isinstance(error, PermissionError):
        return "a file that may not be read"
    with path.open("rb") as file:
        began = file.read(4)
    if not began:
        return "an empty file"
    return "a Parquet file that is damaged or cut off" if began == b"PAR1" else "a file that is not Parquet"


class _Version(msgspec.Struct):
    format: int


def _header(path: Path, metadata: dict[bytes, bytes]) -> Header:
    if METADATA_KEY not in metadata:
        raise TapeProblem(f"{path}: expected a wspt tape, found a Parquet file without its header; import it first")
    try:
        version = msgspec.json.decode(metadata[METADATA_KEY], type=_Version).format
        if version != FORMAT_VERSION:
            raise TapeProblem(f"{path}: expected tape format {FORMAT_VERSION}, found format {version}")
        return msgspec.json.decode(metadata[METADATA_KEY], type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TapeProblem(f"{path}: expected a tape header, found a damaged one ({error})") from error


def _columns(path: Path, parquet: Any) -> Any:
    try:
        return parquet.schema_arrow
    except DAMAGE as error:
        raise TapeProblem(f"{path}: expected the columns of a tape, found their description damaged") from error


def _check_columns(path: Path, found: Any) -> None:
    for column in SCHEMA:
        if found.get_field_index(column.name) < 0:
            raise TapeProblem(f"{path}: expected a column {column.name} ({column.type}), found none")
        other = found.field(column.name)
        if other.type != column.type or (other.nullable and not column.nullable):
            raise TapeProblem(f"{path}: expected column {column.name} as {_spelled(column)}, found {_spelled(other)}")


def _spelled(column: Any) -> str:
    return f"{column.type}" + ("" if column.nullable else " not null")


def _groups(path: Path, header: Header, row_groups: int, sealed: Any) -> list[Group]:
    """The row groups of a file, by its header.

    Not by the footer's statistics: over a damaged footer pyarrow ends the process where it looks them up.
    """
    if row_groups != len(header.groups):
        raise TapeProblem(f"{path}: expected {len(header.groups)} row groups, found {row_groups}")
    first_seqs = accumulate((group.rows for group in header.groups), initial=header.first_seq)
    return [
        Group(path=path, index=index, first_seq=first_seq, header=group, sealed=sealed)
        for index, (group, first_seq) in enumerate(zip(header.groups, first_seqs, strict=False))
    ]


def check_one_tape(parts: Sequence[Part]) -> None:
    """The parts are of one venue, and follow one another in `seq` and in time."""
    for before, part in pairwise(parts):
        if part.header.venue != before.header.venue:
            raise TapeProblem(f"{part.path}: expected venue {before.header.venue}, found {part.header.venue}")
        last, first = before.groups[-1], part.groups[0]
        if first.first_seq != last.stop_seq:
            raise TapeProblem(
                f"{part.path}: expected the tape to go on at seq {last.stop_seq} after {before.path.name}, "
                f"found seq {first.first_seq}"
            )
        if first.header.ts_first < last.header.ts_last:
            raise TapeProblem(
                f"{part.path}: expected ts_recv to go on from {last.header.ts_last} after {before.path.name}, "
                f"found {first.header.ts_first}"
            )


def read_groups(
    groups: Sequence[Group], columns: Sequence[str], *, left_out: frozenset[str] = frozenset()
) -> Iterator[tuple[Group, Any]]:
    """Row groups, each with its columns as a pyarrow Table; those of `left_out` only where they hold something."""
    path, parquet = None, None
    for group in groups:
        if group.path != path:
            path, parquet = group.path, opened(group.path, group.sealed)
        unknown = left_out.intersection(group.header.unknown)
        yield group, _read_group(parquet, group, [name for name in columns if name not in unknown])


def _read_group(parquet: Any, group: Group, columns: list[str]) -> Any:
    try:
        table = parquet.read_row_group(group.index, columns=columns).select(columns)
    except DAMAGE as error:
        raise damaged(group, error) from error
    if table.num_rows != group.header.rows:
        raise damaged(group, ValueError(f"{table.num_rows} rows"))
    return table


def damaged(group: Group, error: Exception) -> TapeProblem:
    """What to say of a row group that cannot be read."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    rows = f"ticks {group.first_seq} to {group.stop_seq - 1}"
    return TapeProblem(f"{group.path}: expected {rows}, found them damaged ({reason.rstrip('.')})")
