"""Which runs can go on, and the session that goes on with one."""

from pathlib import Path

from apps.config_file import RecordingFile
from apps.ingredients import code_of
from apps.live import Session
from apps.problems import UserProblem
from recorder.runs import Manifest, read_manifest, tape_paths
from recorder.venues.profiles import PROFILES


def resumed_session(run: Path, *, venue: str | None = None, url: str | None = None) -> Session:
    """A session that goes on with a live run: its code and configuration, its symbols, its tape.

    venue:  as the user named it, if he did: it must be the run's own.
    url:    another address than the one before.

    Raises UserProblem, or the Problem of its parts, where it cannot go on.
    """
    manifest = read_manifest(run)
    _check(run, manifest, venue)
    feed, [tape] = manifest.feed, tape_paths(run, manifest)
    assert feed is not None
    files, config = code_of(run, manifest)
    return Session(
        profile=PROFILES[manifest.tape.venue],
        symbols=feed.symbols,
        tape=tape,
        run=run,
        strategies=files,
        config=config,
        url=url or feed.url,
        simulated=feed.seed,
        resumes=True,
        recording=config.recording or RecordingFile(),
    )


def _check(run: Path, manifest: Manifest, venue: str | None) -> None:
    if manifest.kind != "live" or manifest.feed is None:
        raise UserProblem(f"--resume {run}: expected a live run, found a {manifest.kind} that listened to nobody")
    if manifest.status == "failed":
        raise UserProblem(f"--resume {run}: expected a run with a past, found one that never reached its venue")
    if venue not in (None, manifest.tape.venue):
        raise UserProblem(f"--resume {run}: expected its own venue {manifest.tape.venue}, found --venue {venue}")
