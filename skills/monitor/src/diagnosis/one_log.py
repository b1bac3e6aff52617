"""One log, read once with bounded memory: what rules fitted, how ranks ended, where the steps are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from diagnosis.facts import Death, Found, Source, Steps, Waited
from diagnosis.log_middle import Middle
from diagnosis.log_pieces import pieces_of_interest
from diagnosis.log_text import Line, line_of
from diagnosis.other_launchers import OtherLaunchers
from diagnosis.rules import Rule, every_of, rule
from diagnosis.torchrun_words import TORCHRUN, Report
from diagnosis.tracebacks import Block, Key, Stream

STEP = re.compile(
    r"""(?ix)\b(?:global_?step|step|iter(?:ation)?|it|batch)s?\b["']?(?:\s*[:=#]\s*|\s+)\[?(?P<step>\d{1,12})\b
    |\b(?P<bar>\d{1,12})/\d{1,12}\ \[\d+:\d\d
    |\bepoch:?\ ?\[\d{1,9}\]\ ?\[\ {0,11}(?P<batch>\d{1,12})/\d{1,12}\]
    |["']step["']:\ ?(?P<json>\d{1,12})"""
)
PROGRESS = re.compile(
    r"(?i)\bloss\b|it/s|s/it|\blr\b|tokens|tok/s|samples|throughput|ms/|ppl|acc|step_s|mfu|\d/\d+|\bdone\b|finished"
)
TROUBLE = re.compile(r"(?i)\berror|exception|fail|timed? ?out|abort|killed|traceback|\bwarn|watchdog|retry|out of memory")
NAN = re.compile(
    r"""(?i)\b(?:train_?|lm |total_?|val_?|eval_?)?loss["']?\s*(?:[:=]|\bis\b)?\s*["']?[-+]?(?:nan|inf(?:inity)?)\b"""
)
SKIPPED_STEP = re.compile(r"(?i)skip|overflow|loss scale")
KEPT = 6
"""Of one rule in one log the first and the newest sightings; how many there were is counted."""
KNOWN_SHAPES = 4000
COMPLAINT = re.compile(
    r"(?i)\b(?:error|exception|fail(?:ed|ure)?|fatal|critical|abort(?:ed)?|cannot|unable|denied|refused|timed out)\b|\w+(?:Error|Exception)\b"
)
COMPLAINT_WORDS = ("error", "excep", "fail", "fatal", "critical", "abort", "cannot", "unable", "denied", "refused", "timed out")
MAX_OTHERS = 200
AGAIN = re.compile(r"(?i)\b(?:try(?:ing)? (?:again|later)|retry(?:ing)?|will retry|attempt \d+ ?(?:of|/) ?\d+)\b")
"""What is tried again is no end."""
NEAR_BYTES = 8 << 10
"""Processes that end together write over each other: a line of a traceback stands beside it."""
OWNER = re.compile(r"\[Rank (\d{1,6}) Error Snippet\]|-{6,}Begin global rank (\d{1,6}) STD(?:OUT|ERR)-{6,}")
OWNED = re.compile(r"-{6,}End global rank \d{1,6} STD(?:OUT|ERR)-{6,}")
"""Whose lines come now: Ray Train before each worker's traceback, Composer around what each rank wrote."""
RECORD = re.compile(r"\b(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\b")
DIGITS = re.compile(r"\d+")
VARYING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+")
LEFT_OUT = re.compile(r"\[\.\.\. (\d+) bytes left out \.\.\.\]")
WATCHDOG = re.compile(
    r"Watchdog caught collective operation timeout: WorkNCCL\(SeqNum=(?P<seq>\d+), OpType=(?P<op>\w+)(?:, NumelIn=(?P<numel>\d+))?"
)
STATUS = re.compile(
    r"(?i)last enqueued (?:NCCL )?work: (?P<enqueued>-?\d+), last completed (?:NCCL )?work: (?P<completed>-?\d+)"
)
PG = re.compile(r"\[PG (?:ID )?(?P<group>\S+)[^\]]* Rank \d+\]")
WORLD = re.compile(r"(?i)\bworld[_ ]?size\b[\"']?\s*[=:(]?\s*(\d{1,6})\b|WORLD_SIZE=(\d{1,6})\b")


@dataclass
class Complaint:
    text: str
    first: int
    last: int
    count: int = 1
    ranks: set[int] = field(default_factory=set)


@dataclass
class LogFacts:
    source: Source
    found: list[Found] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    waited: list[Waited] = field(default_factory=list)
    steps: Steps = field(default_factory=Steps)
    blocks: list[tuple[int | None, int | None, Block]] = field(default_factory=list)
    """(rank, local rank, traceback) of each stream's end."""
    last: dict[tuple[int | None, int | None], tuple[int, str]] = field(default_factory=dict)
    world_size: int | None = None
    first_time: float | None = None
    last_time: float | None = None
    lines: int = 0
    locals_seen: set[int] = field(default_factory=set)
    ranks_seen: set[int] = field(default_factory=set)
    problem: str | None = None
    is_short: bool = False
    """Repetitions in the middle of a long log were not read: counts are too low."""
    complaints: dict[str, Complaint] = field(default_factory=dict)
    """Lines that no rule knows and that sound like an error, by their shape."""

    @property
    def launched(self) -> bool:
        """torchrun has told of failures."""
        return bool(self.deaths)

    @property
    def ends_in_complaint(self) -> bool:
        """Its last line sounds like an error, and no step comes after it."""
        offset, text = max(self.last.values(), default=(0, ""))
        return _complains(text[:1000]) and not AGAIN.search(text) and not self.steps.after(offset)


class LogReader:
    def __init__(self, source: Source) -> None:
        self.facts = LogFacts(source)
        self._report = Report(source)
        self._others = OtherLaunchers(source)
        self._streams: dict[tuple[int | None, int | None], Stream] = {}
        self._shapes: dict[str, tuple[tuple[Rule, re.Match[str]], ...] | None] = {}
        self._kept: dict[tuple[str, int | None, int | None, str], list[Found]] = {}
        self._time: float | None = None
        self._record: Key = (None, None)
        self._record_at = -2
        """The last log record's writer and line."""
        self._logged_blocks: list[Block] = []
        self._owner: int | None = None
        """Whose lines come now, as a line before has said."""

    def read(self) -> LogFacts:
        assert self.facts.source.path is not None
        try:
            middle = Middle()
            for offset, raw in pieces_of_interest(self.facts.source.path, middle):
                if raw is None:
                    for stream in self._streams.values():
                        stream.passed_over()
                else:
                    self._line(offset, raw)
            self.facts.is_short = middle.is_short
        except (OSError, ValueError) as error:
            self.facts.problem = f"{self.facts.source.name} cannot be read to its end: {error}"
        return self._end()

    # --- one line ------------------------------------------------------------------------------------------------

    def _line(self, offset: int, raw: bytes) -> None:
        line, facts = self._owned(line_of(raw)), self.facts
        facts.lines += 1
        if line.time is not None:
            self._time = line.time
            facts.first_time = facts.first_time or line.time
            facts.last_time = max(facts.last_time or 0.0, line.time)
        if line.rank is not None:
            facts.ranks_seen.add(line.rank)
        elif line.local_rank is not None:
            facts.locals_seen.add(line.local_rank)
        if facts.world_size is None and (world := WORLD.search(line.text)):
            facts.world_size = int(world[1] or world[2]) or None
        key = (line.rank, line.local_rank)
        stream = self._streams.setdefault(key, Stream())
        if LEFT_OUT.match(line.text):
            return stream.passed_over()
        if self._report.feed(offset, line):
            return None
        self._others.feed(offset, line)
        if self._is_step(offset, line):
            stream.feed(offset, line.text, self._time)
            return None
        kind = stream.feed(offset, line.text, self._time)
        self._logged(key, line, kind, stream)
        self._waited(offset, line)
        in_code = kind == "inside" and line.text[:1] in (" ", "\t")
        if not in_code and line.text:
            self._rules(offset, line, kind == "exception", stream)
        return None

    def _owned(self, line: Line) -> Line:
        if ("Error Snippet]" in line.whole or "Begin global rank" in line.whole) and (match := OWNER.search(line.whole)):
            self._owner = int(match[1] or match[2])
        elif self._owner is not None and OWNED.match(line.whole):
            self._owner = None
        return line if self._owner is None or line.rank is not None else replace(line, rank=self._owner)

    def _logged(self, key: Key, line: Line, kind: str, stream: Stream) -> None:
        """Follows tracebacks that a rank logs: it goes on, or its end is told by somebody else."""
        if kind == "" and line.text.strip():
            for block in self._logged_blocks:
                block.survived |= block.logged_by == key
        if RECORD.search(line.whole[:160]):
            self._record, self._record_at = key, self.facts.lines
        elif (opened := stream.opened) is not None and (by := self._writer_of(opened, stream)) is not None:
            opened.logged_by = by
            self._logged_blocks = [*self._logged_blocks[-63:], opened]

    def _writer_of(self, block: Block, stream: Stream) -> Key | None:
        """Of the record directly before it, or before the one that it was raised from."""
        if block.chained and stream.blocks:
            return stream.blocks[-1].logged_by
        return self._record if self.facts.lines - self._record_at == 1 else None

    def _is_step(self, offset: int, line: Line) -> bool:
        text, steps = line.text, self.facts.steps
        match = STEP.search(text[:2000])
        if not match:
            return False
        step = int(match["step"] or match["bar"] or match["batch"] or match["json"])
        if nan := NAN.search(text):
            if SKIPPED_STEP.search(text):
                return True
            steps.nan_count += 1
            if not steps.nan or steps.finite_after_nan:
                steps.nan, steps.finite_after_nan = [(offset, step, line.whole)], False
            assert nan
            return False
        if TROUBLE.search(text) or not PROGRESS.search(text):
            return False
        steps.first = offset if steps.first is None else steps.first
        if re.search(r"(?i)\bloss\b", text):
            steps.finite_after_nan = steps.finite_after_nan or bool(steps.nan)
        if not steps.last or steps.last[-1][1] != step:
            steps.last = [*steps.last[-2:], (offset, step, self._time)]
        return True

    def _waited(self, offset: int, line: Line) -> None:
        rank = line.rank
        if rank is None or len(self.facts.waited) > 4096:
            return
        group = PG.search(line.whole)
        if match := WATCHDOG.search(line.text):
            self.facts.waited.append(
                Waited(rank, self.facts.source, offset, line.whole, int(match["seq"]), match["op"], match["numel"])
            )
        elif match := STATUS.search(line.text):
            told = Waited(rank, self.facts.source, offset, line.whole, group=group["group"] if group else "")
            told.enqueued, told.completed = int(match["enqueued"]), int(match["completed"])
            self.facts.waited.append(told)

    def _rules(self, offset: int, line: Line, is_exception: bool, stream: Stream) -> None:
        fitting = self._fitting(line.text)
        for each, match in fitting:
            self._keep(each, match, offset, line, stream, is_exception)
        if not fitting and _complains(line.text[:1000]) and not TORCHRUN.search(line.text):
            self._complaint(offset, line)

    def _complaint(self, offset: int, line: Line) -> None:
        shape = DIGITS.sub("0", line.text[:160])
        known = self.facts.complaints.get(shape)
        if known is None:
            if len(self.facts.complaints) >= MAX_OTHERS:
                return
            known = self.facts.complaints[shape] = Complaint(line.whole, offset, offset, 0)
        known.count, known.last = known.count + 1, offset
        if line.rank is not None and len(known.ranks) < 64:
            known.ranks.add(line.rank)

    def _fitting(self, text: str) -> tuple[tuple[Rule, re.Match[str]], ...]:
        shape = VARYING.sub("0", text[:400])
        if shape in self._shapes and self._shapes[shape] is None:
            return ()
        fitting = tuple(every_of("log", text))
        if len(self._shapes) < KNOWN_SHAPES:
            self._shapes[shape] = fitting or None
        return fitting

    def _keep(self, each: Rule, match: re.Match[str], offset: int, line: Line, stream: Stream, is_exception: bool) -> None:
        said = next((value for name, value in match.groupdict().items() if name.startswith("rank") and value), "")
        kept = self._kept.setdefault((each.id, line.rank, line.local_rank, said), [])
        if len(kept) >= KEPT:
            kept[0].count += 1
            del kept[KEPT // 2]
        block = stream.blocks[-1] if is_exception and stream.blocks else None
        found = Found(each, self.facts.source, line.whole, line.rank, offset=offset, time=line.time or self._time)
        found.more = {name: value for name, value in match.groupdict().items() if value is not None}
        if line.local_rank is not None:
            found.more.setdefault("local", str(line.local_rank))
        if block is not None:
            found.more.setdefault("script_line", block.script_line)
            found.from_launcher = block.of_launcher
            found.more["block"] = str(block.end)
        found.pod, found.node = line.pod or self.facts.source.pod, found.more.pop("node", None) or line.node
        kept.append(found)

    # --- the end -------------------------------------------------------------------------------------------------

    def _end(self) -> LogFacts:
        facts = self.facts
        self._report.end()
        facts.deaths = self._report.deaths or self._others.deaths  # torchrun knows more than what starts it
        ends: set[int] = set()
        handled = {block.end for block in self._logged_blocks if block.survived and not facts.deaths}
        ignored = [block for stream in self._streams.values() for block in stream.blocks if block.ignored]
        handled |= {block.end for block in ignored}
        for (rank, local), stream in self._streams.items():
            for block in stream.uncaught():
                if block.end not in handled and "ChildFailedError" not in block.text:
                    facts.blocks.append((rank, local, block))
                    ends.add(block.end)
            if stream.last:
                facts.last[(rank, local)] = stream.last
        facts.found = [each for kept in self._kept.values() for each in kept]
        for each in facts.found:
            end = int(each.more.pop("block", -1))
            each.uncaught = end in ends
            at_exit = any(block.text in each.text and abs((each.offset or 0) - block.end) < NEAR_BYTES for block in ignored)
            each.overcome = not each.rule.sticky and (end in handled or at_exit or facts.steps.after(each.offset or 0) >= 2)
        self._nan()
        return facts

    def _nan(self) -> None:
        """Steps without a finite loss, to the last one: before, the job knew what to do about them."""
        steps = self.facts.steps
        if steps.nan and not steps.finite_after_nan and steps.nan_count >= 2:
            offset, step, text = steps.nan[0]
            found = Found(rule("loss.nan-steps"), self.facts.source, text, "any", offset=offset, count=steps.nan_count)
            found.more = {"step": str(step)}
            self.facts.found.append(found)


def _complains(text: str) -> bool:
    small = text.lower()
    for word in COMPLAINT_WORDS:  # most lines have none, and the pattern takes ten times as long
        if word in small:
            return COMPLAINT.search(text) is not None
    return False
