"""Runs on the head of a Ray cluster, sent there as `python -c`; standard library only, for any Python 3 of an image.

run WORD...           becomes that program, its stderr joined to its stdout so that both stay in order
submit ID ENTRYPOINT  submits a Ray job unless ID is there, and prints it
info ID               prints the Ray job as JSON, null where Ray does not know it
stop ID SECONDS       asks Ray to end the job (SIGTERM, and SIGKILL after RAY_JOB_STOP_WAIT_TIME_S), waits at most so long for its
                      driver to be gone, and prints whether it is
logs ID OFFSET        prints {"text", "size", "job"}: what the driver printed from that character on

Over Ray's REST API and not with `ray job submit`: that command joins its words with Windows' rules in older versions of Ray, so that
`python -c "print(1)"` reaches the shell unquoted; and it needs 2 s to import Ray.
"""

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request

# KubeRay's own words for `ray start`, in the environment of the container that it starts Ray in
PORT = re.search(r"--dashboard-port[= ](\d{1,5})\b", os.environ.get("KUBERAY_GEN_RAY_START_CMD", ""))
DASHBOARD = "http://127.0.0.1:%s/api/jobs/" % (PORT.group(1) if PORT else 8265)


def call(path, body=None):
    token = os.environ.get("RAY_AUTH_TOKEN")
    headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + token} if token else {})}
    request = urllib.request.Request(DASHBOARD + path, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        said = error.read().decode("utf-8", "replace")[-500:]
        sys.exit(f"Ray's dashboard says {error.code}: {said}")
    except OSError as error:
        sys.exit(f"Ray's dashboard does not answer: {error}")


def info(job):
    kept = ("submission_id", "status", "message", "entrypoint", "start_time", "end_time", "driver_exit_code")
    found = call(job)
    return found and {key: found.get(key) for key in kept}


def submit(job, entrypoint):
    there = info(job)
    if not there:
        call("", {"submission_id": job, "entrypoint": entrypoint})
    return {"job": there or info(job), "made": not there}


def stop(job, seconds):
    deadline, seen = time.monotonic() + float(seconds), drives(job)
    call(job + "/stop", {})
    while True:
        there = drives(job)
        # no process was ever seen: then Ray's word alone tells, however late
        gone = not there if seen else (info(job) or {}).get("status") not in ("PENDING", "RUNNING")
        if gone or time.monotonic() > deadline:
            return {"gone": gone}
        time.sleep(0.5)


def drives(job):
    """Whether a process of the driver lives: Ray says RUNNING until the time to save is over (2.60.0: always all of it)."""
    marks = (b"job_submission_id", ('"' + job + '"').encode())
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/" + pid + "/environ", "rb") as file:
                environment = file.read()
            if all(mark in environment for mark in marks):
                return True
        except OSError:
            pass
    return False


def logs(job, offset):
    text = (call(job + "/logs") or {}).get("logs") or ""
    return {"text": text[int(offset) :], "size": len(text), "job": info(job)}


def run(*words):
    os.dup2(1, 2)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        print(f"{words[0]}: {error.strerror}")
        sys.exit(127)


print(json.dumps({"run": run, "info": info, "submit": submit, "stop": stop, "logs": logs}[sys.argv[1]](*sys.argv[2:])))
