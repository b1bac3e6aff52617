"""What comes out of a pod and does not fit onto this disk: a refusal with the path, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parents[3] / "skills" / "checkpoint-manager" / "src"
RECEIVE = """
import json, sys
from pathlib import Path
from checkpoint_pods.call import MARK, Place
from checkpoint_pods.files import Receiver
from trainyard_shell import SkillError

place = Place(None, "pod-0", "main", "python3", 60.0, "")
for out in sys.argv[1:]:
    receiver = Receiver(place, Path(out), lambda name: True)
    try:
        receiver.feed((MARK + json.dumps({"files": [{"name": "a", "size": 5000}]}) + "\\n").encode() + bytes(5000))
        receiver.finish()
        print(json.dumps(["received", out]))
    except SkillError as error:
        receiver.close()
        print(json.dumps([error.code, str(error)]))
"""


def test_a_file_that_does_not_fit_here_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = [str(tmp_path / "full"), str(tmp_path / "file" / "below"), "/proc/nowhere"]
    for before, codes in (
        ([], ["received", "permission", "permission"]),
        (["env", "PYTHONDONTWRITEBYTECODE=1", "prlimit", "--fsize=1000"], ["unreachable"]),
    ):
        words = [*before, sys.executable, "-c", RECEIVE, *(places if not before else [str(tmp_path / "small")])]
        done = subprocess.run(words, cwd=SRC, capture_output=True, text=True, timeout=60)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [code for code, _ in answers] == codes, done.stderr[-2000:]
        assert all(str(place) in told for place, (_, told) in zip(words[-len(codes) :], answers, strict=True))
