"""What a pod sends of the ranks' stacks and flight recorder dumps: those of the newest attempt, whole, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calling import SKILLS

SOURCE = SKILLS / "monitor" / "src"
ASKS = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
from cluster_run import run_files
from trainyard_shell import SkillError
sent, target = pathlib.Path(sys.argv[2]).read_bytes(), pathlib.Path(sys.argv[3])
for kind in ("stacks", "flight"):
    (target / kind).mkdir()
receiver = run_files.Receiver(None, target, {"steps.jsonl"}, ("stacks", "flight"))
receiver._wrong = lambda what: SkillError("unreachable", what)
try:
    for at in range(0, len(sent), 1000):
        receiver.feed(sent[at : at + 1000])
    print(json.dumps(receiver.copy("/run", 0.1).problems))
except SkillError as error:
    print(json.dumps(str(error)))
"""


def send(run: Path, most_bytes: int = 1000) -> bytes:
    """As the program in the pod is called."""
    source = (SOURCE / "cluster_run" / "inside.py").read_text()
    dumps = {"stacks": [".txt", most_bytes, 8], "flight": [".bin", most_bytes, 8]}
    ask = {"source": source, "folder": str(run), "files": {"steps.jsonl": [0, 100, 100]}, "dumps": dumps, "checkpoints": True}
    data = json.dumps(ask).encode()
    bootstrap = "import sys,json;a=json.loads(sys.stdin.buffer.read(int(sys.argv[1])));s={};exec(a['source'],s);s['main'](a)"
    words = [sys.executable, "-c", bootstrap, str(len(data))]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(data)
    process.stdin.flush()  # it ends with its caller
    sent = process.stdout.read()
    process.communicate(timeout=30)
    return sent


def receive(sent: bytes, folder: Path) -> tuple[dict[str, bytes], object]:
    """The files that came, and the problems or the refusal."""
    folder.mkdir()
    (folder.parent / "sent").write_bytes(sent)
    words = [sys.executable, "-c", ASKS, str(SOURCE), str(folder.parent / "sent"), str(folder)]
    done = subprocess.run(words, check=True, capture_output=True, timeout=60)
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if name[0] in "sf"}, json.loads(done.stdout)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for attempt in ("attempt-0000", "attempt-0009", "attempt-0010", "attempt-later"):
        for kind in ("stacks", "flight"):
            (run / kind / attempt).mkdir(parents=True)
    for attempt, rank, data in (("0000", 0, b"old"), ("0009", 0, b"zero"), ("0009", 1, b"one\n" * 200)):
        (run / f"flight/attempt-{attempt}/rank-{rank:04d}.bin").write_bytes(data)
    (run / "stacks/attempt-0010/rank-0001.txt").write_text("File train.py")
    (run / "stacks/ask").touch()
    return run


def test_the_newest_attempt_that_has_any(run: Path, tmp_path: Path) -> None:
    files, problems = receive(send(run), tmp_path / "copy")
    assert files == {
        "flight/rank-0000.bin": b"zero",
        "flight/rank-0001.bin": b"one\n" * 200,
        "stacks/rank-0001.txt": b"File train.py",
    }
    assert problems == []


def test_what_is_too_long_or_no_file_is_named(run: Path, tmp_path: Path) -> None:
    """A part of a dump cannot be read; a link may lead to anything."""
    os.symlink("/etc/hostname", run / "stacks/attempt-0010/rank-0002.txt")
    files, problems = receive(send(run, most_bytes=100), tmp_path / "copy")
    assert files.keys() == {"flight/rank-0000.bin", "stacks/rank-0001.txt"}
    assert isinstance(problems, list) and sorted(line.partition(" ")[0] for line in problems) == [
        "flight/rank-0001.bin",
        "stacks/rank-0002.txt",
    ]


@pytest.mark.parametrize("name", ["flight/../../x", "flight/rank-0000.py", "logs/rank-0000.txt", "stacks/rank-1/2.txt"])
def test_names_that_were_not_asked_for_are_refused(tmp_path: Path, name: str) -> None:
    told = {"name": name, "size": 1, "mtime": 0.0, "parts": [[0, 1]], "error": None}
    head = json.dumps({"files": [told], "now": 1.0, "checkpoints": None})
    files, refused = receive(f"\ntrainyard-run: {head}\nx".encode(), tmp_path / "copy")
    assert files == {} and refused == "announces files that were not asked for"
