"""A job with a family. Each member writes its pid into the run folder and waits for a signal.

family.py [--relative KIND] [--deaf] [--saves] [--then EXIT_CODE]
KIND: child, grandchild, daemon (double fork, own session), wiped (daemon without environment), deaf-daemon.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(os.environ.get("TRAINYARD_RUN_DIR", sys.argv[-1]))


def sign(role: str) -> None:
    folder = HERE / "pids"
    folder.mkdir(exist_ok=True)
    temporary = folder.parent / f".{role}.{os.getpid()}"
    temporary.write_text(str(os.getpid()))
    temporary.rename(folder / role)


def relative(kind: str) -> None:
    """Start the member of this kind; returns once it has signed."""
    if kind == "grandchild":
        subprocess.Popen([sys.executable, __file__, "--member", "between", str(HERE)])
    elif kind == "child":
        subprocess.Popen([sys.executable, __file__, "--member", "relative", str(HERE)])
    else:
        environ = {} if kind == "wiped" else dict(os.environ)
        deaf = ["--deaf"] if kind == "deaf-daemon" else []
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execve(sys.executable, [sys.executable, __file__, "--member", "relative", *deaf, str(HERE)], environ)
            os._exit(0)
        os.wait()
    while not (HERE / "pids" / "relative").exists():
        time.sleep(0.02)


def save_and_leave(*_: object) -> None:
    (HERE / "saved").write_text("yes")
    sys.exit(int(arguments.then))


parser = argparse.ArgumentParser()
parser.add_argument("--relative")
parser.add_argument("--member")
parser.add_argument("--deaf", action="store_true")
parser.add_argument("--saves", action="store_true")
parser.add_argument("--then", default="143")
parser.add_argument("here", nargs="?")
arguments = parser.parse_args()
if arguments.deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if arguments.saves:
    signal.signal(signal.SIGTERM, save_and_leave)
if arguments.relative:
    relative(arguments.relative)
if arguments.member == "between":
    subprocess.Popen([sys.executable, __file__, "--member", "relative", str(HERE)])
sign(arguments.member or "job")
print("waiting", flush=True)
while True:
    signal.pause()
