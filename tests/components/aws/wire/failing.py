"""Calls that fail on demand: throttled, expired, broken off."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from tests.components.aws.wire.exchange import BrokenBodyError
from tests.components.aws.wire.refused import Refused

HANG_UP = "HANG_UP"
"""As a code: the connection is broken without an answer."""


@dataclass
class Failure:
    action: str
    """As policies name it: ecr:DescribeImages. The operation's own name is taken too: s3:HeadObject."""
    code: str
    message: str = ""
    status: int = 400
    times: int = 1
    skip: int = 0
    """How many calls pass first."""


@dataclass
class Failures:
    waiting: list[Failure] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def strike(self, *actions: str) -> None:
        """Raises Refused, or BrokenBodyError to hang up, where the call of this name is to fail."""
        with self.lock:
            for failure in self.waiting:
                if failure.action not in actions or not failure.times:
                    continue
                if failure.skip:
                    failure.skip -= 1
                    continue
                failure.times -= 1
                if failure.code == HANG_UP:
                    raise BrokenBodyError("as asked")
                raise Refused(failure.code, failure.message or failure.code, failure.status)
