"""`--help` of every skill program against a click program with one option."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measuring import Comparison, Contestant, Group, interleave

GOAL, PEER = 2.0, "click, one option"
ONE_OPTION = """import click


@click.command()
@click.option("--name", default="world", help="Whom to greet.")
def hello(name: str) -> None:
    \"\"\"Greet somebody.\"\"\"
    click.echo(f"Hello {name}")


if __name__ == "__main__":
    hello()
"""


def programs(root: Path) -> list[Path]:
    """The programs of all skills: scripts with a PEP 723 header."""
    scripts = sorted(root.glob("skills/*/src/*.py"))
    return [
        script for script in scripts if re.search(r"^# /// script$", script.read_text(encoding="utf-8")[:4096], re.MULTILINE)
    ]


def run(root: Path, folder: Path, repeats: int) -> Group:
    """All programs and the peer in turn, with the interpreter that runs this."""
    peer = folder / "one_option.py"
    peer.write_text(ONE_OPTION)
    names = {program.relative_to(root).as_posix(): program for program in programs(root)}
    contestants: dict[str, Contestant] = {name: _starter(path) for name, path in {PEER: peer, **names}.items()}
    series = interleave(contestants, repeats)
    comparisons = [Comparison(name, series[name], series[PEER], GOAL) for name in names]
    return Group("--help of each program", list(series.values()), comparisons, [f"{PEER}: the smallest program of its kind"])


def _starter(script: Path) -> Contestant:
    def run_once() -> float:
        started = time.monotonic()
        done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=60)
        seconds = time.monotonic() - started
        if done.returncode or "Usage:" not in done.stdout:
            raise RuntimeError(f"{script} --help failed ({done.returncode}): {done.stderr[-500:]}")
        return seconds

    return run_once
