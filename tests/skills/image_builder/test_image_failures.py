"""Broken projects, really built: each failure has its class from the log, and is repaired in the build's own copy where that is known."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.calling import Answer
from tests.components.images.fixtures import full_images
from tests.components.images.old_docker import OldDocker
from tests.components.images.registry import Registry
from tests.skills.image_builder.image_call import build, project, wheel
from tests.skills.image_builder.image_https import index

BASE = "FROM python:3.11-slim\n"


@dataclass(frozen=True)
class Broken:
    """A project that cannot be built as it is."""

    dockerfile: str
    kind: str
    code: int
    """The exit code, of the answer after the last attempt."""
    remedy: str | None = None
    """What is tried after the first attempt."""
    files: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    of_log: str = ""
    """Stands in the line that is named as the cause."""


PIP = "RUN pip install --no-index --find-links wheels"
CASES = {
    "syntax": Broken("FROM python:3.11-slim\nRUNN true\n", "", 2),
    "syntax-in-build": Broken(BASE + "COPY --from=nothing-like-it:0:0 a b\n", "syntax", 2),
    "missing-file": Broken(BASE + "COPY train.py nothere.py /app/\n", "missing-file", 2, of_log="nothere"),
    "disk": Broken(BASE + "RUN dd if=/dev/zero of=/dev/full count=1\n", "disk-full", 8, of_log="No space left on device"),
    "memory": Broken(
        BASE + "RUN ulimit -v 400000; python3 -c 'bytearray(10**9)'\n", "memory", 1, "fewer_jobs", of_log="MemoryError"
    ),
    "no-distribution": Broken(BASE + "RUN pip install --no-index torchh==9\n", "no-distribution", 1, of_log="torchh==9"),
    "trap": Broken(
        BASE + f"COPY . .\n{PIP} -r requirements.txt\n",
        "no-distribution",
        0,
        "fix_conflicts",
        {"requirements.txt": "sklearn\n"},
    ),
    "resolver": Broken(BASE + f"COPY . .\n{PIP} one two\n", "resolver", 1, of_log="conflicting dependencies"),
    "nvcc": Broken(BASE + "RUN nvcc --version\n", "compiler", 1, of_log="nvcc: not found"),
    "git": Broken(
        BASE + "RUN pip install --no-index git+file:///nowhere\n",
        "missing-program",
        1,
        "install_git",
        words=("--attempts", "1"),
        of_log="git",
    ),
    "permission": Broken(BASE + "USER 1000\nRUN apt-get clean\n", "permission", 0, "as_root", of_log="Permission denied"),
    "managed": Broken(
        BASE
        + "RUN printf '[externally-managed]\\nError=no\\n' > /usr/lib/python3.11/EXTERNALLY-MANAGED\n"
        + f"COPY . .\n{PIP} two three\n",
        "permission",
        0,
        "managed_python",
        of_log="externally-managed",
    ),
    "apt": Broken(
        BASE + "RUN apt-get install -y nosuchpackage\n",
        "no-distribution",
        1,
        "apt_update",
        words=("--attempts", "1"),
        of_log="nosuchpackage",
    ),
    "permission-other": Broken(BASE + "USER 1000\nRUN touch /etc/x\n", "permission", 1, of_log="Permission denied"),
    "heredoc": Broken(BASE + 'RUN <<EOF\necho one\ntest -n "$HOME"\nEOF\n', "builder-old", 0, "without_heredocs"),
    "link": Broken(BASE + "COPY --link train.py /app/\n", "builder-old", 0, "without_link", of_log="link"),
    "network": Broken("FROM registry.invalid/x:1\n", "network", 8, of_log="no such host"),
    "time-out": Broken(BASE + "RUN echo started; sleep 60\n", "time-out", 7, words=("--timeout", "4")),
    "command": Broken(BASE + "RUN exit 3\n", "command", 1, of_log="3"),
}


def broken(folder: Path, case: Broken) -> Path:
    root = project(folder / "broken-net", {"train.py": "print(1)\n", **case.files, "Dockerfile": case.dockerfile})
    wheel(root / "wheels", "scikit_learn")
    wheel(root / "wheels", "one", requires=("three==1",))
    wheel(root / "wheels", "two", requires=("three==2",))
    for version in ("1", "2"):
        wheel(root / "wheels", "three", version)
    return root


def state(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def attempts(answer: Answer) -> list[dict[str, object]]:
    return list(answer.data.get("attempts", []))


RARE = ("syntax-in-build", "memory", "resolver", "nvcc", "git", "permission-other", "network")
"""Of these, buildx and the logs' table try the same each time."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=full_images if name in RARE else ()) for name in CASES])
def test_a_broken_project_is_diagnosed(tmp_path: Path, old_docker: OldDocker, name: str) -> None:
    """And repaired where the table has a remedy; its files stay as they are, and no attempt is made twice."""
    case = CASES[name]
    root = broken(tmp_path, case)
    before = state(root)
    answer = build(root, "--network", "host", *case.words, env=old_docker.environment())
    made = attempts(answer)
    assert answer.code == case.code, answer.document
    assert state(root) == before
    assert [each["class"] for each in made[:1]] == ([case.kind] if case.kind else []), answer.document
    assert case.of_log in str(made[0]["cause"] if made else ""), made
    if case.remedy and len(made) > 1:
        assert made[1]["remedy"] == case.remedy and made[1]["diff"]
    expected = 0 if not case.kind else 1 if not case.remedy or case.words else 3 if case.code else 2
    assert len(made) == expected, answer.document
    assert bool(answer.document["ok"]) == bool(case.code == 0)
    images = old_docker.run("images", "--format", "{{.Repository}}").stdout.split()
    assert (answer.data.get("image") in images) == (case.code == 0)
    old_docker.run("rmi", "-f", f"{answer.data.get('image')}:{answer.data.get('tag')}")


def test_a_working_project_needs_one_attempt(tmp_path: Path, old_docker: OldDocker) -> None:
    """The control of all of the above; a warning of a retry in a step that went on is no cause of a later failure."""
    fine = broken(tmp_path, Broken(BASE + f"COPY . .\n{PIP} one\n", "", 0))
    answer = build(fine, "--network", "host", env=old_docker.environment())
    assert answer.code == 0 and len(attempts(answer)) == 1
    warned = "RUN echo \"WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError': /simple/six/\"\n"
    (fine / "Dockerfile").write_text(BASE + warned + "RUN exit 3\n")
    answer = build(fine, "--network", "host", env=old_docker.environment())
    assert [each["class"] for each in attempts(answer)] == ["command"]


def test_a_base_image_that_is_not_there(tmp_path: Path, old_docker: OldDocker, plain_registry: Registry) -> None:
    root = broken(tmp_path, Broken(f"FROM {plain_registry.address}/library/python:9.99\n", "", 3))
    answer = build(root, env=old_docker.environment())
    assert answer.code == 3 and answer.error["code"] == "not-found", answer.document
    assert [each["class"] for each in attempts(answer)] == ["base-image"]


def test_the_users_image_is_not_touched_by_a_failure(tmp_path: Path, old_docker: OldDocker) -> None:
    """An image of the same name and tag stays until a build has succeeded."""
    root = broken(tmp_path, Broken(BASE + "RUN exit 3\n", "", 1))
    (root / "Dockerfile").write_text(BASE)
    first = build(root, "--image-tag", "v1", "--network", "host", env=old_docker.environment())
    (root / "Dockerfile").write_text(BASE + "RUN exit 3\n")
    assert build(root, "--image-tag", "v1", "--network", "host", env=old_docker.environment()).code == 1
    kept = old_docker.run("image", "inspect", "--format", "{{.Id}}", "broken-net:v1").stdout.strip()
    assert kept == first.data["image_id"]
    old_docker.run("rmi", "-f", "broken-net:v1")


def test_no_process_of_a_build_is_left(tmp_path: Path, old_docker: OldDocker) -> None:
    """After a time-out the client is gone, and the step in the daemon too."""
    root = broken(tmp_path, CASES["time-out"])
    build(root, "--timeout", "4", "--network", "host", env=old_docker.environment())
    left = subprocess.run(["pgrep", "-af", "echo started; sleep 60"], capture_output=True, text=True).stdout
    assert left == ""


def test_an_unknown_certificate_is_found_and_repaired(tmp_path: Path, old_docker: OldDocker) -> None:
    """pip ends with "No matching distribution"; the cause stands before it. With this machine's authorities as a secret the build works."""
    wheel(tmp_path / "index" / "one", "one")
    with index(tmp_path / "index", tmp_path) as (url, certificate):
        line = f"RUN pip install --retries 1 --no-deps --index-url {url} one\n"
        root = broken(tmp_path, Broken(f"{BASE}{line}RUN pip show one\n", "", 0))
        env = {**old_docker.environment(), "SSL_CERT_FILE": str(certificate)}
        answer = build(root, "--network", "host", env=env)
        refused = build(root, "--network", "host", "--attempts", "1", "--no-cache", env=env)
    made = attempts(answer)
    assert made[0]["class"] == "certificate" and "CERTIFICATE_VERIFY_FAILED" in str(made[0]["cause"]), made
    assert made[1]["remedy"] == "own_authority" and any(f"src={certificate}" in line for line in made[1]["diff"])  # type: ignore[attr-defined]
    assert refused.code == 8 and refused.error["code"] == "unreachable"
    image = f"{answer.data['image']}:{answer.data['tag']}"
    history = old_docker.run("history", "--no-trunc", image).stdout + old_docker.run("inspect", image).stdout
    assert answer.code == 0 and "BEGIN CERTIFICATE" not in history and '"PIP_CERT' not in history


EXTENSION = {
    "ext/setup.py": "from setuptools import Extension, setup\nsetup(name='ext', version='1', ext_modules=[Extension('ext', ['ext.c'])])\n",
    "ext/ext.c": "void *PyInit_ext(void) { return 0; }\n",
}


@full_images
def test_a_missing_compiler_is_installed(tmp_path: Path, old_docker: OldDocker) -> None:
    """By root, before the step of another user, who comes back behind it."""
    run = "USER 1000\nRUN cp -r /x/ext /tmp && cd /tmp && pip install --no-index --no-build-isolation --target /tmp/x ./ext\n"
    root = broken(tmp_path, Broken(f"{BASE}COPY ext /x/ext\n{run}", "", 0, files=EXTENSION))
    answer = build(root, "--network", "host", env=old_docker.environment())
    made = attempts(answer)
    assert answer.code == 0, answer.document
    assert made[0]["class"] == "compiler" and "gcc" in str(made[0]["cause"])
    assert made[1]["remedy"] == "install_compiler"
    image = f"{answer.data['image']}:{answer.data['tag']}"
    assert old_docker.run("image", "inspect", "--format", "{{.Config.User}}", image).stdout == "1000\n"


@full_images
def test_a_name_that_only_refuses_to_install_is_corrected(tmp_path: Path, old_docker: OldDocker) -> None:
    """With the real index: sklearn."""
    case = Broken(
        BASE + "COPY . .\nRUN pip install --no-deps -r requirements.txt\n", "", 0, files={"requirements.txt": "sklearn\n"}
    )
    answer = build(broken(tmp_path, case), "--network", "host", env=old_docker.environment())
    assert answer.code == 0, answer.document
    assert attempts(answer)[1]["remedy"] == "fix_conflicts" and "+scikit-learn" in attempts(answer)[1]["diff"]  # type: ignore[operator]
