"""--fix shows, --apply writes exactly that, once, and nothing else."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from image_call import check, project, severities

FILES = {
    "requirements.txt": "\ufefftorch==2.4.0\r\n# torchvision==0.20.0\r\ntorchvision==0.20.0  # keep\r\nsklearn\r\nPyYAML",
    "Dockerfile": 'FROM ubuntu:24.04\nRUN pip install \\\n  "cv2" -r requirements.txt\n',
    "other.txt": "sklearn\n",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_fix_shows_and_changes_nothing(tmp_path: Path) -> None:
    folder = project(tmp_path, FILES)
    before = contents(folder)
    found = check(folder, "--fix")
    assert contents(folder) == before and found.document["changed"] == []
    assert check(folder, "--apply", "--dry-run").data["diff"] == found.data["diff"] and contents(folder) == before
    assert [line for line in found.data["diff"] if line.startswith("+")][1:2] == [
        '+  "opencv-python-headless" -r requirements.txt'
    ]
    assert check(folder).data["diff"] is None


def test_apply_writes_what_fix_has_shown_and_once(tmp_path: Path) -> None:
    folder = project(tmp_path / "a", FILES)
    (folder / "Dockerfile").chmod(0o640)
    copy = shutil.copytree(folder, tmp_path / "b")
    shown = check(folder, "--fix").data["diff"]
    applied = check(folder, "--apply")
    assert applied.data["diff"] == shown
    assert [line.partition(" in ")[0] for line in applied.document["changed"]] == ["Dockerfile", "requirements.txt"]
    text = (folder / "requirements.txt").read_bytes().decode()
    assert text == FILES["requirements.txt"].replace("\ntorchvision==0.20.0", "\ntorchvision==0.19.0").replace(
        "sklearn", "scikit-learn"
    )
    assert (folder / "other.txt").read_text() == FILES["other.txt"] and stat.S_IMODE(
        (folder / "Dockerfile").stat().st_mode
    ) == 0o640
    again = check(folder, "--apply")
    assert again.document["changed"] == [] and again.data["diff"] == [] and again.code == 0
    if patch := shutil.which("patch"):
        # A byte order mark is invisible, so no answer shows it, and the line that has it fits by what is around it alone.
        words = [patch, "-p1", "--binary", "-s", "--no-backup-if-mismatch"]
        subprocess.run(words, cwd=copy, input="\n".join([*shown, ""]).encode(), check=True, timeout=30)
        assert contents(copy) == contents(folder), "and patch makes the same of the diff"


@pytest.mark.parametrize(
    ("name", "text", "after"),
    [
        ("requirements.txt", "torch==2.2.2\nnumpy\n", "torch==2.2.2\nnumpy<2\n"),
        ("requirements.txt", "torch==2.2.2\nnumpy>=1.20\n", "torch==2.2.2\nnumpy>=1.20,<2\n"),
        (
            "Dockerfile",
            "FROM ubuntu:24.04\nRUN pip install torch==2.2.2 numpy\n",
            "FROM ubuntu:24.04\nRUN pip install torch==2.2.2 numpy==1.26.4\n",
        ),
        ("requirements.txt", "torch==2.2.2\nnumpy>=2\n", None),
        ("requirements.txt", "torch==2.4.0\ntorchvision==0.20.0 --hash=sha256:0\n", None),
        ("Dockerfile", "FROM ubuntu:24.04\nENV V=0.20.0\nRUN pip install torch==2.4.0 torchvision==$V\n", None),
        ("Dockerfile", "FROM ubuntu:24.04\nRUN pip install cv2 && pip uninstall -y cv2\n", None),
        ("requirements.txt", "yaml  # no, yaml is it\n", None),
        ("requirements.txt", "torch==2.13.0\nhyperpod-elastic-agent==1.1.3\n", None),
        (
            "pyproject.toml",
            '[project]\nname = "n"\ndependencies = ["cv2", "six"]\n',
            '[project]\nname = "n"\ndependencies = ["opencv-python-headless", "six"]\n',
        ),
        (
            "environment.yml",
            "dependencies:\n  - pytorch=2.9.1\n  - torchvision=0.20.0\n",
            "dependencies:\n  - pytorch=2.9.1\n  - torchvision=0.24.1\n",
        ),
    ],
)
def test_only_an_edit_that_is_sure_is_made(tmp_path: Path, name: str, text: str, after: str | None) -> None:
    """A `<` in a RUN would be the shell's, another version has another hash, a variable stands elsewhere."""
    found = check(project(tmp_path, {name: text}), "--apply")
    assert (tmp_path / name).read_text() == (after or text)
    assert any(each["fixable"] for each in found.data["findings"]) is (after is not None) and found.code == 1
    assert severities(check(tmp_path)) == ({} if after else severities(found))


def test_links_and_owners_stay(tmp_path: Path) -> None:
    folder = project(tmp_path, {"deps/all.txt": "sklearn\n"})
    (folder / "requirements.txt").symlink_to("deps/all.txt")
    owner = 12345 if os.geteuid() == 0 else os.geteuid()
    os.chown(folder / "deps" / "all.txt", owner, -1)
    assert check(folder, "--apply").document["changed"] != []
    assert (folder / "requirements.txt").is_symlink() and (folder / "requirements.txt").read_text() == "scikit-learn\n"
    assert (folder / "deps" / "all.txt").stat().st_uid == owner


def test_all_files_are_changed_or_none(tmp_path: Path) -> None:
    """The second of two cannot be written: the first is as it was."""
    folder = project(tmp_path, {"requirements.txt": "sklearn\n-r z/b.txt\n", "z/b.txt": "cv2\n"})
    words = ["chattr", "+i", str(folder / "z")]
    if not shutil.which("chattr") or subprocess.run(words, capture_output=True, timeout=10).returncode:
        pytest.skip("this file system takes no immutable folders")
    try:
        found = check(folder, "--apply")
        assert found.code == 4 and "z/b.txt" in found.error["message"]
    finally:
        subprocess.run(["chattr", "-i", str(folder / "z")], check=True, timeout=10)
    assert (folder / "requirements.txt").read_text() == "sklearn\n-r z/b.txt\n" and (
        folder / "z" / "b.txt"
    ).read_text() == "cv2\n"
    assert len(check(folder, "--apply").document["changed"]) == 2, "control: both could be changed"


def test_a_folder_that_may_not_be_written_is_exit_4_or_8(tmp_path: Path) -> None:
    folder = project(tmp_path, {"requirements.txt": "sklearn\n"})
    words = ["chattr", "+i", str(folder)]
    if not shutil.which("chattr") or subprocess.run(words, capture_output=True, timeout=10).returncode:
        pytest.skip("this file system takes no immutable folders")
    try:
        found = check(folder, "--apply")
        assert found.code == 4 and "requirements.txt" in found.error["message"]
    finally:
        subprocess.run(["chattr", "-i", str(folder)], check=True, timeout=10)
    assert contents(folder) == {"requirements.txt": b"sklearn\n"}
