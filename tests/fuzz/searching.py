"""One search in a process of its own: how long, from which seeds, and what came of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import targets

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(tempfile.gettempdir()) / "trainyard-fuzz-found"
START_S = 60
"""For the imports, on a machine with other work."""
RUNS_S = 300
"""For so many runs, or for inputs that are tried once: each has its own limit."""

TOLD_LINES = 25


@dataclass(frozen=True)
class Ended:
    code: int
    output: str
    found: Path | None
    """The input that broke the target."""

    @property
    def is_clean(self) -> bool:
        return self.code == 0 and self.found is None

    @property
    def runs(self) -> int:
        return int(found[-1]) if (found := re.findall(r"^#(\d+)", self.output, re.MULTILINE)) else 0

    def told(self) -> str:
        if self.is_clean:
            return f"nothing found in {self.runs} runs"
        _, _, cause = self.output.partition("=== Uncaught Python exception: ===\n")
        told = cause.partition("\n==")[0] if cause else "\n".join(self.output.splitlines()[-TOLD_LINES:])
        return f"{told}\nexit {self.code}, found: {self.found}"


def search(
    module: str,
    *,
    seconds: int = 0,
    runs: int = 0,
    seed: int = 0,
    inputs: Sequence[Path] = (),
    show: bool = False,
) -> Ended:
    """`inputs`: only these, once each. Else a search for so many seconds, or so many runs (the same ones for the same seed)."""
    target = targets.load(module)
    with tempfile.TemporaryDirectory(prefix="trainyard-fuzz-") as folder:
        place = Path(folder)
        words = [sys.executable, "-m", "tests.fuzz.driver", module, *_limits(target, place)]
        if inputs:
            words += [str(path.resolve()) for path in inputs]
        else:
            words += [f"-max_total_time={seconds}", f"-runs={runs or -1}", f"-seed={seed}", f"-dict={place / 'words'}"]
            words += [str(place / "corpus"), str(place / "seeds")]
        code, output = _run(words, place, START_S + 2 * seconds + (RUNS_S if runs or inputs else 0), show)
        kept = _kept(place / "found", target.name)
    return Ended(code, output, kept or (inputs[0] if inputs and code else None))


def _limits(target: targets.Target, place: Path) -> list[str]:
    """The flags of every run, and the folders that it uses."""
    for each in ("corpus", "seeds", "found"):
        (place / each).mkdir()
    for number, seed in enumerate(target.seeds):
        (place / "seeds" / str(number)).write_bytes(seed)
    (place / "words").write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    limits = [f"-max_len={target.max_bytes}", f"-timeout={target.timeout_s}", f"-rss_limit_mb={target.memory_mb}"]
    return [*limits, f"-artifact_prefix={place / 'found'}/", "-len_control=0"]


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


OF_ITS_OWN = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]
"""Forks what follows. libFuzzer's limit looks at ru_maxrss, which a process takes over from the one that it was forked from: pytest with
torch in it is larger than the limit."""


def _run(words: list[str], place: Path, deadline_s: float, show: bool) -> tuple[int, str]:
    """(exit code, what it said). What the target leaves behind goes with `place`."""
    environment = {**os.environ, "TMPDIR": str(place), "HOME": str(place)}
    with (place / "said").open("w+b") as said:
        done = subprocess.run([*OF_ITS_OWN, *words], cwd=ROOT, env=environment, stdout=said, stderr=said, timeout=deadline_s)
        said.seek(0)
        output = said.read().decode("utf-8", "replace")
    if show:
        sys.stderr.write(output)
    return done.returncode, output


def _kept(found: Path, name: str) -> Path | None:
    """The first input that was found, where it stays."""
    first = next(iter(sorted(found.iterdir())), None)
    if first is None:
        return None
    KEPT.mkdir(exist_ok=True)
    return Path(shutil.copy(first, KEPT / f"{name}-{first.name}"))
