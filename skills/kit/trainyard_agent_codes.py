"""Exit codes as HyperPod's launcher tells them: the raw wait status with a minus sign, in messages of conditions, events and logs.

"exited with code -36608 due to: Signal 36608 (<N/A>)" is exit code 143, the agreed stop; -256 is exit code 1; -9 is SIGKILL, as in
torchrun. Read in hyperpod-elastic-agent 1.1.3, and seen there.
`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import re
import signal

AGREED_STOP = 143
TOLD = re.compile(
    r"(?P<head>\bexited with code|\bexitcode)(?P<gap>[ \t]{0,20}:?[ \t]{0,20})(?P<code>-\d{1,10})"
    r"(?P<tail> due to: Signal \d{1,10} \([^()]{1,40}\)(?: received by PID \d{1,10})?)?"
)
AGAIN = re.compile(r"failed \(exitcode: ?-?\d{1,10}\).*")
"""What the launcher prints ten times a second, for ever, from a worker's end until its operator answers."""


def exit_code_of(told: int) -> int:
    """-36608 -> 143, -256 -> 1, -139 -> -11 (SIGSEGV, with a core), -9 -> -9 (a signal), 7 -> 7; what is no wait status stays."""
    if told % 256 == 0 and -65536 < told <= -256:
        return -told // 256
    return told + 128 if -192 < told < -128 else told


def plain(text: str) -> str:
    """`text` with its wait statuses as the codes that they are: `exited with code 143 (an agreed stop)`."""
    return TOLD.sub(_plain, text)


def _plain(found: re.Match[str]) -> str:
    told = int(found["code"])
    code = exit_code_of(told)
    if code == told and found["tail"]:  # a signal, or a number that nobody knows: torch's own words are right
        return found[0]
    return f"{found['head']}{found['gap']}{code}{_meaning(code)}"


def _meaning(code: int) -> str:
    if code == AGREED_STOP:
        return " (an agreed stop)"
    if -code in set(signal.Signals):
        return f" ({signal.Signals(-code).name})"
    return ""


def repeated(text: str, before: str) -> tuple[bool, str]:
    """(whether `text` says once more what this pod's launcher has just said, what to compare the next line with)."""
    found = AGAIN.search(text)
    return (found[0] == before, found[0]) if found else (False, "")
