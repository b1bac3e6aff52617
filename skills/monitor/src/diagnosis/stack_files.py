"""Stacks of ranks, as files: which rank is stopped, and which one is elsewhere than all others."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from diagnosis.case import Case
from diagnosis.facts import Found, Source
from diagnosis.log_text import plain
from diagnosis.pauses import is_of_a_moment, proves_straying
from diagnosis.rules import rule
from trainyard_files import Unusable, open_regular

MAX_BYTES = 4 << 20
HEAD = re.compile(r"=+ rank (\d{1,6})\b")
FILE_RANK = re.compile(r"rank-?_?(\d{1,6})")
STOPPED = re.compile(r"state T\b|State:\s*T\b|\(stopped\)|do_signal_stop|\bstate[\"']?\s*[:=]\s*[\"']?T\b")
DISK_WAIT = re.compile(r"state D\b|State:\s*D\b|\(disk sleep\)")
COLLECTIVE = re.compile(
    r"distributed_c10d|all_?reduce|all_?gather|reduce_scatter|barrier|broadcast|c10d::|ncclAll|gloo|ProcessGroup|_engine_run_backward|synchronize|"
    r"all_to_all|monitored_barrier|work\.wait|wait_tensor"
)
OF_THE_SYSTEM = re.compile(r"(?m)^thread \d+ '.*$")
FRAME = re.compile(r"\.py\b")
"""Of a rank that could not be read there is none: where it is, nobody knows."""
GONE = re.compile(r"the process is gone")


def outliers(case: Case) -> list[Found]:
    """A stopped rank; else the rank that is in no collective while most others are."""
    texts = _by_rank(case.evidence.stacks)
    if not texts or is_of_a_moment(case):
        return []
    found = []
    for rank, (path, text) in texts.items():
        if line := next((line for line in text.splitlines() if STOPPED.search(line)), None):
            found.append(_found(case, "rank.stopped", rank, path, line))
    if found and len(found) < len(texts):
        return found
    if not proves_straying(case):
        return []
    read = {rank: main for rank, (_, text) in texts.items() if FRAME.search(main := _main(text))}
    inside = {rank: COLLECTIVE.search(main) is not None for rank, main in read.items()}
    outside = [rank for rank, waits in inside.items() if not waits]
    counts = Counter(inside.values())
    if not outside or counts[True] < len(outside):
        return []
    return [_found(case, "rank.stuck", rank, texts[rank][0], _innermost(texts[rank][1])) for rank in outside[:8]]


def _found(case: Case, name: str, rank: int, path: Path, line: str) -> Found:
    source = Source(str(path.relative_to(case.evidence.root)) if path.is_relative_to(case.evidence.root) else path.name, path)
    return Found(rule(name), source, line.strip()[:400], rank, uncaught=True)


def _by_rank(files: list[Path]) -> dict[int, tuple[Path, str]]:
    """The newest word on each rank."""
    texts: dict[int, tuple[Path, str]] = {}
    for path in files:
        try:
            with open_regular(path) as file:
                text = "\n".join(plain(line) for line in file.read(MAX_BYTES).split(b"\n"))
        except (OSError, Unusable):
            continue
        parts = HEAD.split(text)
        for number, part in zip(parts[1::2], parts[2::2], strict=False):
            texts[int(number)] = (path, part)
        if len(parts) == 1 and (match := FILE_RANK.search(path.name)):
            texts[int(match[1])] = (path, text)
    return {rank: each for rank, each in texts.items() if not GONE.search(each[1][:80])}


def _main(text: str) -> str:
    """The frames of the main thread; all of it where threads are not told apart. Threads of the system, as the supervisor lists them
    behind the frames, have gloo in their names whatever the rank does."""
    text = OF_THE_SYSTEM.sub("", text)
    match = re.search(
        r"(?ms)^Thread [^\n]*\"MainThread\".*?(?=^Thread |\Z)|^(?:Current thread|Thread) [^\n]*most recent call first.*?(?=^Thread |^Current thread|\Z)",
        text,
    )
    blocks = re.split(r"(?m)^(?=(?:Current t|T)hread )", text)
    named = next((block for block in blocks if "MainThread" in block[:120]), None)
    if named is not None:
        return named
    # faulthandler tells the main thread last
    return blocks[-1] if match and len(blocks) > 1 and "most recent call first" in blocks[-1][:200] else text


def _innermost(text: str) -> str:
    lines = [line for line in _main(text).splitlines() if re.search(r"\.py\b", line)]
    return lines[0] if lines else next((line for line in text.splitlines() if line.strip()), "")
