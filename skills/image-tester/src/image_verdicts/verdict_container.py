"""The image and its container from outside: what no text of the image can change."""

from __future__ import annotations

from collections.abc import Iterator

from image_verdicts.verdict_of import Scene, Verdict, failed, passed
from tester_causes import cause_of
from tester_container import Ran

OOM_CODE = 137


def platform(scene: Scene, daemon_arch: str) -> Verdict:
    """image.platform: what the nodes are, and what this Docker can run."""
    image, wanted = scene.image, "x86_64" if scene.asked.target else daemon_arch
    if image.os != "linux" or image.arch != wanted:
        where = scene.asked.target.instance_type if scene.asked.target else "this machine"
        fix = f"build with --platform linux/{'amd64' if wanted == 'x86_64' else wanted}"
        return failed("image.platform", f"the image is for {image.os}/{image.arch}, and {where} is linux/{wanted}", fix)
    return passed("image.platform", f"linux/{image.arch}")


def container(scene: Scene, ran: Ran) -> Iterator[Verdict]:
    """image.start where Python never ran the probe; container where it did not come to its end."""
    answers = scene.answers
    if not answers.begin:
        yield _no_start(scene, ran)
    elif ran.why == "flooded":
        yield failed(
            "container", f"it printed without end in {answers.last}, and was ended", "what prints there? `docker run` it"
        )
    elif ran.why == "timeout":
        yield failed(
            "container", f"the time limit of the whole test was reached in {answers.last}", "--timeout, or a smaller --level"
        )
    elif ran.state.oom and not answers.complete:
        yield failed(
            "container",
            f"the kernel ended the container for want of memory in {answers.last}",
            "--memory 8Gi",
            f"exit code {ran.state.code}, OOMKilled",
        )
    elif not answers.complete:
        yield failed(
            "container",
            f"it ended in {answers.last} with exit code {ran.state.code}",
            "`docker run` it and try that by hand",
            ran.error or None,
        )
    else:
        yield passed("container", "every probe came to its end")


def _no_start(scene: Scene, ran: Ran) -> Verdict:
    said = "\n".join(each for each in (ran.error, ran.state.error) if each)
    cause = cause_of(said, only=("architecture", "library", "glibc"))
    if cause:
        return failed("image.start", cause.what, cause.fix, said)
    if ran.state.oom:
        return failed(
            "image.start", "the kernel ended the container for want of memory before Python began", "--memory 8Gi", said or None
        )
    if "executable file not found" in said or "no such file or directory" in said.lower():
        summary = f"there is no {' or '.join(scene.asked.pythons)} in the image's PATH"
        return failed("image.start", summary, "Python in the image, or ENV PATH=/opt/venv/bin:$PATH", said)
    if "unable to find user" in said or "unable to find group" in said:
        summary = f"the image starts as {scene.image.user}, and its /etc/passwd or /etc/group has no such name"
        return failed("image.start", summary, "RUN useradd in the last stage of the Dockerfile, or USER with a number", said)
    if ran.why:
        return failed(
            "image.start",
            f"what the image calls python does not run the probe ({ran.why})",
            "a real Python in PATH",
            said or None,
        )
    text = f"what the image calls python ends with exit code {ran.state.code} and does not run the probe"
    return failed("image.start", text, "a real Python of 3.8 or newer in PATH; `docker run` it by hand", said or None)
