"""Many calls of the program in one fresh process: the same words, documents and exit codes, without a start-up for each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from made_checkpoints import PROGRAM, ROOT, Answer

DEADLINE_S = 240


def call_many(
    calls: Iterable[Iterable[str | Path]], *, before: list[str] | None = None, env: dict[str, str] | None = None
) -> list[Answer]:
    """One answer a call, in order. Each must be one document that fits its exit code, without a traceback."""
    words = [[str(word) for word in each] for each in calls]
    done = subprocess.run(
        [*(before or []), sys.executable, __file__],
        input=json.dumps(words),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={
            **os.environ,
            **(env or {}),
            "PYTHONPATH": os.pathsep.join([str(PROGRAM.parent), str(ROOT), (env or {}).get("PYTHONPATH", "")]),
        },
        cwd="/",
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(words)
    for each, answer in zip(words, answers, strict=True):
        assert answer["out"].count("\n") == 1, f"{each}: one line, one document"
        assert "Traceback" not in answer["err"], f"{each}: {answer['err'][-2000:]}"
        assert json.loads(answer["out"])["ok"] == (answer["code"] == 0), each
    return [Answer(answer["code"], json.loads(answer["out"]), answer["err"]) for answer in answers]


def main() -> None:
    sys.argv = [str(PROGRAM)]
    from manage_checkpoints import cli

    for words in json.load(sys.stdin):
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main(words)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
        print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)


if __name__ == "__main__":
    main()
