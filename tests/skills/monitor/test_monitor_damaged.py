"""Records that are damaged, forged or no files at all: every verb still answers with a document, and a copy is not its original."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from monitor_call import PROGRAM, call, check, statuses
from monitor_run_writer import RunWriter

ODD = ["text", -1, 10**30, 10**400, 1.5e300, [1], {"a": 1}, True, "\0", float("inf")]
# All folders in one process; click's `main` ends with SystemExit, whose code is the verb's.
EACH = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv.pop(1))
folders = sys.argv[1:]
sys.argv = ["monitor_training.py", "status"]
import monitor_training
answers = {}
for folder in folders:
    for verb in ("status", "health", "report"):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            try:
                monitor_training.cli.main([verb, folder])
            except SystemExit as end:
                answers[folder + " " + verb] = end.code
        json.loads(out.getvalue(), parse_constant=lambda text: 1 / 0)
print(json.dumps(answers))
"""


def written(folder: Path) -> RunWriter:
    run = RunWriter(folder)
    run.launch()
    run.live()
    for _ in range(3):
        run.train()
    run.commit()
    run.runner("running")
    return run


def add(path: Path, line: object) -> None:
    with path.open("a") as file:
        file.write((line if isinstance(line, str) else json.dumps(line).replace("Infinity", "1e999")) + "\n")


def test_no_record_breaks_a_verb(tmp_path: Path) -> None:
    written(tmp_path / "good")
    for number, odd in enumerate(ODD):
        for file, member in (
            ("steps", "step"),
            ("steps", "time"),
            ("events", "incarnation"),
            ("events", "step"),
            ("runner", ""),
        ):
            folder = tmp_path / f"{file}-{member}-{number}"
            shutil.copytree(tmp_path / "good", folder)
            if file == "runner":
                names = json.loads((folder / "runner.json").read_text())
                (folder / "runner.json").write_text(
                    json.dumps({**names, "log": odd, "started": odd}).replace("Infinity", "1e999")
                )
            else:
                last = json.loads((folder / f"{file}.jsonl").read_text().splitlines()[-1])
                add(folder / f"{file}.jsonl", {**last, member: odd})
    for number, text in enumerate(["[" * 100_000, '{"a":' * 50_000, "9" * 100_000, "x" * (3 << 20), "\ufeff{}"]):
        folder = tmp_path / f"text-{number}"
        shutil.copytree(tmp_path / "good", folder)
        add(folder / "steps.jsonl", text)
        add(folder / "events.jsonl", text)
        (folder / "runner.json").write_text(text)
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "tiers.json").write_text(text)
    folders = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(
        [sys.executable, "-c", EACH, str(PROGRAM.parent), *folders], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout)
    assert len(answers) == 3 * len(folders)
    assert {call: code for call, code in answers.items() if code not in (0, 1)} == {}


def test_a_pipe_a_folder_or_a_log_without_end_holds_no_verb_up(tmp_path: Path) -> None:
    run = written(tmp_path / "run")
    for name in ("steps.jsonl", "events.jsonl", "runner.json"):
        (run.path / name).unlink()
    os.mkfifo(run.path / "steps.jsonl")
    os.mkfifo(run.path / "runner.json")
    (run.path / "events.jsonl").mkdir()
    answer = call("health", run.path, code=1)
    assert statuses(answer)["files.readable"] == "fail"
    assert "pipe" in check(answer, "files.readable")["evidence"]
    assert call("status", run.path)["data"]["state"] == "unknown"


def test_a_copy_does_not_show_the_originals_processes_as_its_own(tmp_path: Path) -> None:
    run_id = "c" * 16
    run, copy = written(tmp_path / "run"), tmp_path / "copy"
    environment = {**os.environ, "TRAINYARD_RUN_ID": run_id, "TRAINYARD_RUN_DIR": str(run.path)}
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            start = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            whose = {"boot_id": boot, "pid": process.pid, "start_time": start}
            run.runner("running", run_id=run_id, supervisor=whose, launcher=whose)
            shutil.copytree(run.path, copy)
            assert call("status", run.path)["data"]["state"] == "running"
            assert call("status", copy)["data"]["state"] == "lost"
            run.runner("running", run_id=run_id, supervisor={**whose, "pid": 1}, launcher=None)
            shutil.copy(run.path / "runner.json", copy / "runner.json")
            assert call("status", run.path)["data"]["state"] == "orphaned"
            assert call("status", copy)["data"]["state"] == "lost"
        finally:
            process.kill()
