"""The head of a RayCluster without Ray, run as `python -c`: it answers KubeRay about its job as Ray's dashboard does, and trains.

A job `train` is RUNNING, or FAILED once a file fail-CLUSTER lies on the volume, while the training
goes on: so it is where the driver is lost and ranks are not. Any other job has SUCCEEDED. SIGTERM changes nothing, as of `ray start`.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VOLUME, CLUSTER = pathlib.Path("/trainyard"), os.environ["RAY_CLUSTER_NAME"]
jobs = {}
"""Submission id -> entrypoint."""


class Dashboard(BaseHTTPRequestHandler):
    def do_GET(self):
        id = self.path.split("/")[3]
        if self.path.endswith("/logs"):
            return self.answer(200, {"logs": "said by the driver\n"})
        status = "FAILED" if (VOLUME / ("fail-" + CLUSTER)).exists() else "RUNNING" if jobs.get(id) == "train" else "SUCCEEDED"
        self.answer(200 if id in jobs else 404, {"status": status, "submission_id": id, "entrypoint": jobs.get(id)})

    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        jobs[told["submission_id"]] = told["entrypoint"]
        if told["entrypoint"] == "train":
            threading.Thread(target=train).start()
        self.answer(200, {"job_id": told["submission_id"], "submission_id": told["submission_id"]})

    def answer(self, code, document):
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


LOOP = """
import time, torch, trainyard
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer)
step = checkpointer.restore()
while True:
    loss = model(torch.ones(1, 1)).square().sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    time.sleep(0.02)
    step += 1
    checkpointer.step(step, loss=loss.item())
"""


def train():
    words = [sys.executable, "-m", "trainyard.launch", "--program", "--", sys.executable, "-c", LOOP]
    with (VOLUME / ("said-" + CLUSTER)).open("wb") as said:
        done = subprocess.run(words, check=False, stdout=said, stderr=subprocess.STDOUT)
    (VOLUME / ("exit-" + CLUSTER)).write_text(str(done.returncode))


signal.signal(signal.SIGTERM, signal.SIG_IGN)
ThreadingHTTPServer(("", int(os.environ.get("PLAYED_PORT", "8265"))), Dashboard).serve_forever()
