"""What the slow tests are about, by the place where they stand: see tests/when_changed.py.

A row names every file that can make its tests fail, rather a folder too many than one too few: skills are tried through their
programs, which hold copies of the kit. What is not in a row runs always.
"""

from __future__ import annotations

COMPONENTS = ("tests/components/**/*", "tests/calling.py")
KUBERNETES = ("infrastructure/kubernetes/**/*",)
AWS = ("infrastructure/aws-cli/**/*", "infrastructure/cloudformation/**/*", "infrastructure/terraform/**/*")
RUNTIME = ("training/**/*", "tests/training/**/*.py")
KIT = ("skills/kit/**/*",)
SKILLS = ("skills/*/src/**/*", "skills/*/assets/**/*", "skills/*/scripts/*", *KIT)
DOCUMENTS = tuple(f"{place}*.md" for place in ("", "shared-docs/**/", "skills/**/", "training/**/", "infrastructure/**/"))
FORKING = ("tests/training/forking.py", "tests/training/forking_torchrun/*")

ON_AWS = ("ecr-pusher", "image-builder", "image-tester")
"""Skills that touch no cluster."""


def skill(name: str) -> tuple[str, ...]:
    """Of one skill and of its tests, which bring fixtures of other skills' tests and of the kit's. Its copies of the kit's modules lie in
    its own src/, so a module that it does not use is none of its files."""
    own = f"skills/{name}/**/*", f"tests/skills/{name.replace('-', '_')}/**/*"
    return (
        *own,
        "tests/skills/kit/*.py",
        "tests/infrastructure/*.py",
        *COMPONENTS,
        *FORKING,
        *(AWS if name in ON_AWS else KUBERNETES),
    )


IMAGES = (*skill("image-builder"), *skill("image-tester"), *skill("ecr-pusher"), "tests/skills/image_codebuild/**/*")
ROWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tests/components/test_aws_", COMPONENTS),
    (
        "tests/e2e/test_install",
        ("install.sh", "install/*", "commands/*", ".claude-plugin/*", *SKILLS, *DOCUMENTS, "tests/e2e/*.py"),
    ),
    (
        "tests/e2e/",
        (
            *SKILLS,
            *RUNTIME,
            *DOCUMENTS,
            *COMPONENTS,
            *KUBERNETES,
            "tests/e2e/**/*",
            "install.sh",
            "install/*",
            "commands/*",
            ".claude-plugin/*",
            "Makefile",
        ),
    ),
    ("tests/infrastructure/", (*SKILLS, *RUNTIME, *DOCUMENTS, *COMPONENTS, *KUBERNETES, *AWS, "tests/infrastructure/**/*")),
    ("tests/recorded/", (*SKILLS, *RUNTIME, *COMPONENTS, "tests/recorded/**/*")),
    ("tests/skills/checkpoint_manager/", (*skill("checkpoint-manager"), *RUNTIME)),
    ("tests/skills/cluster_manager/", (*skill("cluster-manager"), *skill("pytorchjob-manager"), *DOCUMENTS, "tests/e2e/**/*")),
    ("tests/skills/ecr_pusher/", skill("ecr-pusher")),
    ("tests/skills/hyperpod_manager/", (*skill("hyperpod-manager"), *skill("cluster-manager"), *AWS, *KIT)),
    ("tests/skills/image_builder/test_image_generated.py", (*IMAGES, *RUNTIME)),
    ("tests/skills/image_codebuild/test_codebuild_tests.py", (*IMAGES, *RUNTIME)),
    ("tests/skills/image_tester/test_image_torch.py", (*IMAGES, *RUNTIME)),
    ("tests/skills/image_", IMAGES),
    (
        "tests/skills/kit/",
        ("install/*", *SKILLS, *skill("pytorchjob-manager"), *skill("cluster-manager")),
    ),
    ("tests/skills/local_runner/", (*skill("local-runner"), *skill("training-job-deployer"), *skill("monitor"), *RUNTIME)),
    (
        "tests/skills/monitor",
        (*SKILLS, *skill("monitor"), "tests/skills/monitor_cluster/**/*", *RUNTIME, *DOCUMENTS, "tests/*.py"),
    ),
    ("tests/skills/pytorchjob_manager/test_ptjob_nodes.py", (*skill("pytorchjob-manager"), *RUNTIME)),
    ("tests/skills/pytorchjob_manager/test_ptjob_program.py", (*skill("pytorchjob-manager"), *RUNTIME)),
    ("tests/skills/pytorchjob_manager/", (*skill("pytorchjob-manager"), *skill("checkpoint-manager"), *KIT)),
    ("tests/skills/ray_manager/test_ray_re", (*skill("ray-manager"), *RUNTIME)),
    ("tests/skills/ray_manager/", (*skill("ray-manager"), *KIT)),
    ("tests/skills/test_contract.py", (*SKILLS, *DOCUMENTS, *RUNTIME, "tests/skills/*.py", "tests/*.py")),
    ("tests/skills/training_job_deployer/", (*SKILLS, *skill("training-job-deployer"), *RUNTIME, "tests/recorded/**/*")),
    (
        "tests/training/",
        (*RUNTIME, *skill("local-runner"), *skill("checkpoint-manager"), "shared-docs/*.md"),
    ),
)


def files_of(nodeid: str) -> tuple[str, ...] | None:
    """Patterns of the files that the test is about; None: it always runs."""
    return next((files for place, files in ROWS if nodeid.startswith(place)), None)
