"""A disk that takes nothing more ends a session with one sentence, and costs nothing that was there before."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from apps.serving import simulated_source
from recorder.frame_log import FrameLog, LogHeader, Record, RecordKind, read_log
from tests.commands import REPOSITORY, Place
from tests.sessions import a_venue

SMALL_DISK = """
set -e
mount -t tmpfs -o size={size}k none disk
mkdir disk/strategies
cp strategies/*.py disk/strategies
cd disk
set +e
{wspt} live --url {url} --symbols BTC/USD,XRP/USD --out data/runs/run --duration 50s > /dev/null 2> ../err
echo "code $?" >> ../said
mount -o remount,size=64m .
{wspt} recover data/runs/run >> ../said 2>> ../err2
{wspt} verify data/runs/run >> ../said 2>> ../err2
{wspt} live --resume data/runs/run --duration 1s >> /dev/null 2>> ../err2
{wspt} verify data/runs/run >> ../said 2>> ../err2
"""


def can_mount() -> bool:
    """Whether a disk of our own can be had here, which needs user namespaces and no rights."""
    words = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return (
        shutil.which("unshare") is not None and subprocess.run(words, check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_mount(), reason="needs unshare, to mount a small disk of its own")
@pytest.mark.parametrize("size", [400, 700])
def test_a_full_disk_ends_a_session_and_the_run_is_made_whole_when_there_is_room(tmp_path: Path, size: int) -> None:
    place = Place(tmp_path)
    place.strategy("eager")
    (tmp_path / "disk").mkdir()
    program = f"env PYTHONPATH={REPOSITORY} {sys.executable} -c 'from apps.cli import main; main()'"
    with a_venue(simulated_source(3)) as server:
        script = place.file("small_disk.sh", SMALL_DISK.format(size=size, wspt=program, url=server.url))
        words = ["unshare", "--user", "--map-root-user", "--mount", "sh", str(script)]
        subprocess.run(words, cwd=tmp_path, check=True, timeout=120)

    said, err = (tmp_path / "said").read_text().splitlines(), (tmp_path / "err").read_text()
    assert said[0] == "code 2", err
    assert "No space left on device; what arrived before is kept: " in err.splitlines()[-1]
    assert "Traceback" not in err
    assert [line.split()[0] for line in said[-2:]] == ["identical", "identical"], (tmp_path / "err2").read_text()


def test_a_disk_that_takes_its_time_does_not_hold_up_what_arrives(tmp_path: Path) -> None:
    is_asked, may_go_on = threading.Event(), threading.Event()

    def sync(file: int) -> None:
        is_asked.set()
        may_go_on.wait(60)

    with FrameLog(tmp_path, LogHeader(venue="kraken"), part_bytes=20_000, sync_every_s=0.001, sync=sync) as log:
        try:
            for number in range(100):
                log.append(Record(number, number, 0, RecordKind.FRAME, b"x" * 100))
            assert is_asked.wait(60)
            for number in range(100, 2_000):
                log.append(Record(number, number, 0, RecordKind.FRAME, b"x" * 100))
            while_stuck = sum(len(read_log(path).records) for path in tmp_path.glob("*.wal"))
        finally:
            may_go_on.set()

    assert while_stuck == 2_000
