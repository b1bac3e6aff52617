"""Every target stands a short search that is the same each time; the frame finds a planted fault, and keeps and repeats its input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import driver, searching, targets

pytest.importorskip("atheris", reason="the fuzzer comes for x86_64 alone")
RUNS, SEED = 600, 14


@pytest.mark.parametrize("name", targets.names())
def test_a_short_search_finds_nothing(name: str) -> None:
    ended = searching.search(targets.module_of(name), runs=RUNS, seed=SEED)
    assert ended.is_clean, ended.told()
    assert ended.runs >= RUNS


def test_the_memory_of_whoever_starts_a_search_does_not_count() -> None:
    program = (
        "from tests.fuzz import searching, targets\n"
        "held = b'x' * (1200 << 20)\n"
        f"ended = searching.search(targets.module_of('checkpoint_dcp'), runs={RUNS}, seed={SEED})\n"
        "assert ended.is_clean, ended.told()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=searching.ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_planted_fault_is_found_and_breaks_it_again(tmp_path: Path) -> None:
    ended = searching.search("tests.fuzz.planted", runs=100_000, seed=SEED)
    assert ended.found is not None and ended.found.read_bytes().endswith(b"evil") and "KeyError: 'evil'" in ended.told()
    assert not searching.search("tests.fuzz.planted", inputs=[ended.found]).is_clean
    (tmp_path / "good").write_bytes(b"good")
    assert searching.search("tests.fuzz.planted", inputs=[tmp_path / "good"]).is_clean
    ended.found.unlink()


def test_nothing_is_started_and_nobody_is_asked_while_it_searches() -> None:
    tried = "import subprocess, socket\ntry:\n {}\nexcept (PermissionError, ConnectionRefusedError) as error:\n print(error)"
    for call in ("subprocess.run(['true'])", "socket.create_connection(('127.0.0.1', 1))"):
        program = f"import sys\nfrom tests.fuzz import driver\nsys.addaudithook(driver.forbid)\n{tried.format(call)}"
        done = subprocess.run([sys.executable, "-c", program], cwd=searching.ROOT, capture_output=True, text=True, timeout=60)
        assert "while fuzzing" in done.stdout, done.stderr


def test_each_target_is_found_by_its_name() -> None:
    assert "kubeconfig" in targets.names() and targets.load(targets.module_of("kubeconfig")).seeds
    assert driver.__doc__ is not None
