"""A rank under torchrun, without torch and without Trainyard: notes its start, then ends as told.

`worker.py WORD...`: the word of this start, counted over all attempts; the last repeats. `wait` waits for a signal.
"""

import os
import signal
import sys
from pathlib import Path

rank = os.environ["RANK"]
starts = Path(os.environ["TRAINYARD_RUN_DIR"]) / "starts"
starts.mkdir(exist_ok=True)
number = len(list(starts.glob(f"{rank}-*")))
words = sys.argv[1:]
word = words[min(number, len(words) - 1)]
sys.stdout.write(f"rank {rank}: step {number}\n")  # in one write: print makes two, and the ranks share a log
sys.stdout.flush()
(starts / f"{rank}-{number}").write_text(str(os.getpid()))
if word == "wait":
    while True:
        signal.pause()
sys.exit(int(word))
