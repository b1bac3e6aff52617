"""Two ranks under torchrun add up a tensor over gloo. What they found comes back in files, not in what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from image_probe.probe_report import Failed, Report, bounded
from image_probe.probe_torch import imported

RANKS = 2
SCRIPT = """\
import json, os, sys
def write(name, text):
    with open(os.path.join(sys.argv[1], name + "-" + os.environ["RANK"]), "w") as file:
        file.write(text)
def main():
    write("step", "import torch")
    import torch, torch.distributed as dist
    write("step", "init_process_group")
    dist.init_process_group("gloo")
    write("step", "all_reduce")
    value = torch.tensor([float(dist.get_rank() + 1), 10.0])
    dist.all_reduce(value)
    write("step", "destroy_process_group")
    write("rank", json.dumps([dist.get_world_size()] + value.tolist()))
    dist.destroy_process_group()
    write("step", "end")
try:
    main()
except BaseException as error:
    write("error", type(error).__name__ + ": " + str(error)[:500])
    raise
"""


def all_reduce(report: Report, item: dict[str, object]) -> dict[str, object]:
    """1 + 2 and 10 + 10 on both ranks."""
    imported(report)
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "all_reduce.py")
        with open(script, "w") as file:
            file.write(SCRIPT)
        report.step("torchrun: start two ranks")
        code, output = _torchrun(report, script, folder, float(str(item["limit_s"])))
        found = [_read(os.path.join(folder, f"rank-{rank}")) for rank in range(RANKS)]
        steps = [_text(os.path.join(folder, f"step-{rank}")) or "before Python" for rank in range(RANKS)]
        errors = [_text(os.path.join(folder, f"error-{rank}")) for rank in range(RANKS)]
    if code is None:
        raise Failed(f"two ranks did not end within {item['limit_s']} s; they were in: {', '.join(steps)}; {output}")
    if code or any(each != [RANKS, 3.0, 20.0] for each in found):
        first = next((each for each in errors if each), f"results {found}")
        raise Failed(f"{first} (torchrun exits {code}, ranks were in: {', '.join(steps)})\n{output[-1000:]}")
    return {"ranks": RANKS, "backend": "gloo"}


def _torchrun(report: Report, script: str, folder: str, limit_s: float) -> tuple[int | None, str]:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    words += ["--nproc-per-node", str(RANKS), script, folder]
    with tempfile.TemporaryFile(dir=folder) as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        try:
            code: int | None = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
            process.wait()
        output.seek(max(0, output.tell() - 65536))
        return code, bounded(output.read().decode("utf-8", "replace"), end=True)


def _read(path: str) -> object:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError):
        return None


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read(1000)
    except OSError:
        return ""
