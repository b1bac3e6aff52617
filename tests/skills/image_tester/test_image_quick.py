"""Level quick in a real container: what the project declares imports, the entry point compiles, no script dangles."""

from __future__ import annotations

from pathlib import Path

import pytest
from tester_call import Images, site, statuses

APP = {
    **site("alpha", "2.1", scripts="alpha = alpha:VALUE"),
    **site("beta-tools", "0.9", files={"beta.py": "VALUE = 2\n"}),
    "app/train.py": "import alpha\nprint('training')\n",
    "app/broken.py": "def train(:\n",
}
LINES = ("ENV PYTHONPATH=/opt/site", "WORKDIR /app")


@pytest.fixture(scope="module")
def good(images: Images) -> str:
    return images.image("good", APP, *LINES)


def project(folder: Path, text: str) -> Path:
    (folder / "requirements.txt").write_text(text)
    return folder


def test_a_good_image_passes(images: Images, good: str, tmp_path: Path) -> None:
    """Control of all others: exit 0, nothing fails, and nothing is left of it."""
    found = images.test(
        good, "--level", "quick", "--project", project(tmp_path, "alpha>=2\nbeta-tools\n"), "--entry", "train.py"
    )
    assert found.code == 0, found.document
    assert set(statuses(found).values()) == {"pass"}
    assert found.data["facts"]["python"].startswith("3.") and found.data["facts"]["packages"] == {
        "alpha": "2.1",
        "beta-tools": "0.9",
    }
    assert found.data["facts"]["user"] == "root" and found.data["facts"]["size_bytes"] > 1 << 20
    assert images.containers() == []


def test_a_declared_package_is_missing(images: Images, good: str, tmp_path: Path) -> None:
    found = images.test(good, "--level", "quick", "--project", project(tmp_path, "alpha\ngamma>=3\n"))
    assert found.code == 1 and found.check("imports")["status"] == "fail"
    assert "gamma is declared and not installed" in found.check("imports")["summary"]


def test_a_marker_of_another_python_asks_for_nothing(images: Images, good: str, tmp_path: Path) -> None:
    """Evaluated with the image's Python, not with this one."""
    found = images.test(good, "--level", "quick", "--project", project(tmp_path, 'alpha\ngamma; python_version < "3.8"\n'))
    assert found.code == 0 and "all 1 declared" in found.check("imports")["summary"]


def test_another_version_is_installed(images: Images, good: str, tmp_path: Path) -> None:
    found = images.test(good, "--level", "quick", "--project", project(tmp_path, "alpha<2\n"))
    assert found.code == 1 and found.check("imports")["status"] == "pass"
    assert "alpha 2.1 is installed, requirements.txt:1 asks for <2" in found.check("imports.versions")["summary"]


def test_a_module_may_have_another_name(images: Images, good: str) -> None:
    """--package takes what is imported too."""
    assert images.test(good, "--level", "quick", "--package", "beta").code == 0
    assert images.test(good, "--level", "quick", "--package", "delta").code == 1


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("broken.py", "does not compile"),
        ("gone.py", "there is no /app/gone.py in the image; beside it: /app: broken.py, train.py"),
    ],
)
def test_the_entry_point_is_wrong(images: Images, good: str, entry: str, says: str) -> None:
    found = images.test(good, "--level", "quick", "--package", "alpha", "--entry", entry)
    assert found.code == 1 and says in found.check("entry")["summary"]


@pytest.mark.parametrize("run", ["torchrun train.py --steps 4", "python train.py", "python -m alpha"])
def test_the_entry_point_of_a_request(images: Images, good: str, tmp_path: Path, run: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(f"name: tiny\ntarget: eks\nrun: {run}\n")
    found = images.test(good, "--level", "quick", "--request", job, "--package", "alpha")
    assert found.code == 0 and found.check("entry")["status"] == "pass"


def test_a_console_script_dangles(images: Images, good: str) -> None:
    """Its module went, or the venv that it was written for was moved."""
    files = {**APP, **site("stray", scripts="stray = nowhere.cli:main"), "usr/bin/moved": "#!/venv/bin/python3\nprint(1)\n"}
    found = images.test(images.image("dangling", files, *LINES), "--level", "quick", "--package", "alpha")
    assert found.code == 1
    evidence = found.check("scripts")["summary"]
    assert (
        "stray: its module nowhere is not there" in evidence
        and "moved: its interpreter /venv/bin/python3 is not there" in evidence
    )


def test_a_numeric_user_without_a_shell(images: Images) -> None:
    """Nothing of the test needs a shell, a name or a home."""
    lines = (*LINES, "RUN rm -f /bin/sh /bin/bash /bin/dash /usr/bin/sh", "USER 12345:23456")
    name = images.image("bare-user", APP, *lines)
    found = images.test(name, "--level", "standard", "--package", "alpha", "--entry", "train.py", "--trainyard", "0.1.0")
    assert found.check("imports")["status"] == found.check("entry")["status"] == "pass"
    assert (
        found.check("user")["status"] == "warn" and "user 12345 has no entry in /etc/passwd" in found.check("user")["summary"]
    )
    assert found.data["facts"]["uid"] == 12345
    assert found.check("trainyard")["status"] == "fail"
    assert found.check("torch.build")["status"] == "skipped"


def test_a_user_with_a_home(images: Images) -> None:
    """Control of the one before."""
    lines = (*LINES, "RUN useradd --create-home trainer", "USER trainer")
    found = images.test(images.image("home-user", APP, *lines), "--level", "standard", "--package", "alpha")
    assert found.check("user")["status"] == "pass" and "trainer" in found.check("user")["summary"]


def test_a_user_that_nobody_knows(images: Images) -> None:
    """USER with a name that is in no /etc/passwd of the image: the container does not start, and that is the image's."""
    found = images.test(images.image("no-such-user", APP, *LINES, "USER nobody-here"), "--level", "quick", "--package", "alpha")
    assert found.code == 1 and "starts as nobody-here" in found.check("image.start")["summary"], found.document


def test_this_docker_has_no_gpu(images: Images, good: str) -> None:
    """What Docker cannot give says nothing about the image: exit 2, and no check."""
    found = images.test(good, "--level", "quick", "--package", "alpha", "--gpus", "all")
    assert (found.code, found.error["code"], found.document["checks"]) == (2, "usage", []), found.document
    assert "this Docker has no GPU" in found.error["message"] and images.containers() == []


def test_the_python_that_the_job_starts(images: Images, good: str, tmp_path: Path) -> None:
    """Its packages count; one that is not there is no other one's affair."""
    (tmp_path / "job.yaml").write_text("name: tiny\ntarget: eks\nrun: /opt/none/bin/python train.py\n")
    found = images.test(good, "--level", "quick", "--package", "alpha", "--request", tmp_path / "job.yaml")
    assert found.code == 1 and "no /opt/none/bin/python" in found.check("image.start")["summary"], found.document


def test_a_project_that_declares_nothing(images: Images, good: str, tmp_path: Path) -> None:
    """Its entry point is looked at all the same, and what was not understood is said. A time limit has to be a number."""
    found = images.test(good, "--level", "quick", "--project", tmp_path, "--entry", "train.py")
    assert found.code == 0 and (found.check("imports")["status"], found.check("entry")["status"]) == ("warn", "pass")
    assert images.test(good, "--probe-timeout", "nan").code == 2


def test_shared_memory(images: Images, good: str) -> None:
    """What is asked for is what the container gets, and 64 MiB where nothing is."""
    asked, silent = images.test(good, "--shm", "128Mi"), images.test(good)
    assert "128 MiB" in asked.check("shm")["summary"] and "64 MiB" in silent.check("shm")["summary"]


def test_a_dry_run_starts_nothing(images: Images, good: str) -> None:
    """It prints the unprivileged container: no capability, no network, no mount, bounded memory and processes."""
    found = images.test(good, "--dry-run", "--memory", "1Gi", "--pids", 99)
    words = found.data["would_call"]
    assert found.code == 0 and images.containers() == []
    for word in ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none", "--read-only", "--pids-limit=99"):
        assert word in words
    assert f"--memory={1 << 30}" in words and not [
        word for word in words if word.startswith(("-v", "--volume", "--mount", "--privileged"))
    ]
