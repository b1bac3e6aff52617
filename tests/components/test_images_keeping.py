"""What a killed session leaves of its engines: nothing. And a program that does not come up says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.components.images.keeping import ComponentError, keep

pytestmark = pytest.mark.when_changed("tests/components/**/*")

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0


def lines_of(up: subprocess.Popen[str], count: int) -> dict[str, str]:
    """NAME -> value, of the first lines."""
    assert up.stdout is not None
    said = [up.stdout.readline().strip().removeprefix("export ").partition("=") for _ in range(count)]
    return {name: value for name, _, value in said}


def mounts_below(folder: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if f" {folder}/" in line]


def processes_with(*words: str) -> list[int]:
    """Whose command line holds these words, one after the other."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if "\0".join(words).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def sleeper(tmp_path: Path) -> bytes:
    """A tar for `docker import`: one program, which sleeps."""
    program = tmp_path / "sleep-4242"
    source = Path(__file__).parent / "cluster" / "image" / "pause.c"
    subprocess.run(["gcc", "-static", "-Os", "-o", program, source], check=True, timeout=LIMIT_S)
    return subprocess.run(["tar", "c", "-C", tmp_path, program.name], check=True, capture_output=True, timeout=LIMIT_S).stdout


def test_a_killed_session_leaves_nothing(images_possible: None, tmp_path: Path) -> None:
    """Killed while a container runs: its process, containerd, the mounts and the folder go too."""
    command = [sys.executable, "-m", "tests.components.images", "up"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as up:
        said = lines_of(up, 6)
        folder = Path(said["DOCKER_HOST"].removeprefix("unix://")).parent
        docker = [said["docker"], "--host", said["DOCKER_HOST"]]
        subprocess.run(
            [*docker, "import", "-", "sleeper"], check=True, timeout=LIMIT_S, capture_output=True, input=sleeper(tmp_path)
        )
        words = ["run", "--detach", "--network=none", "sleeper", "/sleep-4242"]
        subprocess.run([*docker, *words], check=True, timeout=LIMIT_S, capture_output=True)
        assert mounts_below(folder) and processes_with(str(folder)) and processes_with("/sleep-4242")
        up.kill()
    deadline = time.monotonic() + LIMIT_S
    while (folder.exists() or processes_with(str(folder))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (folder.exists(), processes_with(str(folder)), mounts_below(folder)) == (False, [], [])
    assert not processes_with("/sleep-4242")


def test_what_a_program_left_behind_ends_with_it(tmp_path: Path) -> None:
    """A child in a session of its own, which no process group reaches."""
    note = tmp_path / "pid"
    script = f"setsid sleep 4243 & echo $! >{note}; sleep 4243"
    with keep("orphan", lambda _: ["sh", "-c", script]) as kept:
        kept.wait_until(lambda: note.exists() and note.read_text().strip())
        pid = int(note.read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_ends_says_why() -> None:
    with (
        pytest.raises(ComponentError, match="broken ended: no such thing"),
        keep("broken", lambda _: ["sh", "-c", "echo no such thing; exit 3"]) as kept,
    ):
        kept.wait_until(lambda: False)
    assert kept.keeper.returncode == 3 and not kept.folder.exists()


def test_one_that_is_never_ready_is_ended() -> None:
    with (
        pytest.raises(ComponentError, match="slow was not ready within"),
        keep("slow", lambda _: ["sleep", "4244"]) as kept,
    ):
        kept.wait_until(lambda: False, limit_s=0.1)
    assert kept.keeper.returncode == -signal.SIGTERM & 0xFF
    assert not kept.folder.exists()
