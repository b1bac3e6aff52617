"""The last words of each rank in the tail of a log: its uncaught exception, or its last line.

Only ever shown, or compared with the last words of the attempt before: anybody can write such text. Standard library only. Used by
local-runner's supervisor too (a copy, byte for byte), as death_cause.py and death_patience.py are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

TAIL_BYTES = 256 * 1024
LINE_CHARS = 300
AFTERWARDS = 20
"""Lines that may follow a death's traceback in its own stream (an exit handler's, a warning about what leaked); after more
than that, it was a traceback that the script survived."""

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""As the skills have it for all text from outside (skills/kit/trainyard_output.py)."""
# torch's excepthook writes [rank1]:, torchrun --tee [default1]:, or the word of --role.
PREFIX = re.compile(r"\[(?:rank:? ?|default|trainer|worker)(\d+)\]:\s?")
# torchrun's own log lines: W1128 14:31:29.646000 9712 torch/distributed/elastic/...
TORCHRUN_LINE = re.compile(r"[IWEF]\d{4} [\d:.]+\s+\d+\s+(\S*/)?torch/distributed/")
CHILD_FAILED = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
NAMED = re.compile(r"\s+(?P<field>rank|exitcode)\s+: (?P<number>-?\d+)")
GROUP = re.compile(r" +(?:[|+] ?)+")
HEADER = re.compile(r"(?:Exception Group )?Traceback \(most recent call last\):$")
FRAME = re.compile(r'\s+File "(?P<file>[^"]*)", line (?P<line>\d+)(?:, in (?P<name>.*))?$')
# The runtime, where it is not installed into site-packages: what the script called it for is the line that says something.
OURS = re.compile(r"/training/trainyard/[a-z_]+\.py$")
EXCEPTION = re.compile(r"(?:\w+\.)*[A-Z]\w*(?:: ?(?P<text>.*))?$")
CHAIN = ("During handling of the above exception", "The above exception was the direct cause")
# What native code, argparse and the interpreter say when they end a process without a traceback.
LAST_WORDS = re.compile(
    r"\s*what\(\):|Fatal Python error: |terminate called|.*: error: |.*: can't open file |.*: No module named |F\d{4} |"
    r".*Segmentation fault|.*Bus error|.*core dumped|.*command not found|.*Permission denied"
)

# A last line that is no error message may have nothing to do with the end, unless it says that something is wrong.
COMPLAINT = re.compile(
    r"\b(no|not|none|cannot|can't|could|error|fail(ed|s|ure)?|missing|invalid|unknown|unrecogni[sz]ed|required?s?|unable|must|"
    r"expected|unsupported|denied|exceeds?|abort(ed|ing)?|fatal|exception|needs?|too|insufficient|wrong|bad|without)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Words:
    """How one rank ended, in its own words."""

    rank: int | None
    """None: the line does not say."""
    text: str
    """The exception line, or the last line that the rank wrote."""
    where: str = ""
    """`train.py:12 in main` and the line of code, of the innermost frame that is the script's own."""
    earlier: str = ""
    """The exception that this one was raised from, or while handling."""
    is_error: bool = True
    """False: nothing but the last line; whether it has to do with the end is not known."""

    @property
    def complains(self) -> bool:
        return self.is_error or COMPLAINT.search(self.text) is not None


@dataclass
class Block:
    """One traceback while it is read."""

    begin: int
    at: int
    """Numbers of its first and last line in its stream."""
    frames: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(file, line number, function, code), the outermost first."""
    text: str = ""
    earlier: str = ""


def tail(log: Path) -> list[str]:
    """The last lines of `log`, as `plain_lines` has them."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            raw = file.read(TAIL_BYTES).decode(errors="replace")
    except OSError:
        return []
    return plain_lines(raw)


def plain_lines(raw: str) -> list[str]:
    """Free of control characters; of a progress bar, what was to be seen last."""
    return [_plain(line) for line in raw.split("\n")]


def _plain(line: str) -> str:
    seen = line.rstrip("\r").rpartition("\r")[2]
    return UNPRINTABLE.sub("", ESCAPES.sub("", seen)).rstrip()[:2000]


def torchrun_names(lines: list[str]) -> tuple[int, int] | None:
    """(rank, exit code) of the first failure as torchrun's last message has it."""
    start = max((number for number, line in enumerate(lines) if line.startswith(CHILD_FAILED)), default=len(lines))
    start = next((at for at in range(start, len(lines)) if lines[at].startswith("Root Cause")), len(lines))
    named = {found["field"]: int(found["number"]) for line in lines[start : start + 10] if (found := NAMED.match(line))}
    return (named["rank"], _exit_code(named["exitcode"])) if named.keys() == {"rank", "exitcode"} else None


def _exit_code(told: int) -> int:
    """HyperPod's launcher tells raw wait statuses: -36608 is exit code 143, -139 is SIGSEGV with a core. Else as torchrun tells it."""
    if told % 256 == 0 and -65536 < told <= -256:
        return -told // 256
    return told + 128 if -192 < told < -128 else told


def last_words(lines: list[str]) -> list[Words]:
    """What each rank said last, in the order in which they said it; a stream of lines without a rank's number counts as one."""
    streams: dict[int | None, list[tuple[int, str]]] = {}
    for number, line in enumerate(lines):
        rank, text = _stream_of(line)
        streams.setdefault(rank, []).append((number, text))
    found = [words for rank, stream in streams.items() for words in _ends(rank, stream)]
    return [words for _, words in sorted(found, key=lambda pair: pair[0])]


def _stream_of(line: str) -> tuple[int | None, str]:
    rank = None
    while prefix := PREFIX.match(line):
        rank, line = int(prefix[1]), line[prefix.end() :]
    return rank, line


def _ends(rank: int | None, stream: list[tuple[int, str]]) -> list[tuple[int, Words]]:
    """(number of the line, words) for each uncaught exception of a stream; without one, its last line."""
    stream = _without_torchrun(stream)
    lines = [text for _, text in stream]
    if blocks := _last_blocks(lines):
        return [(stream[block.at][0], _words(rank, block)) for block in (blocks if rank is None else blocks[-1:])]
    for at in range(len(lines) - 1, max(-1, len(lines) - AFTERWARDS - 1), -1):
        if LAST_WORDS.match(lines[at]):
            return [(stream[at][0], Words(rank, lines[at].strip()[:LINE_CHARS]))]
    last = max((at for at, text in enumerate(lines) if text.strip()), default=None)
    return [] if last is None else [(stream[last][0], Words(rank, lines[last].strip()[:LINE_CHARS], is_error=False))]


def _without_torchrun(stream: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Without torchrun's log lines and its last message, which is a traceback too."""
    for at in range(len(stream) - 1, -1, -1):
        if stream[at][1].startswith(CHILD_FAILED):
            head = max((before for before in range(at) if HEADER.match(stream[before][1])), default=at)
            stream = stream[:head]
            break
    return [(number, text) for number, text in stream if not TORCHRUN_LINE.match(text)]


def _last_blocks(lines: list[str]) -> list[Block]:
    """The tracebacks at the end of a stream, after which it said little else."""
    blocks = _blocks(lines)
    others, end = 0, len(lines)
    for number in range(len(blocks) - 1, -1, -1):
        others += sum(1 for line in lines[blocks[number].at + 1 : end] if line.strip())
        if others > AFTERWARDS:
            return blocks[number + 1 :]
        end = blocks[number].begin
    return blocks


def _blocks(lines: list[str]) -> list[Block]:
    """Every traceback, chained ones as one."""
    found: list[Block] = []
    block: Block | None = None
    chained = False
    for at, raw in enumerate(lines):
        line = GROUP.sub("", raw, count=1) if "|" in raw[:12] or "+" in raw[:12] else raw
        if HEADER.match(line):
            block = Block(at, at)
        elif frame := FRAME.match(line):
            block = block or Block(at, at)  # a SyntaxError has no head
            block.frames.append((frame["file"], frame["line"], frame["name"] or "", ""))
        elif line.startswith(CHAIN):
            chained = bool(found)
        elif block and block.frames and (not line or line[0] == " "):
            if line.strip(" ^~") and not block.frames[-1][3]:
                block.frames[-1] = (*block.frames[-1][:3], line.strip())
        elif block and (exception := EXCEPTION.match(line)):
            block.at, block.text = at, _message(exception, lines, at)
            if chained and found:
                before = found.pop()
                block.begin, block.earlier = before.begin, before.text
            found.append(block)
            block, chained = None, False
    return found


def _message(exception: re.Match[str], lines: list[str], at: int) -> str:
    """The exception line; with the next line that says something where it says nothing itself."""
    text = exception.string
    if exception["text"] == "" and ":" in text:
        more = next((line.strip() for line in lines[at + 1 : at + 6] if line.strip()), "")
        text = f"{text} {more}"
    return text[:LINE_CHARS]


def _words(rank: int | None, block: Block) -> Words:
    others = [frame for frame in block.frames if not OURS.search(frame[0])]
    own = [frame for frame in others if not _is_library(frame[0])] or others[-1:]
    where = ""
    if own:
        file, line, name, code = own[-1]
        where = f"{Path(file).name}:{line}" + (f" in {name}" if name and name != "<module>" else "")
        where += f": {code[:120]}" if code else ""
    return Words(rank, block.text, where, block.earlier)


def _is_library(file: str) -> bool:
    return file.startswith("<") or re.search(r"/(site-packages|dist-packages|lib/python3[^/]*)/", file) is not None
