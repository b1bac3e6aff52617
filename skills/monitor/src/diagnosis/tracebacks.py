"""The tracebacks of one stream of lines, followed as they come: where each ended, and whether the process went on after it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

HEADER = re.compile(r"(?:Exception Group |Original )?Traceback \(most recent call last\):$")
FRAME = re.compile(r'\s*File "(?P<file>[^"]*)", line (?P<line>\d+)(?:, in (?P<name>.*))?$')
EXCEPTION = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?::(?: (?P<text>.*))?)?$")
CHAIN = ("During handling of the above exception", "The above exception was the direct cause")
AFTERWARDS = 20
"""Lines that may follow a death's traceback in its own stream, as an exit handler's; after more it was survived."""
NO_WORDS = re.compile(
    r"\s*$|\s*frame #\d+:|W\d{4} |\[?[IWE]\d{3,4} |.*resource_tracker|.*leaked semaphore|\s+warnings\.warn|.*Warning: |\[\.\.\. \d+ bytes left out"
    r"|.*(Sending process|torch/distributed/|elastic|closing signal)|Exception raised from|terminate called|\s*what\(\)"
)
"""Lines that are no sign that a process went on."""
IGNORED = ("Exception ignored in", "Error in atexit._run_exitfuncs")
LAUNCHER = re.compile(r"torch/distributed/(run|launcher|elastic|launch)\b|accelerate/commands/launch|deepspeed/launcher")


Key = tuple[int | None, int | None]
"""Rank, local rank."""


@dataclass
class Block:
    """One traceback."""

    begin: int
    end: int = 0
    """Offsets of its first line and of its exception."""
    frames: list[tuple[str, str]] = field(default_factory=list)
    """(file, line number)."""
    text: str = ""
    chained: bool = False
    """It was raised while the one before was handled."""
    lines_after: int = 0
    time: float | None = None
    logged_by: Key | None = None
    """Whose log record stands directly before it: that rank has caught it, and logs it."""
    survived: bool = False
    """That rank wrote on."""
    ignored: bool = False
    """Python itself says so, of one in a destructor or at the end of the interpreter."""

    @property
    def of_launcher(self) -> bool:
        return any(LAUNCHER.search(file) for file, _ in self.frames)

    @property
    def script_line(self) -> str:
        """`train.py:12`, the innermost frame that is nobody's library."""
        own = [frame for frame in self.frames if "site-packages" not in frame[0] and "/lib/python3" not in frame[0]]
        return "{}:{}".format(own[-1][0].rpartition("/")[2], own[-1][1]) if own else ""


class Stream:
    """The lines of one rank in one log; of several ranks, where nothing tells them apart."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._open: Block | None = None
        self._chained = False
        self._is_ignored = False
        self.last: tuple[int, str] | None = None
        """The last line that says something."""

    def feed(self, offset: int, text: str, time: float | None) -> str:
        """`inside` a traceback, `exception`: the line that ends one, or `` for any other line."""
        bare = re.sub(r"^ +[|+] ?", "", text) if text[:4].strip(" ") in ("|", "+") else text
        was_ignored, self._is_ignored = self._is_ignored, text.startswith(IGNORED)
        if HEADER.search(bare[-60:]):
            self._is_ignored = was_ignored
            self._open = Block(offset, chained=self._chained, ignored=self._is_ignored)
            self._chained = False
            return "inside"
        if frame := FRAME.match(bare):
            self._open = self._open or Block(offset)
            self._open.frames.append((frame["file"], frame["line"]))
            del self._open.frames[:-40]
            return "inside"
        if bare.startswith(CHAIN):
            self._chained = bool(self.blocks)
            return "inside"
        if self._open is not None:
            return self._of_open(offset, bare, time)
        self._after(text)
        if text.strip() and not self._is_ignored:
            self.last = (offset, text)
        return ""

    @property
    def opened(self) -> Block | None:
        """A traceback whose header was the last line."""
        return self._open if self._open is not None and not self._open.frames else None

    def passed_over(self) -> None:
        for block in self.blocks:
            block.lines_after += AFTERWARDS // 2

    def _of_open(self, offset: int, bare: str, time: float | None) -> str:
        block = self._open
        assert block is not None
        stripped = bare.strip()
        if block.frames and stripped and self._is_end(bare):
            block.end, block.text, block.time, self._open = offset, stripped, time, None
            self.blocks = [*self.blocks[-15:], block]
            self.last = self.last if block.ignored else (offset, bare)
            return "exception"
        if not stripped or bare[0] in " \t" or not block.frames:
            return "inside"
        self._open = None  # other lines came between: it cannot be followed
        self._after(bare)
        return ""

    @staticmethod
    def _is_end(bare: str) -> bool:
        return (
            not bare.startswith(("    ", "\t")) and EXCEPTION.match(bare.strip()) is not None and not bare.startswith("  File")
        )

    def _after(self, text: str) -> None:
        if self.blocks and not NO_WORDS.match(text):
            for block in self.blocks:
                block.lines_after += 1

    def uncaught(self) -> list[Block]:
        """The tracebacks that the stream ends with."""
        return [block for block in self.blocks if block.lines_after <= AFTERWARDS and not block.ignored]
