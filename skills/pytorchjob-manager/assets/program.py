"""Runs one program in a pod: `python3 -c THIS PROGRAM ARGUMENTS...`, what a command that is not torchrun becomes.

Where the image has trainyard, trainyard.launch does it. Elsewhere this does the same in small: a program that fails is started
again, up to TRAINYARD_MAX_RESTARTS; one that is not in the image is not. Exit code: 0 finished, 143 stopped by SIGTERM, 1 given up
(for good, in the eyes of the operator). The count outlives the pod where there is a volume. Standard library of Python 3.8.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

LAUNCHER = "trainyard.launch_hub"  # of the versions that know --program
TERMINATION_LOG = "/dev/termination-log"
RUN_DIR = os.environ.get("TRAINYARD_RUN_DIR", "")
HAS_VOLUME = os.path.isdir(os.path.dirname(RUN_DIR))
COUNT = os.path.join(RUN_DIR, "trainyard-program.json")
MOST = int(os.environ.get("TRAINYARD_MAX_RESTARTS", "3"))
START = os.environ.get("TRAINYARD_SUBMISSION", "")
PASSED_ON = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
GOOD_ATTEMPT_S, LONGEST_DELAY_S = 60, 60


def has_launcher():
    with contextlib.suppress(ImportError, ValueError):
        return importlib.util.find_spec(LAUNCHER) is not None
    return False


class Program:
    """The words, started again and again; as process 1 of the pod also the parent of whatever lost its own."""

    def __init__(self, words):
        self.words, self.pid, self.stopped = words, 0, False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        for number in PASSED_ON:  # whoever sends one to process 1 of the pod means the program
            signal.signal(number, self.pass_on)

    def stop(self, number, frame):
        self.stopped = True
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)

    def pass_on(self, number, frame):
        if self.pid:
            os.kill(self.pid, number)

    def attempt(self):
        """Its exit code, negative for a signal. Raises OSError: there is no such program."""
        self.pid = subprocess.Popen(self.words).pid
        if self.stopped:  # while it was being started
            os.kill(self.pid, signal.SIGTERM)
        while True:
            ended, status = os.wait()
            if ended == self.pid:
                self.pid = 0
                return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def rest(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stopped:
            time.sleep(0.1)


def restarts_before():
    """Of pods before this one; one more where the last was killed while its program ran."""
    try:
        with open(COUNT, encoding="utf-8") as file:
            told = json.loads(file.read(4096))
        if told["start"] != START or type(told["restarts"]) is not int or told["restarts"] < 0:
            return 0
        return told["restarts"] + (told["running"] is True)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return 0


def note(restarts, running):
    if HAS_VOLUME:
        with contextlib.suppress(OSError):  # full, or read-only
            if not os.path.isdir(RUN_DIR):
                os.makedirs(RUN_DIR, exist_ok=True)
                os.chmod(RUN_DIR, os.stat(RUN_DIR).st_mode & 0o2000 | 0o770)  # for its user and the volume's group alone
            with open(COUNT + ".new", "w", encoding="utf-8") as file:
                json.dump({"start": START, "restarts": restarts, "running": running}, file)
            os.replace(COUNT + ".new", COUNT)


def oom_kills():
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def give_up(restarts, why):
    why = why[:1000]
    note(0, False)  # whoever starts it once more means it
    say(why)
    if os.path.isfile(TERMINATION_LOG):
        with contextlib.suppress(OSError), open(TERMINATION_LOG, "w", encoding="utf-8") as file:
            json.dump({"trainyard": {"state": "failed", "restarts": restarts, "reason": why}}, file)
    os._exit(1)


def say(text):
    with contextlib.suppress(OSError):
        os.write(1, f"trainyard: {text}\n".encode("utf-8", "replace"))


def main(words):
    if has_launcher():
        os.execv(sys.executable, [sys.executable, "-m", "trainyard.launch", "--program", "--", *words])
    program, restarts, delay_s = Program(words), restarts_before(), 0
    if restarts > MOST:
        give_up(MOST, f"the pod was killed again; max_restarts ({MOST}) is used up")
    while not program.stopped:
        note(restarts, True)
        began, killed = time.monotonic(), oom_kills()
        try:
            code = program.attempt()
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            give_up(restarts, f"{words[0]} cannot be started: {error.strerror} (it is not tried again)")
        if code == 0 and not program.stopped:
            note(restarts, False)
            os._exit(0)
        if program.stopped:
            break
        why = f"the program ended with {code}"
        if oom_kills() > killed:
            why += ": out of memory: the kernel killed a process of this container, which had reached its limit"
        if restarts >= MOST:
            give_up(restarts, f"{why}; max_restarts ({MOST}) is used up")
        restarts += 1
        delay_s = 1 if time.monotonic() - began > GOOD_ATTEMPT_S else min(2 * delay_s or 1, LONGEST_DELAY_S)
        say(f"{why}; restart {restarts} of at most {MOST} in {delay_s} s")
        note(restarts, False)
        program.rest(delay_s)
    note(restarts, False)
    os._exit(143)


main(sys.argv[1:])
