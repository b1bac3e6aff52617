"""Which versions go together: real uv, a package index on this machine, and what is said where it does not answer."""

from __future__ import annotations

import http.server
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.calling import Answer, call
from tests.skills.image_builder.image_call import ANALYZER, DAY, project, severities, wheel

INSTALL = "COPY requirements.txt .\nRUN pip install -r requirements.txt\n"
DLC = "FROM public.ecr.aws/deep-learning-containers/pytorch:2.13-cu133-amzn2023\n"
PACKAGES = {
    ("torch", "2.15.0"): (),
    ("torch", "2.13.0"): (),
    ("torch", "2.12.1"): (),
    ("torch", "2.10.0"): (),
    ("torchvision", "0.25.0"): ("torch==2.10.0",),
    ("torchvision", "0.27.1"): ("torch==2.12.1",),
    ("torchaudio", "2.10.0"): ("torch==2.10.0",),
    ("torch", "2.11.0"): (),
    ("accelerating", "1.0"): ("torch>=2.3",),
    ("serving", "1.0"): ("torch==2.12.1",),
    ("serving", "0.9"): ("torch>=2.12",),
    ("hydra", "1.3"): ("onlysource==4.9", "tidy"),
    ("tidy", "1.0"): (),
    ("pandas", "2.0.3"): ("numpy",),
    ("numpy", "2.4.6"): (),
    ("numpy", "1.26.4"): (),
    ("capping", "1.0"): ("numpy<2",),
}


@dataclass
class Index:
    """PEP 503 on loopback."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    passwords: list[str | None] = field(default_factory=list)
    delay_s: float = 0.0

    def check(self, folder: Path, *words: object, url: str | None = None) -> Answer:
        env = {"UV_DEFAULT_INDEX": url or self.url, "UV_NO_CACHE": "1"}
        return call(ANALYZER, "check", folder, *DAY, *words, env=env, timeout_s=60)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    found = Index(tmp_path_factory.mktemp("index"))
    for (name, version), requires in PACKAGES.items():
        wheel(found.folder / name, name, version, requires)
    _source(found.folder / "onlysource", "onlysource", "4.9", found.folder / "setup-was-run")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *rest: object) -> None:
            super().__init__(*rest, directory=str(found.folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            found.asked.append(self.path)
            found.passwords.append(self.headers.get("Authorization"))
            time.sleep(found.delay_s)
            self.path = self.path.removeprefix("/simple")
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}/simple"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def fresh(index: Index) -> None:
    index.asked.clear()
    index.passwords.clear()
    index.delay_s = 0.0


def _source(folder: Path, name: str, version: str, mark: Path) -> None:
    """A package that is there as source only, whose setup.py leaves a mark when somebody runs it."""
    folder.mkdir()
    texts = {"setup.py": f"open({str(mark)!r}, 'w')\nfrom setuptools import setup\nsetup(name={name!r}, version={version!r})\n"}
    texts["PKG-INFO"] = f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n"
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for file, text in texts.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


def needs(folder: Path, text: str, **files: str) -> Path:
    return project(folder, {"requirements.txt": text, **files})


def finding(answer: Answer, id: str) -> dict[str, str]:
    found: dict[str, str] = next(each for each in answer.data["findings"] if each["id"] == id)
    return found


def test_versions_that_exclude_each_other_are_named_with_uvs_words(tmp_path: Path, index: Index) -> None:
    found = index.check(needs(tmp_path / "wrong", "tidy\nserving==1.0\ntorch==2.10.0\n"))
    judge = found.data["judged_by"]
    assert found.code == 1 and (judge["judge"], judge["index_asked"], judge["python"]) == ("uv", True, "3.12")
    conflict = finding(found, "requirements.resolve")
    assert conflict["severity"] == "fail" and conflict["where"] == "requirements.txt:2"
    assert "serving, torch go together" in conflict["what"] and "depends on torch==2.12.1 and you require" in conflict["why"]
    assert len(conflict["why"]) <= 600
    right = index.check(needs(tmp_path / "right", "tidy\nserving==1.0\ntorch==2.12.1\n"))
    assert right.code == 0 and right.check("requirements.resolve")["status"] == "pass"


def test_the_tables_alone_judge_where_nobody_is_asked(tmp_path: Path, index: Index) -> None:
    """The control of the test above: no table knows `serving`."""
    found = index.check(needs(tmp_path, "serving==1.0\ntorch==2.10.0\n"), "--offline")
    assert found.code == 0 and index.asked == []
    assert found.data["judged_by"] | {"dates": 0} == {"judge": "table", "index_asked": False, "why": "--offline", "dates": 0}


def test_what_a_lock_decides_is_not_asked_for(tmp_path: Path, index: Index) -> None:
    lock = 'version = 1\n[[package]]\nname = "tidy"\nversion = "1.0"\nsource = { registry = "https://x.example/simple" }\n'
    files = {"pyproject.toml": '[project]\nname = "n"\ndependencies = ["tidy"]\n', "uv.lock": lock}
    found = index.check(project(tmp_path, files))
    assert found.code == 0 and index.asked == [] and "uv.lock" in found.data["judged_by"]["why"]


def test_an_index_that_is_not_there_is_said_and_the_tables_judge(tmp_path: Path, index: Index) -> None:
    started = time.monotonic()
    found = index.check(needs(tmp_path, "torch==2.4.0\ntorchvision==0.20.0\n"), url="http://127.0.0.1:9/simple")
    assert time.monotonic() - started < 20
    assert severities(found) == {"torch.pair": "fail"} and found.data["judged_by"]["judge"] == "table"
    assert "Failed to fetch" in found.data["judged_by"]["why"] or "Request failed" in found.data["judged_by"]["why"]


def test_a_slow_index_is_left_after_the_time_that_was_given(tmp_path: Path, index: Index) -> None:
    index.delay_s = 20.0
    started = time.monotonic()
    found = index.check(needs(tmp_path, "tidy\nserving\n"), "--index-timeout", "1")
    assert time.monotonic() - started < 15 and found.code == 0
    assert found.data["judged_by"]["judge"] == "table" and "within --index-timeout" in found.data["judged_by"]["why"]


def test_no_setup_py_is_run_and_what_needs_one_is_named(tmp_path: Path, index: Index) -> None:
    """Neither of the index nor of the project; the rest is judged all the same."""
    files = {"setup.py": f"open({str(tmp_path / 'ran')!r}, 'w')\n"}
    found = index.check(needs(tmp_path / "a", "hydra\nonlysource\n-e .\ngit+https://x.example/r.git#egg=r\n", **files))
    assert found.code == 0 and found.data["judged_by"]["judge"] == "uv"
    assert found.data["judged_by"]["left_out"] == ["onlysource", "r"]
    assert not (tmp_path / "ran").exists() and not (index.folder / "setup-was-run").exists()
    wrong = index.check(needs(tmp_path / "b", "hydra\ntidy==2.0\n"))
    assert "tidy==2.0" in finding(wrong, "requirements.resolve")["why"]


def test_a_dependency_that_replaces_the_torch_of_the_image_is_found(tmp_path: Path, index: Index) -> None:
    files = {"Dockerfile": DLC + INSTALL}
    found = index.check(needs(tmp_path / "wrong", "serving==1.0\n", **files))
    again = finding(found, "torch.again")
    assert again["severity"] == "fail" and "serving needs another torch than the 2.13.0" in again["what"]
    assert found.data["image"]["torch"] == "2.12.1"
    right = index.check(needs(tmp_path / "right", "serving\n", **files))
    assert right.code == 0 and right.data["image"]["torch"] == "2.13.0", "an older one leaves it in its place"


def test_each_command_is_judged_by_itself(tmp_path: Path, index: Index) -> None:
    """What a later pip installs replaces the earlier; one command cannot have both."""
    head = "FROM python:3.12-slim\nRUN pip install torch==2.12.1 "
    found = index.check(project(tmp_path / "two", {"Dockerfile": head + "\nRUN pip install torchvision==0.25.0\n"}))
    assert found.data["image"]["torch"] == "2.10.0" and severities(found)["torch.again"] == "fail"
    one = index.check(project(tmp_path / "one", {"Dockerfile": head + "torchvision==0.25.0\n"}))
    assert severities(one)["requirements.resolve"] == "fail"


def test_numpy_is_judged_by_what_is_taken(tmp_path: Path, index: Index) -> None:
    """A package that no table knows keeps NumPy below 2."""
    assert severities(index.check(needs(tmp_path / "wrong", "pandas==2.0.3\n"))) == {"numpy.abi": "fail"}
    right = needs(tmp_path / "right", "pandas==2.0.3\ncapping\n")
    assert severities(index.check(right)) == {}
    assert severities(index.check(right, "--offline")) == {"numpy.abi": "fail"}, "the tables cannot know"


def test_a_password_in_an_index_goes_to_that_index_alone(tmp_path: Path, index: Index) -> None:
    """It is in no argument and no answer."""
    secret = "hunter2hunter2"
    own = index.url.replace("http://", f"http://user:{secret}@")
    found = index.check(needs(tmp_path, f"--extra-index-url {own}\ntidy\n"), url="http://127.0.0.1:9/simple")
    assert secret not in str(found.document) and secret not in found.stderr
    assert index.asked and any(index.passwords), "control: it was asked, with the password"


def test_a_name_that_only_another_index_has_is_unknown(tmp_path: Path, index: Index) -> None:
    text = "--extra-index-url http://127.0.0.1:9/simple\nof-the-house==1\n"
    assert severities(index.check(needs(tmp_path / "other", text))) == {"requirements.resolve": "unknown"}
    none = index.check(needs(tmp_path / "none", "of-the-house==1\n"))
    assert severities(none) == {"requirements.resolve": "fail"}
    assert finding(none, "requirements.resolve")["what"] == "of-the-house is not on the package index"


def test_torchs_own_index_is_asked_for_by_its_backend(tmp_path: Path, index: Index) -> None:
    """It is out of reach in these tests or refuses; PyPI then stands for it, and the local version falls away."""
    text = "--extra-index-url https://download.invalid/whl/cu126\ntorch==2.12.1+cu126\ntorchvision==0.27.1\n"
    found = index.check(needs(tmp_path, text))
    assert found.code == 0, found.data["findings"]
    assert found.data["image"] | {"base": 0, "gpu": 0} == {
        "base": 0,
        "python": None,
        "torch": "2.12.1+cu126",
        "cuda": "12.6",
        "gpu": 0,
    }


NGC = "FROM nvcr.io/nvidia/pytorch:{}-py3\n"


def test_an_image_of_nvidias_that_no_table_knows_shows_no_torch_of_the_index(tmp_path: Path, index: Index) -> None:
    files = {"Dockerfile": NGC.format("24.10") + INSTALL}
    found = index.check(needs(tmp_path / "a", "torch>=2.3\naccelerating\n", **files), "--driver", "535.104.05")
    assert found.code == 0 and (found.data["image"]["torch"], found.data["image"]["cuda"]) == (None, None)
    assert found.check("base.known")["status"] == "skipped"
    pinned = index.check(needs(tmp_path / "b", "torchaudio==2.10.0\n", **files))
    assert finding(pinned, "torch.again")["where"] == "requirements.txt:1" and pinned.data["image"]["torch"] == "2.10.0"


def test_a_pre_release_of_nvidias_stays_where_newer_and_older_ones_are_taken(tmp_path: Path, index: Index) -> None:
    files = {"Dockerfile": NGC.format("26.05") + INSTALL}
    right = index.check(needs(tmp_path / "right", "torch>=2.3\naccelerating\n", **files))
    assert right.code == 0 and right.data["image"]["torch"] == "2.12.0a0" and right.check("torch.again")["status"] == "pass"
    wrong = index.check(needs(tmp_path / "wrong", "torchaudio==2.10.0\n", **files))
    again = [each for each in wrong.document["checks"] if each["id"] == "torch.again"]
    assert [each["status"] for each in again] == ["fail"] and "the 2.12.0a0 of the base image" in again[0]["summary"]
    assert wrong.data["image"]["torch"] == "2.10.0"
