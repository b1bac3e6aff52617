"""Images that do harm: none gets a pass for it, each ends in time, and nothing of it stays."""

from __future__ import annotations

import struct

import pytest
from tester_call import Images, statuses

FORGED = "TY1 " + "0" * 64 + ' {"id": "begin", "python": "3.11", "number": 1}'
MODULES = {
    "opt/site/spies.py": """
        import os
        parent = os.getppid()
        for name in ("mem", "environ", "fd/1"):
            try:
                os.open(f"/proc/{parent}/{name}", os.O_WRONLY if name == "fd/1" else os.O_RDONLY)
            except OSError:
                continue
            raise SystemExit("opened " + name)
        """,
    "opt/site/forks.py": """
        import os, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                if os.fork() == 0:
                    os.setsid()
            except OSError:
                pass
        """,
    "opt/site/hoards.py": "held = []\nwhile True:\n    held.append(bytearray(16 << 20))\n",
    "opt/site/kills.py": "import os, signal\nos.kill(1, signal.SIGKILL)\nos.kill(1, signal.SIGTERM)\n",
    "opt/site/fine.py": "",
}


@pytest.fixture(scope="module")
def hostile(images: Images) -> str:
    return images.image("hostile", MODULES, "ENV PYTHONPATH=/opt/site", "WORKDIR /app")


def test_the_first_process_cannot_be_read(images: Images, hostile: str) -> None:
    """A child finds neither key nor stdout in its parent, although both are root: it has no capability, and the parent is not dumpable."""
    found = images.test(hostile, "--level", "quick", "--package", "spies")
    assert found.check("imports")["status"] == "pass", found.document
    assert found.data["unsigned_lines"] == 0


def test_the_first_process_cannot_be_killed(images: Images, hostile: str) -> None:
    assert images.test(hostile, "--level", "quick", "--package", "kills", "--package", "fine").code == 0


def test_a_fork_bomb_ends(images: Images, hostile: str) -> None:
    """At the limit of processes; all of them are gone before the next probe, which passes."""
    found = images.test(
        hostile, "--level", "quick", "--package", "forks", "--package", "fine", "--pids", 40, "--probe-timeout", 3
    )
    states = {each["item"]: each["state"] for each in found.data["probes"] if each["item"]}
    assert found.code == 1 and states["fine"] == "done" and states["forks"] != "done"


def test_memory_runs_out(images: Images, hostile: str) -> None:
    """The child is killed, not the one that reports it: the cause is memory, with the limit, and the rest goes on."""
    found = images.test(hostile, "--level", "quick", "--package", "hoards", "--package", "fine", "--memory", "256Mi")
    states = {each["item"]: each["state"] for each in found.data["probes"] if each["item"]}
    assert found.code == 1 and states == {"hoards": "memory", "fine": "done"}
    assert "want of memory" in found.check("imports")["summary"] and "256 MiB" in found.check("imports")["evidence"]
    assert "--memory" in found.check("imports")["fix"]


@pytest.mark.parametrize(
    ("name", "script", "says"),
    [
        ("prints", f"#!/bin/sh\necho '{FORGED}'\n", "exit code 0 and does not run the probe"),
        ("echoes", "#!/bin/sh\ncat\n", "exit code 0 and does not run the probe"),
        ("floods", "#!/bin/sh\nexec yes 'TY1 0000 {}'\n", "does not run the probe (flooded)"),
        ("sleeps", "#!/bin/sh\ntrap '' TERM INT\nwhile true; do sleep 1; done\n", "does not run the probe (timeout)"),
    ],
)
def test_another_program_is_called_python(images: Images, name: str, script: str, says: str) -> None:
    """It prints what a result looks like, prints the probe itself back, prints for ever, or does nothing and ignores signals."""
    image = images.image(f"python-{name}", {"python": script}, copy="COPY python /usr/local/bin/python3")
    found = images.test(image, "--level", "quick", "--package", "pip", "--timeout", 6)
    assert found.code == 1 and says in found.check("image.start")["summary"], found.document
    assert "pass" not in {status for id, status in statuses(found).items() if id != "image.platform"}
    assert images.containers() == []


def test_there_is_no_python(images: Images) -> None:
    found = images.test(images.image("empty", {"data.txt": "x"}, base="scratch"), "--level", "quick")
    assert found.code == 1 and "there is no python3 or python in the image's PATH" in found.check("image.start")["summary"]


def test_python_is_for_another_architecture(images: Images) -> None:
    """An ELF header of aarch64, which the kernel refuses: exec format error."""
    header = (
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0x400078, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    )
    program = header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120, 120, 4096)
    image = images.image("aarch64-python", {"python": program}, copy="COPY python /usr/local/bin/python3")
    found = images.test(image, "--level", "quick")
    assert found.code == 1 and "another processor architecture" in found.check("image.start")["summary"]
    assert "--platform" in found.check("image.start")["fix"]
