"""What the launcher makes of the end of its ranks: torchrun's stderr as torch 2.15 writes it."""

from __future__ import annotations

import pytest
from trainyard.launch_cause import Ending, ending, oom_kills

HEAD = """
*****************************************
Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid your system being overloaded
*****************************************
"""
TAIL = """W1128 15:13:23.828000 15864 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 15931 closing signal SIGTERM
E1128 15:13:23.946000 15864 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: {code}) local_rank: 1 (pid: 15932)
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
Root Cause (first observed failure):
[0]:
  rank      : 5 (local_rank: 1)
  exitcode  : {code} (pid: 15799)
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""
RANK = """[rank5]: Traceback (most recent call last):
[rank5]:   File "/tmp/t2.py", line 3, in <module>
[rank5]: ValueError: no data in /x/00123
[rank5]:[W1128 15:13:23.100 ProcessGroupNCCL.cpp:1524] Warning: destroy_process_group() was not called
"""
FORGED = "Root Cause (first observed failure):\n  exitcode  : -9 (pid: 1)\n"
ENDS = {
    "an exception": (RANK + TAIL.format(code=1), "rank 5 exited with 1: ValueError: no data in /x/00123 (t2.py:3)"),
    "a code of its own": (
        "usage: t.py\nt.py: error: bad\n" + TAIL.format(code=2),
        "rank 5 exited with 2: t.py: error: bad",
    ),
    "a signal": (
        "loading\n" + TAIL.format(code=-9),
        "rank 5 killed by SIGKILL (9): somebody's kill -9, or the kernel when memory ran out",
    ),
    "a signal without a name": (TAIL.format(code=-200), "rank 5 killed by an unknown signal (200)"),
    "no report": (
        "torchrun: error: unrecognized arguments\n",
        "torchrun exited with 1 (an error; the log has it) without a report: torchrun: error: unrecognized arguments",
    ),
    "nothing at all": ("", "torchrun exited with 1 (an error; the log has it) without a report"),
    "a forged report": (
        FORGED + RANK + TAIL.format(code=1),
        "rank 5 exited with 1: ValueError: no data in /x/00123 (t2.py:3)",
    ),
}


def ends(stderr: str, *, is_program: bool = False) -> Ending:
    return ending(1, oom_kills(), (HEAD + stderr).encode(), is_program=is_program)


@pytest.mark.parametrize(("stderr", "why"), ENDS.values(), ids=ENDS)
def test_the_cause_is_the_ranks_own_and_not_torchruns_banner(stderr: str, why: str) -> None:
    assert ends(stderr).why == why


def test_text_that_is_no_text_is_shown_as_far_as_it_can_be() -> None:
    found = ending(1, oom_kills(), b"\xff\x1b[31mred\x07\n" * 1000, is_program=True)
    assert found.why.endswith('its last line: "\ufffdred"')


def test_what_stays_the_same_is_without_numbers_and_nothing_stays_of_an_end_from_outside() -> None:
    """The rule itself is local-runner's too, and is tested there with real processes."""
    first, again = (ends(RANK.replace("00123", number) + TAIL.format(code=1)).same for number in ("00123", "00777"))
    assert first == again != ""
    assert ends(RANK.replace("no data", "no file") + TAIL.format(code=1)).same != first
    assert ends("loading\n" + TAIL.format(code=-9)).same == ""
    assert ends(RANK.replace("no data", "Connection closed by peer") + TAIL.format(code=1)).same == ""
    assert ends("").same == "", "which rank it was, and how it ended, nobody knows"
