"""Faults that show in other words than usual: in a thread, in the store, in the words of other people's libraries."""

from __future__ import annotations

import http.server
import os
import signal
import ssl
import subprocess
import sys
import threading

from tests.doctor_corpus.areas.data import mounted
from tests.doctor_corpus.areas.frameworks import OFFLINE
from tests.doctor_corpus.areas.state import EVERYBODY
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.launching import environment, finish, started, torchrun, two_nodes, when_log_has
from tests.doctor_corpus.truth import case

AGAIN = ("RESTART",)
BOTH = (*EVERYBODY, 1)
REFILL = """
def refill(self):
    for i in range(400):
        record = None if self.rank == 2 and i == 11 else b"seed %d" % i
        self.records.put(record.decode())
"""


@case(
    "reader-thread-dies-first",
    cause="script-error",
    rank=2,
    restart="STOP",
    also_restart=AGAIN,
    proof="queue.Empty|_queue.Empty",
)
def reader(bench: Bench) -> None:
    """An AttributeError ends the reader thread of rank 2; its main thread raises queue.Empty six seconds later, the others lose it."""
    begin = "self.records = queue.Queue(4)\nthreading.Thread(target=refill, args=(self,), name='reader', daemon=True).start()"
    bench.script("ranked", imports="import queue, threading\n" + REFILL, setup=begin, sample="self.records.get(timeout=6)")
    bench.write("train.log", torchrun(bench, "train.py", procs=3).read_bytes())


STORE = """
store = dist.distributed_c10d._get_default_store()
logger.info("indexing the documents of part %d", self.rank)
time.sleep(40 if self.rank == 3 else 0.2)
store.set(f"index/ready/{self.rank}", b"1")
logger.info("index of part %d is written", self.rank)
for each in range(self.world):
    store.wait([f"index/ready/{each}"], timedelta(seconds=6))
"""


@case(
    "store-key-never-set",
    cause="rank-stuck",
    also=("collective-missing", "hang-unknown", "rendezvous-failed", "slow-rank"),
    rank=3,
    restart="RESTART",
    also_restart=("STOP",),
    proof="index/ready/3",
)
def store(bench: Bench) -> None:
    """The ranks tell each other through the store that their indexes are there; rank 3 is not done when the others give up."""
    bench.script("ranked", setup=STORE)
    bench.pods(two_nodes(bench, "train.py"))


@case(
    "data-server-certificate",
    cause="download-failed",
    also=("storage-unreachable", "connection-refused", "script-error"),
    rank="all",
    also_rank=BOTH,
    restart="STOP",
    also_restart=AGAIN,
    proof="CERTIFICATE_VERIFY_FAILED",
)
def certificate(bench: Bench) -> None:
    """The data server's certificate is signed by nobody whom the image trusts: each rank refuses it."""
    key, signed = bench.work / "key.pem", bench.work / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(signed)], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fetch = f'logger.info("fetching the vocabulary")\nvocabulary = urllib.request.urlopen("https://localhost:{server.server_port}/vocab.json", timeout=5).read()'
    bench.script("ranked", imports="import urllib.request", setup=fetch)
    bench.write("train.log", torchrun(bench, "train.py", procs=2).read_bytes())
    server.shutdown()


@case(
    "shared-library-missing",
    cause="module-missing",
    also=("driver-mismatch", "file-missing", "script-error"),
    rank="all",
    also_rank=BOTH,
    restart="STOP",
    proof="cannot open shared object file",
)
def library(bench: Bench) -> None:
    """A package of fused kernels was built for another CUDA: its library is not in the image."""
    package = bench.work / "fused_adam" / "__init__.py"
    package.parent.mkdir()
    package.write_text('import ctypes\n\n_lib = ctypes.CDLL("libcudart.so.11.0")\n\n\nclass FusedAdam:\n    pass\n')
    bench.script("caught", imports="from fused_adam import FusedAdam")
    bench.pods([torchrun(bench, "train.py", procs=2).read_bytes()])


@case(
    "clipping-meets-infinity",
    cause="nan-loss",
    also=("bad-batch",),
    rank=1,
    restart="RESTART_OLDER",
    also_restart=("STOP", *AGAIN),
    proof="is non-finite, so it cannot be clipped",
)
def clipping(bench: Bench) -> None:
    """Gradients of rank 1 overflow at step 14, and clip_grad_norm_ refuses them before they are averaged."""
    clip = "nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, error_if_nonfinite=True)"
    bench.script("ranked", step="if step == 14 and self.rank == 1: x = x * 1e30", reduce=clip)
    bench.write("logs/job.log", torchrun(bench, "train.py", procs=3).read_bytes())


SAVE = """
import argparse
import torch
from torch import nn
model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 1))
torch.save({"model": model.state_dict(), "args": argparse.Namespace(lr=1e-3, data="c4"), "step": 800}, "step-800.pt")
"""


@case(
    "checkpoint-with-arguments-refused",
    cause="script-error",
    also=("checkpoint-mismatch",),
    rank="all",
    also_rank=BOTH,
    restart="STOP",
    proof="Weights only load failed",
)
def weights_only(bench: Bench) -> None:
    """The checkpoint is whole, but holds an argparse.Namespace, which torch.load refuses by default; no older one would do either."""
    (bench.work / "save.py").write_text(SAVE)
    torchrun(bench, "save.py", procs=1, log="save.log")
    load = 'state = torch.load(args.resume, map_location="cpu")\nself.model.load_state_dict(state["model"])'
    bench.script("ranked", setup=load)
    bench.write("train.log", torchrun(bench, "train.py", "--resume", "step-800.pt", procs=2).read_bytes())


@case("safetensors-disk-full", cause="disk-full", rank=0, restart="STOP", proof="os error 28")
def safetensors(bench: Bench) -> None:
    """The export of the weights as safetensors does not fit on its disk: the error is one of Rust's."""
    save = 'if step == 16 and rank == 0: save_file({"head.weight": torch.zeros(300, 400)}, "export/model.safetensors")'
    bench.script("plain", imports="from safetensors.torch import save_file", after=save)
    with mounted(bench.work / "export", "size=128k"):
        bench.write("train.log", torchrun(bench, "train.py", procs=3).read_bytes())


@case(
    "accelerate-names-shapes",
    cause="collective-mismatch",
    rank=1,
    also_rank=("all", "any", 0, 2),
    restart="STOP",
    proof="Process 1: \\[7, 3\\]",
)
def shapes(bench: Bench) -> None:
    """accelerate's debug mode compares shapes before it gathers: the predictions of process 1 are a row short."""
    gather = "rows = model(x).detach()\nif step == 12 and accelerator.process_index == 1: rows = rows[:-1]\nif step % 4 == 0: accelerator.gather(rows)"
    bench.script("accel", step=gather)
    env = {**OFFLINE, "ACCELERATE_DEBUG_MODE": "1"}
    bench.write("train.log", torchrun(bench, "train.py", procs=3, env=env).read_bytes())


@case(
    "lightning-interrupted",
    cause="stopped-by-user",
    rank="any",
    also_rank=("all", None, "launcher", 0, 1),
    restart="STOP",
    also_restart=AGAIN,
    proof="Detected KeyboardInterrupt",
)
def interrupted(bench: Bench) -> None:
    """Lightning starts its second process by itself; somebody presses Ctrl-C in the middle of the epoch."""
    bench.script("lit", step="import time\ntime.sleep(0.5)\nprint(f'batch {batch_index}: {loss.item():.4f}', flush=True)")
    path = bench.work / "out.log"
    with started([sys.executable, str(bench.work / "train.py")], path, bench.work, environment(**OFFLINE)) as process:
        when_log_has(path, "batch 5: ", 120)
        os.killpg(process.pid, signal.SIGINT)
        finish(process)
    bench.write("nohup.log", path.read_bytes())
