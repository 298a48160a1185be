"""What a run was made of: its tape, code and configuration, checked to be the ones that ran."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from apps.config import RunConfig, fingerprint, from_json
from apps.desks import Range
from apps.loader import StrategyFile, load_strategies
from apps.problems import UserProblem
from recorder.runs import MANIFEST, STRATEGIES, Manifest, tape_paths
from recorder.tape import Tape


class Ingredients(msgspec.Struct, frozen=True, kw_only=True):
    """Enough to make a run, or some desks of it, again.

    files:     the strategies, in the order of their names.
    part:      of the tape; of a run that goes on what is there by now.
    first_seq, stop_seq:  of that part.
    """

    tape: Tape
    files: list[StrategyFile]
    config: RunConfig
    part: Range
    first_seq: int
    stop_seq: int


def ingredients(
    run: Path, manifest: Manifest, *, current: Sequence[StrategyFile] | None = None, only: str | None = None
) -> Ingredients:
    """The run's tape, its own code (or `current` files) and configuration.

    only:  the one strategy that is wanted; None for all of them.

    Raises UserProblem where something of it is missing, or is not what the run was made of.
    """
    tape = Tape.open(tape_paths(run, manifest))
    if manifest.tape.identity and tape.identity != manifest.tape.identity:
        raise UserProblem(f"{run}: expected the tape it was made of, found another one at {tape.paths[0]}")
    files, config = code_of(run, manifest, current=current, only=only)
    # A live run that has not ended does not say yet where it does.
    stop_seq = manifest.tape.stop_seq or tape.first_seq + tape.rows
    return Ingredients(
        tape=tape,
        files=files,
        config=config,
        part=Range(from_ns=manifest.tape.from_ns, to_ns=manifest.tape.to_ns, stop_seq=manifest.tape.stop_seq or None),
        first_seq=manifest.tape.first_seq,
        stop_seq=stop_seq,
    )


def code_of(
    run: Path, manifest: Manifest, *, current: Sequence[StrategyFile] | None = None, only: str | None = None
) -> tuple[list[StrategyFile], RunConfig]:
    """The same without the tape."""
    wanted = sorted(manifest.strategies if only is None else [only])
    saved = sorted((run / STRATEGIES).glob("*.py")) if only is None else [run / STRATEGIES / f"{only}.py"]
    found = {file.strategy.name: file for file in current or load_strategies(saved)}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise UserProblem(f"{run}: expected the strategies that ran, found no {', '.join(missing)}")
    files = [found[name] for name in wanted]
    for file in files:
        name = file.strategy.name
        if current is None and file.sha256 != manifest.strategies[name].sha256:
            raise UserProblem(f"{run}: expected the code that ran in strategies/{name}.py, found a changed file")
    if manifest.configuration_sha256 not in ("", fingerprint(manifest.configuration)):
        raise UserProblem(f"{run}: expected the configuration that it ran with, found a changed one in {MANIFEST}")
    return files, from_json(manifest.configuration, files)
