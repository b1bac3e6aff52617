"""A launcher without torch: `moods.py MOOD...`, one rank a mood; one mood alone is a job without ranks. Later attempts end well."""

import os
import subprocess
import sys
import time
from pathlib import Path

if os.environ["TRAINYARD_ATTEMPT"] != "0":
    sys.exit(0)
folder = Path(os.environ["TRAINYARD_RUN_DIR"])


def live(mood: str) -> None:
    step = 0
    while True:
        step += 1
        if mood == "steps" or (mood == "some" and step <= 20):
            print(f"step {step} loss {9 - step / 1000:.3f}", flush=True)
        elif mood == "words":
            print(f"the {step}. word", flush=True)
        time.sleep(0.1)


if "RANK" in os.environ or len(sys.argv) == 2:
    (folder / "pids").mkdir(exist_ok=True)
    (folder / "pids" / os.environ.get("RANK", "0")).write_text(str(os.getpid()))
    mood = sys.argv[1]
    if mood != "exit":
        live(mood)
else:
    size = len(sys.argv) - 1
    for rank, mood in enumerate(sys.argv[1:]):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
        subprocess.Popen([sys.executable, __file__, mood], env=os.environ | place)
    for _ in range(size):
        os.wait()
