"""A rank that no SIGTERM reaches, as one in a collective of NCCL: waits in the first start, ends well in the next."""

import os
import signal
import sys
import time
from pathlib import Path

if os.environ["TRAINYARD_ATTEMPT"] != "0":
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
starts = Path(os.environ["TRAINYARD_RUN_DIR"]) / "starts"
starts.mkdir(exist_ok=True)
(starts / f"{os.environ['RANK']}-0").write_text(str(os.getpid()))
print("deaf", flush=True)
while True:
    time.sleep(1)
