"""Which tags a push gives: by strategy, by git, and by what the repository has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import Made, oci

WHO = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")


class Project:
    """A project under git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q", "-b", "feature/data_2")
        self.write("train.py", "print(1)\n")
        self.git("add", ".")
        self.git(*WHO, "commit", "-qm", "first")

    def git(self, *words: str) -> str:
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(["git", "-C", self.folder, *words], capture_output=True, text=True, check=True, env=env)
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    @property
    def sha(self) -> str:
        return self.git("rev-parse", "HEAD")[:12]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def tags_of(pusher: Pusher, image: Made, *words: object) -> list[str]:
    """Of a dry run."""
    done = pusher.call("push", image.word, "--repository", "team/net", "--dry-run", *words)
    assert done.code == 0, done
    return list(done.data["tags"])


def test_auto_is_the_git_tag_or_branch_and_commit(pusher: Pusher, repository: str, image: Made, project: Project) -> None:
    where = ("--project", project.folder)
    assert tags_of(pusher, image, *where) == [f"feature-data_2-{project.sha}"]
    project.write("train.py", "print(2)\n")
    assert tags_of(pusher, image, *where) == [f"feature-data_2-{project.sha}-dirty"]
    project.git("checkout", "-q", "--", ".")
    project.git("tag", "v1.2.0")
    project.git("tag", "v1.10.0")
    assert tags_of(pusher, image, *where) == ["v1.10.0"]
    project.write("new.py", "")
    assert tags_of(pusher, image, *where) == [f"feature-data_2-{project.sha}-dirty"], "a file that git does not know"
    (project.folder / "new.py").unlink()
    project.git("tag", "-d", "v1.2.0", "v1.10.0")
    project.git("checkout", "-q", "--detach")
    assert tags_of(pusher, image, *where) == [f"detached-{project.sha}"]
    assert tags_of(pusher, image, *where, "--tag-strategy", "git-sha", "--tag", "extra") == [project.sha, "extra"]


def test_a_long_branch_keeps_its_commit(pusher: Pusher, repository: str, image: Made, project: Project) -> None:
    project.git("checkout", "-q", "-b", "b" * 200)
    (tag,) = tags_of(pusher, image, "--project", project.folder)
    assert len(tag) == 128 and tag.endswith(f"b-{project.sha}")


def test_a_hook_of_git_does_not_change_the_project(
    pusher: Pusher, repository: str, image: Made, project: Project, tmp_path: Path
) -> None:
    """There git sets GIT_DIR to the project of the hook."""
    other = Project(tmp_path / "other")
    pusher.env = {"GIT_DIR": f"{other.folder}/.git", "GIT_WORK_TREE": str(other.folder)}
    project.git("tag", "v3")
    assert tags_of(pusher, image, "--project", project.folder) == ["v3"]


def test_no_git_is_told(pusher: Pusher, image: Made, tmp_path: Path) -> None:
    """Exit 2 for a folder without git, exit 8 where there is no program git; both name --tag, and nobody was asked."""
    words = ("push", image.word, "--repository", "net")
    plain = pusher.call(*words, GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert plain.code == 2 and "not a git project" in plain.error["message"] and "--tag" in plain.error["hint"], plain
    missing = pusher.call(*words, PATH=str(tmp_path))
    assert (missing.code, missing.error["code"]) == (8, "dependency") and "--tag" in missing.error["hint"]
    assert pusher.call(*words, "--project", tmp_path / "nothing").code == 2 and pusher.aws.actions() == []


def test_hooks_of_the_project_do_not_run(
    pusher: Pusher, repository: str, image: Made, project: Project, tmp_path: Path
) -> None:
    """Neither hooks nor the file system monitor that a project's own configuration names; the control shows that git would."""
    witness = tmp_path / "ran"
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {witness}\n")
    monitor.chmod(0o755)
    project.git("config", "core.fsmonitor", str(monitor))
    tags_of(pusher, image, "--project", project.folder)
    assert not witness.exists()
    project.git("status")
    assert witness.exists()


def test_semver_is_the_next(pusher: Pusher, repository: str, image: Made, tmp_path: Path) -> None:
    """Above the highest by number, not by letters; what is no release does not count."""
    older = oci(tmp_path / "older.tar", [b"older"])
    before = [word for tag in ("v1.9.0", "v1.10.0", "2.0.0-rc1", "build-99.0.0") for word in ("--tag", tag)]
    assert pusher.call("push", older.word, "--repository", repository, *before).code == 0
    words = ("push", image.word, "--repository", repository, "--tag-strategy", "semver", "--bump")
    for bump, expected in (("patch", "v1.10.1"), ("minor", "v1.11.0"), ("major", "v2.0.0")):
        assert pusher.call(*words, bump, "--dry-run").data["tags"] == [expected]
    assert pusher.call(*words, "minor").data["tags"] == ["v1.11.0"]
    again = pusher.call(*words, "minor")
    assert (again.code, again.data["tags"], again.document["changed"]) == (0, ["v1.11.0"], []), "it has its version already"


def test_semver_begins_at_zero(pusher: Pusher, repository: str, image: Made) -> None:
    assert tags_of(pusher, image, "--tag-strategy", "semver", "--bump", "minor") == ["0.1.0"]


def test_latest_never_stands_alone(pusher: Pusher, repository: str, image: Made, project: Project, tmp_path: Path) -> None:
    """A warning, and beside it the commit, or the digest where there is no git; latest moves, the other stays."""
    words = ("push", image.word, "--repository", repository, "--tag-strategy", "latest", "--project")
    done = pusher.call(*words, project.folder)
    assert done.code == 0 and done.data["tags"] == [project.sha, "latest"]
    assert done.check("tag.latest")["status"] == "warn"
    other = oci(tmp_path / "other.tar", [b"other"])
    moved = pusher.call("push", other.word, "--repository", repository, "--tag", "latest")
    assert moved.data["tags"] == [f"sha256-{other.digest[7:19]}", "latest"]
    assert image.digest in moved.check("tag.moved")["summary"]
    assert pusher.tagged(repository)["latest"] == other.digest and pusher.tagged(repository)[project.sha] == image.digest


def test_an_immutable_tag_stays(pusher: Pusher, repository: str, image: Made, tmp_path: Path) -> None:
    """Exit 5 before a layer is sent."""
    assert pusher.call("push", image.word, "--repository", repository, "--tag", "1").code == 0
    other, before = oci(tmp_path / "other.tar", [b"other"]), pusher.requests("ecr:InitiateLayerUpload")
    for via in ("registry", "api"):
        done = pusher.call("push", other.word, "--repository", repository, "--tag", "1", "--via", via)
        assert (done.code, done.error["code"]) == (5, "conflict") and image.digest in done.error["message"], done
    assert pusher.requests("ecr:InitiateLayerUpload") == before and pusher.tagged(repository) == {"1": image.digest}


@pytest.mark.parametrize("tag", ["", "-x", ".x", "a b", "a/b", "$(id)", "x" * 129, "a;b", "ä"])
def test_wrong_tags_are_refused(pusher: Pusher, image: Made, tag: str) -> None:
    done = pusher.call("push", image.word, "--repository", "net", f"--tag={tag}")
    assert done.code == 2 and pusher.aws.actions() == [], done


def test_tags_says_which_of_them_cannot_move(pusher: Pusher, repository: str, image: Made) -> None:
    """By the repository's setting and its exclusions."""
    assert pusher.call("push", image.word, "--repository", repository, "--tag", "1", "--tag-strategy", "latest").code == 0
    (row,) = pusher.call("tags", repository).data["images"]
    assert (sorted(row["tags"]), row["immutable"]) == (["1", "latest"], ["1"])
    pusher.ecr().put_image_tag_mutability(repositoryName=repository, imageTagMutability="MUTABLE")
    assert pusher.call("tags", repository).data["images"][0]["immutable"] == []
