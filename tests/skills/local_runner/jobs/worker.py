"""A rank under torchrun, without torch: reports its start as trainyard does, then ends as told.

`worker.py WORD...`: the word of this start, counted over all attempts; the last repeats. `wait` waits for a signal.
"""

import json
import os
import signal
import sys
from pathlib import Path

run = Path(os.environ["TRAINYARD_RUN_DIR"])
rank, restart, attempt = os.environ["RANK"], int(os.environ["TORCHELASTIC_RESTART_COUNT"]), os.environ["TRAINYARD_ATTEMPT"]
starts = run / "starts"
starts.mkdir(exist_ok=True)
number = len(list(starts.glob(f"{rank}-*")))
told = "--silent" not in sys.argv
words = [word for word in sys.argv[1:] if word != "--silent"]
if rank == "0" and told:
    event = {"time": 0.0, "type": "start", "source": "trainer", "restart_count": restart, "attempt": int(attempt)}
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")
(starts / f"{rank}-{number}").write_text(f"{os.getpid()} {os.environ['PET_MAX_RESTARTS']}")
word = words[min(number, len(words) - 1)]
if word == "wait":
    while True:
        signal.pause()
sys.exit(int(word))
