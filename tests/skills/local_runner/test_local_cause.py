"""Why an attempt ended: the first failing rank's own words, never a victim's, and never what merely looks like torchrun's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECORDED = Path(__file__).resolve().parent / "recorded"
SOURCE = Path(__file__).resolve().parents[3] / "skills" / "local-runner" / "src"
# log, exit code of the launcher, what the kernel said (exit code, rank) or None, the reason
TABLE = [
    (
        "import",
        1,
        None,
        "rank 1 exited with 1: ModuleNotFoundError: No module named 'nosuchmodule' (t.py:5: import nosuchmodule)",
    ),
    ("device", 1, [1, 0], "rank 0 exited with 1: RuntimeError: Found no NVIDIA driver on your system."),
    ("value", 1, [1, 1], "rank 1 exited with 1: ValueError: label 10 is out of range (t.py:15: raise ValueError("),
    ("tee", 1, [1, 1], "rank 1 exited with 1: ValueError: label 10 is out of range (t.py:15: raise ValueError("),
    ("value", 1, [1, 0], "rank 1 failed: ValueError: label 10 is out of range"),
    ("value", 1, [-9, 0], "rank 0 killed by SIGKILL (9)"),
    ("chain", 1, None, "rank 1 exited with 1: RuntimeError: cannot read the shard (t.py:18: except KeyError as e: raise"),
    ("segv", 1, None, "rank 1 killed by SIGSEGV (11): a crash in native code"),
    ("segv", 1, [-11, 1], "rank 1 killed by SIGSEGV (11): a crash in native code"),
    ("quit", 1, [1, 1], 'rank 1 exited with 1 (an error; the log has it); its last line: "no data left"'),
    (
        "gone",
        1,
        [1, 0, [1]],
        "rank 0 exited with 1: RuntimeError: [/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc",
    ),
    ("watchdog", 1, [-6, 0], "rank 1 failed: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."),
    ("handled", 1, None, 'exited with 1 (an error; the log has it); its last line: "step=30 loss=1.0"'),
    ("native", -6, None, "killed by SIGABRT: what():  the tokenizer's file is damaged"),
]
ENDS = [
    ("import nosuch", 1, "exited with 1: ModuleNotFoundError: No module named 'nosuch' (<string>:1)"),
    ("x = (", 1, "exited with 1: SyntaxError: '(' was never closed (<string>:1: x = ()"),
    ("raise SystemExit('no data in /data')", 1, 'exited with 1 (an error; the log has it); its last line: "no data in /data"'),
    (
        "import argparse as a; p = a.ArgumentParser(); p.parse_args(['--x'])",
        2,
        "exited with 2: -c: error: unrecognized arguments: --x",
    ),
    ("open('/no/file')", 1, "exited with 1: FileNotFoundError: [Errno 2] No such file or directory: '/no/file' (<string>:1)"),
    (
        "try: 1 / 0\nexcept ArithmeticError: {}['k']",
        1,
        "exited with 1: KeyError: 'k' (<string>:2); first: ZeroDivisionError: division by zero",
    ),
    ("raise ExceptionGroup('two', [KeyError(1)])", 1, "exited with 1: ExceptionGroup: two (1 sub-exception) (<string>:1)"),
    ("raise ValueError('\\n\\n  \\x1b[31mthe real\\x00 thing')", 1, "exited with 1: ValueError: the real thing (<string>:1)"),
    ("import faulthandler as f; f.enable(); f._sigsegv()", -11, "killed by SIGSEGV: Fatal Python error: Segmentation fault"),
    ("raise ValueError('x' * 5000 + ' the end')", 1, "exited with 1: ValueError: xxxxx"),
]
ASK = """
import json, sys
from pathlib import Path
from death_cause import Failure, find_cause
from death_words import last_words, tail, torchrun_names
for log, code, seen in json.load(sys.stdin):
    lines = tail(Path(log))
    told = torchrun_names(lines)
    seen = Failure(*seen[:2], tuple(seen[2]) if seen[2:] else ()) if seen else None
    print(json.dumps(find_cause(code, seen, Failure(told[1], told[0]) if told else None, last_words(lines)).reason))
"""


def reasons(asked: list[tuple[Path, int, list | None]]) -> list[str]:
    """What the supervisor would say of these logs; asked in a process of its own, as it is one."""
    text = json.dumps([(str(log), code, seen) for log, code, seen in asked])
    done = subprocess.run([sys.executable, "-c", ASK], cwd=SOURCE, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_reason_is_the_guilty_ranks_own_words():
    told = reasons([(RECORDED / f"{name}.log", code, seen) for name, code, seen, _ in TABLE])
    assert [reason[: len(row[3])] for reason, row in zip(told, TABLE, strict=True)] == [row[3] for row in TABLE]
    assert "first: KeyError: 'tokens'" in told[6]
    assert "rank 1 had ended with 0 before" in told[10]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Reasons of processes that really end in each way."""
    folder, asked = tmp_path_factory.mktemp("ends"), []
    for number, (script, code, _) in enumerate(ENDS):
        log = folder / f"{number}.log"
        with log.open("wb") as file:
            ended = subprocess.run([sys.executable, "-I", "-c", script], stdout=file, stderr=file, timeout=60)
        assert ended.returncode == code, log.read_text()
        asked.append((log, code, None))
    return reasons(asked)


def test_every_way_in_which_a_python_process_ends_has_its_reason(ends):
    assert [reason[: len(row[2])] for reason, row in zip(ends, ENDS, strict=True)] == [row[2] for row in ENDS]


def test_a_reason_is_one_line_of_bounded_length(ends):
    assert all(len(reason) <= 600 and reason.isprintable() for reason in ends)


def test_the_reason_quotes_the_script_and_not_the_runtime(tmp_path):
    frames = [
        '/home/me/train.py", line 8, in main\n    run.step()',
        '/src/training/trainyard/checkpointer.py", line 409, in _save',
    ]
    words = "trainyard.errors.SaveError: step 3 was not saved"
    log = tmp_path / "log"
    log.write_text("Traceback (most recent call last):\n" + "".join(f'  File "{frame}\n' for frame in frames) + words + "\n")
    assert reasons([(log, 1, None)]) == [f"exited with 1: {words} (train.py:8 in main: run.step())"]


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "[rank1]:" * 30, "Root Cause", " |" * 120, "a." * 150])
def test_a_log_made_to_be_slow_is_read_soon(tmp_path, line):
    log = tmp_path / "log"
    log.write_text(f"{line}\n" * (600_000 // len(line)))
    assert reasons([(log, 1, None)])[0].startswith("exited with 1")
