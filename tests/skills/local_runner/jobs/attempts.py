"""Ends as told for each attempt: `attempts.py 3 -9 0` exits with 3, then dies by SIGKILL, then exits with 0.

After the last word it repeats it. `wait` waits for a signal. `leave3` leaves a daemon behind and exits with 3.
"""

import os
import signal
import subprocess
import sys
import time

attempt = int(os.environ["TRAINYARD_ATTEMPT"])
word = sys.argv[1:][min(attempt, len(sys.argv) - 2)]
print(f"attempt {attempt}, step 1: {word}", flush=True)
if word == "wait":
    while True:
        signal.pause()
if word.startswith("leave"):
    family = os.path.join(os.path.dirname(__file__), "family.py")
    subprocess.run(
        [sys.executable, "-c", f"import os, sys; os.fork() or os.execv({sys.executable!r}, {[sys.executable, family]!r})"]
    )
    while not os.path.exists(os.path.join(os.environ["TRAINYARD_RUN_DIR"], "pids", "job")):
        time.sleep(0.02)
    word = word.removeprefix("leave")
code = int(word)
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
