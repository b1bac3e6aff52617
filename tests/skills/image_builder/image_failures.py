"""The table of broken projects: what image-builder says of each, and whether it repairs it. Real builds, and kept logs of real ones.

    python -m tests.skills.image_builder.image_failures              # as root; 2 minutes
    python -m tests.skills.image_builder.image_failures --six DIR    # projects of somebody else: DIR/1 ... DIR/N; with a build.log, that log

A kept log is given to image-builder by a stand-in for buildctl, which prints it and fails; whether its remedy helps is not seen there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.calling import Answer
from tests.components.images import find_links, parts
from tests.components.images.buildkit import BuildKit, buildkit
from tests.components.images.mirror import mirror
from tests.components.images.old_docker import OldDocker, old_docker
from tests.skills.image_builder.image_call import build, project, wheel
from tests.skills.image_builder.image_https import index

LOGS = Path(__file__).parent / "kept_logs"
PYTHON = "FROM python:3.11-slim\n"
PIP = "RUN pip install --no-index --find-links wheels"
SDIST = "from setuptools import setup\nimport one\nsetup(name='ext', version='1', py_modules=[])\n"
LIMIT_S = 1800


@dataclass(frozen=True)
class Case:
    """A broken project, and what is to be said of it."""

    name: str
    """The class that it has."""
    dockerfile: str
    remedy: str | None = None
    """What repairs it; with a kept log, what is tried."""
    files: Mapping[str, str] = field(default_factory=dict)
    place: str = ""
    """How the place begins that is named first."""
    engine: str = "buildkit"
    """buildkit | docker | log"""
    words: tuple[str, ...] = ()
    shown: str = ""


CASES = (
    Case("disk-full", PYTHON + "RUN dd if=/dev/zero of=/dev/full count=1\n", place="Dockerfile:2"),
    Case("memory", PYTHON + "RUN ulimit -v 400000; python3 -c 'bytearray(10**9)'\n", place="Dockerfile:2", words=("--attempts", "1")),
    Case("base-image", "FROM python:9.99-slim\n", place="Dockerfile:1"),
    Case("no-distribution", f"{PYTHON}COPY . .\n{PIP} -r requirements.txt\n", "fix_conflicts", {"requirements.txt": "sklearn\n"}, "requirements.txt:1"),
    Case("resolver", f"{PYTHON}COPY . .\n{PIP} one two\n", place="Dockerfile:3"),
    Case("cuda-mismatch", "FROM nvidia/cuda:11.8.0-devel-ubuntu22.04\nRUN python3 setup_cuda.py install\n", engine="log"),
    Case("compiler", f"{PYTHON}COPY ext /x\nRUN pip install /x\n", "install_compiler", {"ext/setup.py": "from setuptools import Extension, setup\nsetup(name='ext', version='1', ext_modules=[Extension('ext', ['ext.c'])])\n", "ext/ext.c": "void *PyInit_ext(void) { return 0; }\n"}, "Dockerfile:3"),
    Case("network", "FROM registry.invalid/x:1\n", words=("--attempts", "1")),
    Case("permission", f"{PYTHON}RUN useradd -m u\nWORKDIR /app\nUSER u\nRUN mkdir data\n", "given_to_user", place="Dockerfile:4: USER u"),
    Case("rate-limit", PYTHON, "from_ecr_public", place="Dockerfile:1", engine="log"),
    Case("quota", PYTHON + "RUN pip install spacy\n", engine="log"),
    Case("time-out", PYTHON + "RUN echo started; sleep 60\n", words=("--timeout", "5")),
    Case("syntax", PYTHON + "HEALTHCHECK --interval=30 CMD true\n", place="Dockerfile:2"),
    Case("certificate", "", "own_authority"),
    Case("builder-old", PYTHON + 'RUN <<EOF\necho one\ntest -n "$HOME"\nEOF\n', "without_heredocs", engine="docker"),
    Case("registry-refused", PYTHON, engine="log"),
    Case("missing-file", PYTHON + "COPY a.json b.json ./\n", "kept_in_context", {".dockerignore": "# outputs\n**/*.json\n", "a.json": "1", "b.json": "2"}, ".dockerignore:2", shown="missing-file (.dockerignore)"),
    Case("missing-stage", f"FROM python:3.11-slim AS builder\nRUN touch /w\n{PYTHON}COPY --from=build /w /w\n", "near_stage", place="Dockerfile:4"),
    Case("isolation", f"{PYTHON}COPY . .\nRUN pip install --find-links wheels -r r.txt\n", "separate_install", {"r.txt": "one==1.0\next @ file:///ext\n", "ext/setup.py": SDIST}, "r.txt:2", shown="isolation (pip)"),
    Case("no-distribution", f"{PYTHON}COPY . .\n{PIP} -r r.txt | tee /log\nRUN python3 -c 'import scikit_learn'\n", "fix_conflicts", {"r.txt": "sklearn\n"}, "r.txt:1", shown="no-distribution (hidden by | tee)"),
    Case("script", f"{PYTHON}COPY x.sh .\nRUN bash ./x.sh\n", "unix_line_ends", {"x.sh": "#!/bin/bash\r\nset -e\r\n"}, "x.sh:1", shown="script (CRLF)"),
)  # fmt: skip


@dataclass(frozen=True)
class Engines:
    buildkit: BuildKit
    docker: OldDocker


@dataclass(frozen=True)
class Row:
    """What came of one."""

    shown: str
    source: str
    named: str
    place: str
    remedy: str
    outcome: str
    seconds: float
    ok: bool
    fix: str = ""

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "MISS"
        return f"{mark} {self.shown:<34} {self.source:<46} {self.named:<16} {self.place[:44]:<44} {self.remedy:<16} {self.outcome:<26} {self.seconds:5.1f} s"


@contextmanager
def engines() -> Iterator[Engines]:
    parts.build()
    with ExitStack() as running:
        hub = running.enter_context(mirror(running.enter_context(find_links.served(parts.folder("small-torch")))))
        yield Engines(running.enter_context(buildkit(hub.address)), running.enter_context(old_docker(hub.address)))


def digest(root: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        whole.update(f"{path.relative_to(root)} {path.lstat().st_mode}\0".encode())
        whole.update(path.read_bytes() if path.is_file() else b"")
    return whole.hexdigest()


def run(case: Case, engine: Engines, place: Path) -> Row:
    root = project(place / "broken-net", {"train.py": "print(1)\n", "Dockerfile": case.dockerfile, **case.files})
    for name, requires in (("scikit_learn", ()), ("one", ("three==1",)), ("two", ("three==2",))):
        wheel(root / "wheels", name, requires=requires)
    for version in ("1", "2"):
        wheel(root / "wheels", "three", version)
    before = digest(root)
    if case.name == "certificate":
        wheel(place / "index" / "one", "one")
        with index(place / "index", place) as (url, certificate):
            (root / "Dockerfile").write_text(
                f"{PYTHON}RUN pip install --retries 1 --no-deps --index-url {url} one\nRUN pip show one\n"
            )
            before = digest(root)
            answer = build(
                root, *case.words, *_words(place), env={**_environment(case, engine, place), "SSL_CERT_FILE": str(certificate)}
            )
    else:
        answer = build(root, *case.words, *_words(place, case.engine), env=_environment(case, engine, place))
    return _row(case, answer, digest(root) == before)


def _words(place: Path, engine: str = "buildkit") -> tuple[str, ...]:
    if engine == "docker":
        return ("--builder", "docker", "--network", "host", "--quiet")
    return ("--builder", "buildctl", "--archive", str(place / "image.tar"), "--quiet")


def _environment(case: Case, engine: Engines, place: Path, log: Path | None = None) -> dict[str, str]:
    if case.engine == "docker":
        return dict(engine.docker.environment())
    programs = engine.buildkit.buildctl.parent
    if case.engine == "log":
        programs = place / "bin"
        programs.mkdir()
        shown = f"cat {log}" if log else f"tail -n +2 {LOGS / case.name}.log"
        (programs / "buildctl").write_text(f'#!/bin/sh\n[ "$1" = build ] || exit 0\n{shown} >&2\nexit 1\n')
        (programs / "buildctl").chmod(0o755)
    return {"BUILDKIT_HOST": engine.buildkit.address, "PATH": f"{programs}:{os.environ['PATH']}"}


def _row(case: Case, answer: Answer, unchanged: bool) -> Row:
    made = answer.data.get("attempts", [])
    first = made[0] if made else {}
    tried = next((str(each["remedy"]) for each in made if each["remedy"]), None)
    place = (first.get("where") or [""])[0]
    repaired = answer.code == 0
    right = first.get("class") == case.name and place.startswith(case.place) and tried == case.remedy and unchanged
    right = right and repaired == (case.remedy is not None and case.engine != "log")
    if not made and answer.error:
        place = str(answer.error["message"])[:200]
    outcome = f"repaired, attempt {len(made)}" if repaired else f"remedy tried, {len(made)} attempts" if tried else "advice"
    outcome += "" if unchanged else ", FILES CHANGED"
    source = {"buildkit": "real build, BuildKit", "docker": "real build, Docker 20.10"}.get(
        case.engine
    ) or f"log: {_origin(case.name)}"
    seconds = sum(float(each["seconds"]) for each in made)
    return Row(
        case.shown or case.name,
        source,
        str(first.get("class")),
        place,
        tried or "-",
        outcome,
        seconds,
        right,
        str(first.get("fix")),
    )


def _origin(name: str) -> str:
    return (LOGS / f"{name}.log").read_text().splitlines()[0].removeprefix("# github.com/")


def foreign(folder: Path, engine: Engines, place: Path) -> Row:
    """A project of somebody else: nothing is expected of it here, its author judges. Its files must stay as they are."""
    root = place / folder.name
    shutil.copytree(folder, root, symlinks=True)
    log = (root / "build.log").rename(place / "build.log") if (root / "build.log").exists() else None
    before = digest(root)
    case = Case("", "", engine="log" if log else "buildkit")
    answer = build(root, *_words(place), env=_environment(case, engine, place, log), timeout_s=LIMIT_S)
    row = _row(Case(str(answer.data.get("attempts", [{}])[0].get("class")), ""), answer, digest(root) == before)
    return Row(
        folder.name,
        "its author's log" if log else "real build, BuildKit",
        row.named,
        row.place,
        row.remedy,
        row.outcome,
        row.seconds,
        digest(root) == before,
        row.fix,
    )


def table(engine: Engines) -> Iterator[Row]:
    for case in CASES:
        with tempfile.TemporaryDirectory(prefix="trainyard-failures-") as place:
            yield run(case, engine, Path(place))


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--six", type=Path, metavar="DIR", help="only the projects in this folder")
    words.add_argument("--fix", action="store_true", help="the advice below each row")
    given = words.parse_args()
    missed = 0
    with engines() as engine:
        if given.six:
            rows = (_foreign(folder, engine) for folder in sorted(given.six.iterdir()) if folder.is_dir())
        else:
            rows = table(engine)
        for row in rows:
            print(row, *([f"     {row.fix}"] if given.fix else []), sep="\n", flush=True)
            missed += not row.ok
    return 1 if missed else 0


def _foreign(folder: Path, engine: Engines) -> Row:
    with tempfile.TemporaryDirectory(prefix="trainyard-failures-") as place:
        return foreign(folder, engine, Path(place))


if __name__ == "__main__":
    sys.exit(main())
