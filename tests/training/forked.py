"""A forked child that ends as a process of its own would."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

FAILED_BEFORE_ITS_MAIN = 70


def fork(run: Callable[[dict[str, Any]], int], request: dict[str, Any]) -> int:
    """Pid of a child that ends with the code that `run(request)` returns; nothing of the parent's runs on in it."""
    pid = os.fork()
    if pid:
        return pid
    code = FAILED_BEFORE_ITS_MAIN
    try:
        code = run(request)
    finally:
        os._exit(code)


def exit_code_of(main: Callable[[], Any]) -> int:
    """What the interpreter would exit with after `main`: of SystemExit its code, its text on stderr means 1; a traceback 1."""
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # whatever a script under test raises: the interpreter's answer to all of it is the same
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return int(code)
