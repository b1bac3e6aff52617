"""More than two DDP ranks resume in the order of sums of the run before, although no script does anything for it."""

from __future__ import annotations

import socket
import sys

import pytest

from tests.training.forking import forked_run


@pytest.mark.parametrize(("how", "outcome"), [("settled", "equal"), ("not", "differs")])
def test_a_start_of_four_ranks_sums_in_the_order_of_the_one_before(how: str, outcome: str) -> None:
    """The second one is the negative control: it also proves that the comparison sees the last bit of a sum."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    words = [sys.executable, "-m", "tests.training.ddp_order_run", port, how]
    done = forked_run(words, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, outcome), done.stderr[-3000:]
