"""An image that was built before is found again by its source, whatever tag it has by now; and what is paid for twice otherwise."""

from __future__ import annotations

import time

from codebuild_call import CodeBuild

from tests.calling import SKILLS, call

PUSH = SKILLS / "ecr-pusher" / "src" / "push_image.py"


def promote(codebuild: CodeBuild, source: str, tag: str) -> None:
    words = ["promote", "trainyard/net", "--from", source, "--tag", tag]
    promoted = call(PUSH, *words, env=codebuild.environment(), timeout_s=60)
    assert promoted.code == 0, promoted


def test_a_promoted_image_is_not_built_again(codebuild: CodeBuild) -> None:
    """By its source: without a tag, under its new tag, and in a plan. The controls: another source, another new tag, no image."""
    folder = codebuild.project()
    first = codebuild("build", folder).data
    promote(codebuild, first["tag"], "1.0.0")
    plan = codebuild("build", folder, "--dry-run")
    assert (plan.data["reused"], plan.data["would"], plan.data["tag"], plan.data["estimate"]["usd"]) == (True, [], "1.0.0", 0)
    for words in ([], ["--image-tag", "1.0.0"]):
        again = codebuild("build", folder, *words)
        found = (again.code, again.data["reused"], again.data["digest"], again.data["tag"], again.document["changed"])
        assert found == (0, True, first["digest"], "1.0.0", []), again
        assert f"was built before, by {first['build_ids'][0]}" in again.check("build.done")["summary"]
    assert codebuild("wait", first["build_ids"][0]).check("registry.tag")["status"] == "pass"
    assert len(codebuild.builds()) == 1
    (folder / "train.py").write_text("print(2)\n")
    assert codebuild("build", folder, "--dry-run").data["reused"] is False
    assert codebuild("build", folder, "--image-tag", "1.0.0").code == 5
    (folder / "train.py").write_text("print(1)\n")
    codebuild.aws.client("ecr").batch_delete_image(repositoryName="trainyard/net", imageIds=[{"imageDigest": first["digest"]}])
    assert codebuild("build", folder, "--dry-run").data["reused"] is False, "the registry has lost it"


def test_a_running_build_is_found_whatever_time_it_may_take(codebuild: CodeBuild) -> None:
    """And counts the seconds that it ran before. The control: another argument is another build."""
    folder = codebuild.project()
    codebuild.aws.builds_fault(phase="BUILD", slow_s=5)
    (build_id,) = codebuild("build", folder, "--no-wait", "--timeout", "600").data["build_ids"]
    time.sleep(2)
    joined = codebuild("build", folder, "--timeout", "7200", "--queue-timeout", "600")
    assert joined.data["build_ids"] == [build_id] and "at most 10 minutes" in joined.stderr, joined
    ended = codebuild("status", build_id).data["seconds"]
    assert joined.data["seconds"] >= ended > 5 and "attempt 1" in joined.check("build.done")["summary"]
    assert codebuild("build", folder, "--build-arg", "A=1", "--no-wait").data["build_ids"] != [build_id]
    refused = codebuild("build", folder, "--timeout", "5")
    assert refused.code == 2 and "300" in refused.error["message"], "CodeBuild takes no less than five minutes"
