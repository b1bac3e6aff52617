"""For the targets that read checkpoints: the verbs are asked about a path, and what they may answer is held against what is in it."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "skills" / "checkpoint-manager" / "src"
CPU_S = 5.0
"""For one verb. Files of this size take milliseconds, and what is refused as too much some tenths of a second."""
MAX_VALUES, MAX_REPEATED_BYTES = 50_000, 4 << 20
"""A tenth of what the skill takes, and less: what reaches its bounds shall not take seconds of each search."""
MAX_GROWTH = 20


class TooLong(BaseException):
    """No `except Exception` takes it."""


@contextlib.contextmanager
def limited(seconds: float = CPU_S) -> Iterator[None]:
    """Raises TooLong after so much processor time: unlike a clock, it tells the same on a machine with other work."""

    def over(*_: object) -> None:
        raise TooLong(f"more than {seconds} s of processor time")

    signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class Verbs:
    """`inspect`, `verify`, `tensors` and `convert` of one path. Each answers, or refuses in words."""

    def __init__(self, path: Path) -> None:
        sys.path.insert(0, str(SOURCE))
        import trainyard_shell as shell
        from checkpoint_formats import convert, inspection
        from checkpoint_formats.any_path import verify_other
        from tensor_reading import values
        from torch_reading import tensors

        shell.progress = lambda *_: None  # type: ignore[assignment]
        tensors.MAX_VALUES = MAX_VALUES
        values.MAX_REPEATED_BYTES = convert.MAX_REPEATED_BYTES = MAX_REPEATED_BYTES
        self.out = path.with_name("out.safetensors")
        self._refusal = shell.SkillError
        self._asked: dict[str, Callable[[], Any]] = {
            "inspect": lambda: inspection.inspect(str(path), 5),
            "verify": lambda: verify_other(str(path), {}, 5),
            "tensors": lambda: inspection.tensors(str(path), "", True, 5),
            "convert": lambda: convert.answer(str(path), str(self.out), "", (), False, 5),
        }

    def ask(self, verb: str) -> Any:
        """The verb's result; None where it refuses."""
        try:
            with limited():
                return self._asked[verb]()
        except self._refusal as error:
            assert error.code in ("usage", "not-found", "permission"), error.code
            return None

    def convert(self, size_bytes: int) -> bool:
        """Whether a file was written. It is not much larger than the `size_bytes` that it comes from."""
        self.out.unlink(missing_ok=True)
        done = self.ask("convert") is not None
        assert self.out.exists() == done
        assert not done or self.out.stat().st_size <= MAX_GROWTH * size_bytes + MAX_REPEATED_BYTES
        return done


def is_held_back(told: Any) -> bool:
    return any(check.status != "pass" for check in told.checks)


def reader(
    suffix: str, code_in: Callable[[bytes], str | None] = lambda _: None, is_told: Callable[[Any], bool] = is_held_back
) -> Callable[[bytes], None]:
    """Asks all verbs about a file with these bytes. What `code_in` finds in it may pass none of them: `is_told` looks at the result."""
    path = Path(tempfile.mkdtemp(prefix="trainyard-fuzz-")) / f"model{suffix}"
    verbs = Verbs(path)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        code = code_in(data)
        for verb in ("inspect", "verify"):
            told = verbs.ask(verb)
            if code and told is not None:
                assert is_told(told), f"{verb} says nothing of {code}"
                assert verb != "verify" or told.data["verdict"] != "intact", f"verify says intact, and it names {code}"
        told = verbs.ask("tensors")
        assert not code or told is None, f"tensors answers, and it names {code}"
        assert not verbs.convert(len(data)) or not code, f"convert takes it, and it names {code}"

    return read
