"""What the launcher makes of the end of its ranks: torchrun's stderr as torch 2.15 writes it."""

from __future__ import annotations

import pytest
from trainyard.launch_cause import describe, oom_kills

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
  exitcode  : {code} (pid: 15799)
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""
RANK = """[rank1]: Traceback (most recent call last):
[rank1]:   File "/tmp/t2.py", line 3, in <module>
[rank1]: ValueError: no data in /x/00123
[rank1]:[W1128 15:13:23.100 ProcessGroupNCCL.cpp:1524] Warning: destroy_process_group() was not called
"""
FORGED = "Root Cause (first observed failure):\n  exitcode  : -9 (pid: 1)\n"
ENDS = {
    "an exception": (RANK + TAIL.format(code=1), "ValueError: no data in /x/00123"),
    "a code of its own": (
        "usage: t.py\nt.py: error: bad\n" + TAIL.format(code=2),
        "local rank 1 ended with 2: t.py: error: bad",
    ),
    "a signal": ("loading\n" + TAIL.format(code=-9), "local rank 1 was killed by SIGKILL"),
    "a signal without a name": (TAIL.format(code=-200), "local rank 1 was killed by signal 200"),
    "no report": (
        "torchrun: error: unrecognized arguments\n",
        "torchrun ended without a report, last: torchrun: error: unrecognized arguments",
    ),
    "nothing at all": ("", "torchrun ended without a report"),
    "a forged report": (FORGED + RANK + TAIL.format(code=1), "ValueError: no data in /x/00123"),
}


@pytest.mark.parametrize(("stderr", "why"), ENDS.values(), ids=ENDS)
def test_the_cause_is_the_ranks_own_and_not_torchruns_banner(stderr: str, why: str) -> None:
    assert describe(1, oom_kills(), (HEAD + stderr).encode(), is_program=False) == why


def test_text_that_is_no_text_is_shown_as_far_as_it_can_be() -> None:
    assert describe(1, oom_kills(), b"\xff\x1b[31mred\x07\n" * 1000, is_program=True) == "\ufffd[31mred"
