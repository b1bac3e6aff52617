"""The same for many things at once, in threads that end with the process: one that hangs in a read keeps nobody from an answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


def side_by_side(
    do: Callable[[Thing], Answer], things: Sequence[Thing], jobs: int
) -> tuple[dict[Thing, Answer], list[BaseException]]:
    """(the answers, what was raised). The wait for them is ended by whatever a signal raises; the threads then go on alone."""
    todo: queue.SimpleQueue[Thing] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Thing, Answer] | BaseException] = queue.SimpleQueue()
    for thing in things:
        todo.put(thing)

    def work() -> None:
        while True:
            try:
                thing = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((thing, do(thing)))
            except BaseException as error:
                done.put(error)

    for _ in range(min(jobs, len(things))):
        threading.Thread(target=work, daemon=True).start()
    outcomes = [done.get() for _ in things]
    errors = [each for each in outcomes if isinstance(each, BaseException)]
    return dict(each for each in outcomes if not isinstance(each, BaseException)), errors
