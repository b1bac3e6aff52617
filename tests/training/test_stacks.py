"""What a rank writes of itself when it is asked: into its own file, within bounds, and never against the script's will."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from trainyard import hang_files, stacks

SCRIPT = """
import os, signal, sys
from trainyard import stacks
for word in sys.argv[1:]:
    if word == "register": stacks.print_when_asked()
    if word == "ask": os.kill(os.getpid(), signal.SIGUSR2)
    if word == "many":
        for _ in range(12000): os.kill(os.getpid(), signal.SIGUSR2)
    if word == "cut": stacks.cut(stacks.own_file())
    if word == "back": stacks.give_back()
    if word == "mine": signal.signal(signal.SIGUSR2, lambda *_: print("mine"))
    if word == "fork" and os.fork() == 0: os._exit(stacks.own_file() is not None)
    if word == "child": print("child", os.waitstatus_to_exitcode(os.wait()[1]))
"""


def run(run_dir: Path, *words: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    told = {"TRAINYARD_RUN_ID": "r", "TRAINYARD_RUN_DIR": str(run_dir), "RANK": "3", "TRAINYARD_ATTEMPT": "2", **variables}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=os.environ | told, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr
    return done


def test_own_file(tmp_path: Path) -> None:
    """A rank's stacks are in a private file that names the process; nothing is printed to the job's log."""
    done = run(tmp_path / "run", "register", "register", "ask", "fork", "child")
    path = hang_files.stacks_file(tmp_path / "run", 2, 3)
    text = path.read_text()
    assert text.count("(most recent call first)") == 1 and "line 6 in <module>" in text and not done.stderr
    head = hang_files.head_of(path)
    assert (head["rank"], head["signal"], head["flight"]) == (3, "SIGUSR2", False) and head["pid"] > 1
    assert stat.S_IMODE(path.stat().st_mode) & 0o037 == 0 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "child 0" in done.stdout, "a forked process has no file of its own"


def test_attempts(tmp_path: Path) -> None:
    """A new start writes a new file; what is older than three attempts goes, other ranks' files stay."""
    for attempt in range(5):
        run(tmp_path, "register", "ask", TRAINYARD_ATTEMPT=str(attempt))
        run(tmp_path, "register", TRAINYARD_ATTEMPT=str(attempt), RANK="0") if attempt == 0 else None
    kept = sorted(str(path.relative_to(tmp_path / "stacks")) for path in (tmp_path / "stacks").rglob("*.txt"))
    assert kept == ["attempt-0000/rank-0000.txt", *(f"attempt-000{attempt}/rank-0003.txt" for attempt in (2, 3, 4))]


def test_bounded(tmp_path: Path) -> None:
    """However often it is asked, the file is cut, and keeps its first line and the last answers."""
    run(tmp_path, "register", "many", "cut", "ask")
    path = hang_files.stacks_file(tmp_path, 2, 3)
    assert path.stat().st_size <= stacks.KEPT_BYTES + hang_files.MAX_HEAD_BYTES
    assert json.loads(path.read_text().splitlines()[0])["rank"] == 3 and path.read_text().endswith("in <module>\n")


@pytest.mark.parametrize("words", [("mine", "register"), ("register", "mine", "back")])
def test_the_scripts_handler(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A handler of the script's own is the one that runs, and no file says that the signal may be sent."""
    done = run(tmp_path, *words, "ask")
    assert done.stdout == "mine\n" and not list(tmp_path.rglob("*.txt"))


def test_given_back(tmp_path: Path) -> None:
    """As before it was taken: the kernel's default ends the process."""
    run(tmp_path, "register", "back", "ask", code=-12)


@pytest.mark.parametrize("obstacle", ["file", "link"])
def test_no_folder(tmp_path: Path, obstacle: str) -> None:
    """Where its file cannot be had, it prints to the log; a link is not followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    folder = tmp_path / "run"
    if obstacle == "file":
        folder.write_text("")
    else:
        path = hang_files.stacks_file(folder, 2, 3)
        path.parent.mkdir(parents=True)
        path.symlink_to(elsewhere)
    done = run(folder, "register", "ask")
    assert elsewhere.read_text() == "kept"
    assert ("in <module>" in done.stderr) == (obstacle == "file")
