"""What goes into a build context: the same files as in a real BuildKit, no secrets, within a limit, and as a ZIP that is always the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.components.images.buildkit import BuildKit
from tests.components.images.fixtures import full_images
from tests.skills.image_builder.image_call import module
from tests.skills.image_builder.image_contexts import IGNORE, LISTING, SHELL, Case, buildkits, ours, random_cases, tree

ARCHIVE: Any = module("build_context.archive")
HASHES: Any = module("build_context.hashes")
SECRETS: Any = module("build_context.sensitive")
SOURCE: Any = module("build_source")
TREE = [
    ".env",
    "a/.env",
    "a/b/c.py",
    "a/b/d.txt",
    "x.pyc",
    "a/x.pyc",
    "foo[1].txt",
    "foo1.txt",
    "sub/f",
    "sub/keep/k",
    " #x",
    "#x",
]
TREE += ["empty/", "l -> a/b", "Dockerfile", "b/a/b/f", "é.txt", "n/m/o/p.log", "n/m/q.log"]
TOLD = [
    b"*.pyc", b"**/*.pyc", b".env", b"**/.env", rb"foo\[1\].txt", b"foo[1].txt", b"# a comment\n#x", b" #x", b"sub/", b"/sub", b"sub\n!sub/keep",
    b"*\n!sub/keep/k", b"!sub\nsub", b"**\n!**/*.py", b"a/*/c.py", b"a/?/c.py", b"a/../sub", b"./sub/.", b"\xef\xbb\xbfsub", b"sub\r\n.env\r\n",
    b"**", b"**/b", b"a/**", b"**b", b"a/b\n!a", b"*\n!a\na/b", b"Dockerfile\n.dockerignore", b"..", b"../sub", b".", b"/", b"  sub  ",
    b"n/**/*.log", b"n/*/*.log", b"*/*/*", b"[a-n]", b"[^a]*", "é*".encode(), b"! sub\n*", b"l", b"l/c.py", b"**/m/**\n!**/q.log", b"empty/*", b"empty",
]  # fmt: skip
"""Each rule of images-aws.md and its neighbours."""
REFUSED = [b"!", b"! ", b"[", b"a[", b"[a", b"[]a]", b"[a-]", b"a\\", b"!/..", b"[z-a]"]


def same_as_buildkit(cases: list[Case], place: Path, buildkit: BuildKit) -> list[str]:
    """The ignore files over which the two differ."""
    different = []
    for start in range(0, len(cases), 50):
        some = cases[start : start + 50]
        for case, theirs in zip(some, buildkits(some, place / f"build{start}", buildkit.call), strict=True):
            if ours(case) != theirs:
                different.append(f"{case.ignore!r}: {sorted(set(ours(case) or ()) ^ set(theirs))}")
    return different


def ignored(root: Path, ignore: bytes) -> Case:
    tree(root, TREE)
    (root / ".dockerignore").write_bytes(ignore)
    return Case(root, ignore)


def test_every_told_pattern_is_as_in_buildkit(tmp_path: Path, buildkit: BuildKit) -> None:
    cases = [ignored(tmp_path / str(index), each) for index, each in enumerate(TOLD)]
    assert same_as_buildkit(cases, tmp_path, buildkit) == []
    everything = ours(ignored(tmp_path / "all", b""))
    assert sum(ours(case) != everything for case in cases) > len(cases) * 0.7  # they leave something out


def test_forty_random_ignore_files_are_as_in_buildkit(tmp_path: Path, buildkit: BuildKit) -> None:
    cases = random_cases(40, tmp_path, seed=int(time.time()) // 86_400)
    assert same_as_buildkit(cases, tmp_path, buildkit) == []


@full_images
def test_three_hundred_random_ignore_files_are_as_in_buildkit(tmp_path: Path, buildkit: BuildKit) -> None:
    for seed in range(3):
        assert same_as_buildkit(random_cases(100, tmp_path / str(seed), seed), tmp_path / str(seed), buildkit) == []


def test_the_comparison_finds_a_wrong_pattern(tmp_path: Path, buildkit: BuildKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what git would make of a pattern is not what BuildKit makes of it."""
    case = ignored(tmp_path / "one", b"*.pyc")
    theirs = buildkits([case], tmp_path / "build", buildkit.call)[0]
    (case.root / ".dockerignore").write_bytes(b"**/*.pyc")
    assert ours(case) != theirs


@pytest.mark.parametrize("ignore", REFUSED, ids=repr)
def test_a_refused_pattern_is_refused_here(tmp_path: Path, ignore: bytes) -> None:
    with pytest.raises(SHELL.SkillError, match=r"\.dockerignore:1: .* is not a pattern"):
        LISTING.listed(tmp_path, IGNORE.read(ignored(tmp_path, ignore).root, None))


@full_images
def test_buildkit_refuses_them_too(tmp_path: Path, buildkit: BuildKit) -> None:
    for index, ignore in enumerate(REFUSED):
        case = ignored(tmp_path / str(index), ignore)
        (case.root / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        assert buildkit.build(case.root, to=tmp_path / f"out{index}").code != 0, ignore


def test_the_dockerfiles_own_ignore_file_replaces_the_other(tmp_path: Path, buildkit: BuildKit) -> None:
    (tmp_path / "src").mkdir()
    ignored(tmp_path / "src", b".env")
    (tmp_path / "src" / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "src" / "Dockerfile.dockerignore").write_text("sub\n")
    ignore = IGNORE.read(tmp_path / "src", tmp_path / "src" / "Dockerfile")
    mine = sorted(each.path for each in LISTING.listed(tmp_path / "src", ignore).entries if each.kind != "folder")
    built = buildkit.build(tmp_path / "src", to=tmp_path / "out")
    assert built.code == 0, built.log
    theirs = sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_symlink() or path.is_file()
    )
    assert mine == theirs
    assert ".env" in mine and "sub/f" not in mine


def test_run_folders_of_ours_are_never_in_it(tmp_path: Path) -> None:
    tree(tmp_path, [".trainyard/runs/x", "a"])
    (tmp_path / ".dockerignore").write_text("*\n!.trainyard\n!a\n")
    assert [each.path for each in LISTING.listed(tmp_path, IGNORE.read(tmp_path, None)).entries] == ["a"]


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n" * 3
SECRET_FILES = {
    ".env": "A=\nB= 'x'\n",
    "prod.env": "A=1",
    "boto.cfg": "aws_secret_access_key = q9ZkT3vN7xR2mB8wL5yH" + "1cD6fJ4gS0aP/uE+iQoK\n",
    "conf/.env.local": "A=1",
    "id_ed25519": "x",
    "notes.txt": KEY,
    "settings.py": "TOKEN = 'hf_" + "a1B2" * 9 + "'\n",
    "deep/er/aws.ini": "aws_access_key_id = AKIA" + "Q4ZT7XKD2MPLW3VB\n",
    ".aws/credentials": "[default]\n",
    "ci.yml": "token: ghp_" + "aB3" * 12 + "\n",
}
HARMLESS = {
    ".env.example": "A=1",
    "readme.md": "put `-----BEGIN PRIVATE KEY-----` here, or AKIAIOSFODNN7EXAMPLE, or hf_xxx",
    "check.py": "if b'PRIVATE KEY' in data: ...",
    "environment.yml": "a: 1",
    "half_hf_token.py": "hf_token = None",
    "placeholder.sh": "export HF_TOKEN=hf_" + "x" * 37 + " GH=ghp_" + "X" * 36,
    ".env.local": "# fill in\nAPI_KEY=\nexport WANDB=''\nHOST:\n",
    "example.env": "A=1",
}


@pytest.mark.parametrize("name", SECRET_FILES)
def test_a_secret_stops_the_build_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(SECRET_FILES[name])
    found = LISTING.listed(tmp_path, IGNORE.parse(b"", None))
    known = HASHES.known(found)
    with pytest.raises(SHELL.SkillError, match="looks like secrets") as refused:
        SOURCE.refuse_secrets(found, known, ())
    assert name in str(refused.value)
    SOURCE.refuse_secrets(found, known, (name,))


def test_what_only_speaks_of_secrets_stops_nothing(tmp_path: Path) -> None:
    for name, text in HARMLESS.items():
        (tmp_path / name).write_text(text)
    found = LISTING.listed(tmp_path, IGNORE.parse(b"", None))
    SOURCE.refuse_secrets(found, HASHES.known(found), ())


def test_of_a_binary_file_the_beginning_is_searched() -> None:
    token = b"ghp_" + b"aB3" * 12
    assert SECRETS.by_content(bytes(60_000) + token)
    assert SECRETS.by_content(b" " * 900_000 + token)
    assert not SECRETS.by_content(bytes(70_000) + token)


def test_no_word_is_lost_by_searching_faster() -> None:
    """Each word that a secret is told by is found from its rarest letter, wherever it stands; a part of it is not."""
    for word, _, _ in SECRETS.CONTENT:
        for around in (b"", b"K_x-", b"a" * 40):
            assert any(each.search(around + word + around) for each in SECRETS.WORDS), word
        assert not any(each.search(part) for each in SECRETS.WORDS for part in (word[1:], word[:-1])), word


def packed_from(found: Any, known: Any) -> bytes:
    """Read in pieces, as an upload does."""
    with contextlib.closing(ARCHIVE.Stream(found, known)) as stream:
        return b"".join(iter(lambda: stream.read(100_001), b""))


def packed(root: Path, goal: Path) -> bytes:
    found = LISTING.listed(root, IGNORE.read(root, None))
    goal.write_bytes(packed_from(found, HASHES.known(found)))
    return goal.read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tree(tmp_path / "project", [*TREE, "big.bin", "text.txt", "run.sh"])
    (root / "big.bin").write_bytes(os.urandom(300_000))
    (root / "text.txt").write_text("a line of text\n" * 20_000)
    (root / "run.sh").chmod(0o755)
    return root


def test_the_zip_holds_the_context_as_unzip_reads_it(project: Path, tmp_path: Path) -> None:
    packed(project, tmp_path / "c.zip")
    done = subprocess.run(["unzip", "-q", str(tmp_path / "c.zip"), "-d", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ours(Case(project, b"")) == ours(Case(tmp_path / "out", b""))
    for name in ("big.bin", "text.txt", "a/b/c.py", "é.txt"):
        assert (tmp_path / "out" / name).read_bytes() == (project / name).read_bytes()
    assert (tmp_path / "out" / "l").readlink() == Path("a/b")
    assert stat.S_IMODE((tmp_path / "out" / "run.sh").stat().st_mode) == 0o755
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        methods = {each.filename: each.compress_type for each in archive.infolist()}
        assert archive.testzip() is None
    assert (methods["big.bin"], methods["text.txt"]) == (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def test_the_same_context_gives_the_same_zip(project: Path, tmp_path: Path) -> None:
    """Whenever its files were written; a changed byte, mode, name or link gives another."""
    first = packed(project, tmp_path / "1.zip")
    os.utime(project / "text.txt", (1, 1))
    assert packed(project, tmp_path / "2.zip") == first
    (project / "run.sh").chmod(0o644)
    assert packed(project, tmp_path / "3.zip") != first


def digest(root: Path) -> str:
    found = LISTING.listed(root, IGNORE.read(root, None))
    answer = HASHES.digest(found, HASHES.known(found))
    assert isinstance(answer, str)
    return answer


@pytest.mark.parametrize("change", ["byte", "mode", "name", "link", "folder"])
def test_every_change_changes_the_digest(project: Path, change: str) -> None:
    """Also one that keeps size and time of change, right after the first reading."""
    before = digest(project)
    assert digest(project) == before
    path = project / "a" / "b" / "c.py"
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    if change == "byte":
        path.write_text(path.read_text().swapcase())
        os.utime(path, ns=times)
    elif change == "mode":
        path.chmod(0o600)
    elif change == "name":
        path.rename(path.with_name("e.py"))
    elif change == "link":
        (project / "l").unlink()
        (project / "l").symlink_to("a")
    else:
        (project / "empty").rmdir()
    assert digest(project) != before


def test_unchanged_files_are_not_read_again(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that says something false is believed: that is how one sees that it is asked. A damaged one is no cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for path in project.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1_000_000, 1_000_000))
    found = LISTING.listed(project, IGNORE.parse(b"", None))
    assert HASHES.known(found)["a/b/c.py"].sha256 == hashlib.sha256((project / "a/b/c.py").read_bytes()).hexdigest()
    time.sleep(2.1)  # until then a file's time of change is too young to be trusted
    HASHES.known(found)
    (cache,) = (tmp_path / "cache").rglob("*.json")
    real = hashlib.sha256((project / "a/b/c.py").read_bytes()).hexdigest()
    cache.write_text(cache.read_text().replace(real, "0" * 64))
    assert HASHES.known(found)["a/b/c.py"].sha256 == "0" * 64
    cache.write_text("{")
    assert HASHES.known(found)["a/b/c.py"].sha256 == real


def test_a_context_over_the_limit_names_its_largest(project: Path) -> None:
    with pytest.raises(SHELL.SkillError, match=r"limit is 0 MB; largest: big\.bin 0 MB, text\.txt") as refused:
        LISTING.listed(project, IGNORE.parse(b"", None), 400_000)
    assert refused.value.code == "usage"
    LISTING.listed(project, IGNORE.parse(b"", None), 700_000)


def test_a_file_that_changes_while_it_is_packed_is_a_conflict(project: Path) -> None:
    found = LISTING.listed(project, IGNORE.parse(b"", None))
    known = HASHES.known(found)
    (project / "text.txt").write_text("b line of text\n" * 20_000)
    with pytest.raises(SHELL.SkillError, match=r"text\.txt changed"):
        packed_from(found, known)


def test_pipes_and_sockets_are_left_out_and_told(project: Path) -> None:
    os.mkfifo(project / "pipe")
    found = LISTING.listed(project, IGNORE.parse(b"", None))
    assert found.left_out == ("pipe",) and "pipe" not in [each.path for each in found.entries]
