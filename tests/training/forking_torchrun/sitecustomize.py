"""With this folder on PYTHONPATH, launchers fork their ranks from one process that has torch imported: see forking_launcher.py."""

import os
import sys
from pathlib import Path

LAUNCHERS = ("torch.distributed.run", "accelerate.commands.launch")

if sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2] in LAUNCHERS:
    program = str(Path(__file__).with_name("forking_launcher.py"))
    # The same process goes on, with room behind its environment: that of a rank, which is longer, is written over it.
    os.execve(sys.executable, [sys.executable, program, *sys.orig_argv[2:]], {**os.environ, "TRAINYARD_TEST_ROOM": "x" * 16384})
