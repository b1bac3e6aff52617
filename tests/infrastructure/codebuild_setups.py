"""What the three ways of infrastructure/ make for builds, each as one document that can be compared: names, policies, settings.

The script's is read back from AWS's stand-in. CloudFormation's is its template with the functions it uses resolved. Terraform's is
parsed HCL, with the locals that `terraform console` evaluates; that needs no provider.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.components.aws.running import Aws

ROOT = Path(__file__).resolve().parents[2]
INFRASTRUCTURE = ROOT / "infrastructure"
SCRIPT = INFRASTRUCTURE / "aws-cli" / "setup-codebuild.sh"
TEMPLATE = INFRASTRUCTURE / "cloudformation" / "codebuild.yaml"
MODULE = INFRASTRUCTURE / "terraform" / "codebuild"
ACCOUNT, REGION = "123456789012", "us-east-1"
PROJECT, REPOSITORY = "trainyard-image-builder", "trainyard/training"
ROLE, BUCKET, GROUP = f"{PROJECT}-{REGION}", f"trainyard-builds-{ACCOUNT}-{REGION}", f"/aws/codebuild/{PROJECT}"
Document = dict[str, Any]


def made(aws: Aws) -> Document:
    """As AWS has it."""
    role = aws.client("iam").get_role(RoleName=ROLE)["Role"]
    policy = aws.client("iam").get_role_policy(RoleName=ROLE, PolicyName="trainyard-build")["PolicyDocument"]
    project = aws.client("codebuild").batch_get_projects(names=[PROJECT])["projects"][0]
    group = aws.client("logs").describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]
    registry = aws.client("ecr")
    repository = registry.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
    lifecycle = registry.get_lifecycle_policy(repositoryName=REPOSITORY)["lifecyclePolicyText"]
    return {
        "role": {"name": role["RoleName"], "trust": role["AssumeRolePolicyDocument"], "policy": policy},
        "bucket": bucket_of(aws, BUCKET),
        "log": {"name": group["logGroupName"], "days": group["retentionInDays"]},
        "project": _project(project, role["RoleName"]),
        "repository": {
            "name": repository["repositoryName"],
            "mutability": repository["imageTagMutability"],
            "free": sorted(each["filter"] for each in repository["imageTagMutabilityExclusionFilters"]),
            "scan": repository["imageScanningConfiguration"]["scanOnPush"],
            "encryption": repository["encryptionConfiguration"]["encryptionType"],
            "lifecycle": json.loads(lifecycle),
        },
    }


def bucket_of(aws: Aws, name: str) -> Document:
    store = aws.client("s3")
    of = {"Bucket": name}
    rule, unfinished = sorted(store.get_bucket_lifecycle_configuration(**of)["Rules"], key=lambda rule: rule["ID"])
    encryption = store.get_bucket_encryption(**of)["ServerSideEncryptionConfiguration"]["Rules"][0]
    return {
        "name": name,
        "private": store.get_public_access_block(**of)["PublicAccessBlockConfiguration"],
        "encryption": encryption["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"],
        "versioning": store.get_bucket_versioning(**of)["Status"],
        "ownership": store.get_bucket_ownership_controls(**of)["OwnershipControls"]["Rules"][0]["ObjectOwnership"],
        "policy": json.loads(store.get_bucket_policy(**of)["Policy"]),
        "lifecycle": {
            "id": rule["ID"],
            "prefix": rule["Filter"]["Prefix"],
            "days": rule["Expiration"]["Days"],
            "old_days": rule["NoncurrentVersionExpiration"]["NoncurrentDays"],
            "abort_days": unfinished["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"],
        },
        "tags": {each["Key"]: each["Value"] for each in store.get_bucket_tagging(**of)["TagSet"]},
    }


def _project(project: Document, role: str) -> Document:
    environment = project["environment"]
    return {
        "name": project["name"],
        "role": role,
        "description": project["description"],
        "source": project["source"]["type"],
        "buildspec": project["source"]["buildspec"],
        "artifacts": project["artifacts"]["type"],
        "environment": {
            name: environment[name] for name in ("type", "image", "computeType", "imagePullCredentialsType", "privilegedMode")
        },
        "log": project["logsConfig"]["cloudWatchLogs"]["groupName"],
        "minutes": [project["timeoutInMinutes"], project["queuedTimeoutInMinutes"]],
        "tags": {each["key"]: each["value"] for each in project["tags"]},
    }


# --- CloudFormation ----------------------------------------------------------------------------------------------


class Loader(yaml.SafeLoader):
    """`!Sub x` -> {"!Sub": x}; no dates."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: {f"!{suffix}": _plain(loader, node)})


def _plain(loader: Any, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


def template() -> Document:
    loaded: Document = yaml.load(TEMPLATE.read_text(), Loader=Loader)  # noqa: S506  # a SafeLoader with tags as data
    return loaded


class Resolver:
    """The functions that the template uses, with its defaults for parameters."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.names = {name: each["Default"] for name, each in document["Parameters"].items()}
        self.names |= {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws"}

    def value(self, given: Any) -> Any:
        if isinstance(given, list):
            return [self.value(each) for each in given]
        if not isinstance(given, dict):
            return given
        (key, content), *more = given.items() or [("", None)]
        if more or not key.startswith("!"):
            return {name: self.value(each) for name, each in given.items()}
        return getattr(self, key[1:].lower())(content)

    def ref(self, name: str) -> Any:
        if name in self.names:
            return self.names[name]
        properties = self.document["Resources"][name]["Properties"]
        return self.value(next(properties[key] for key in ("BucketName", "LogGroupName", "Name") if key in properties))

    def sub(self, content: Any) -> str:
        text, own = content if isinstance(content, list) else (content, {})
        own = self.value(own)
        return re.sub(r"\$\{([\w:]+)\}", lambda found: str(own.get(found[1]) or self.ref(found[1])), text)

    def getatt(self, content: str) -> str:
        resource, attribute = content.split(".")
        assert attribute == "Arn"
        return f"arn:aws:iam::{ACCOUNT}:role/{self.value(self.document['Resources'][resource]['Properties']['RoleName'])}"

    def equals(self, content: list[Any]) -> bool:
        return bool(self.value(content[0]) == self.value(content[1]))

    # `!If`, `!Equals` as methods by their lower-case names.
    def __getattr__(self, name: str) -> Any:
        if name != "if":
            raise AttributeError(name)
        return lambda content: self.value(content[1] if self.value(self.document["Conditions"][content[0]]) else content[2])


def of_template() -> Document:
    document = template()
    resolve = Resolver(document).value
    made = {name: resolve(each["Properties"]) for name, each in document["Resources"].items()}
    role, bucket, project, repository = (made[name] for name in ("BuildRole", "SourceBucket", "Project", "Repository"))
    rule, unfinished = bucket["LifecycleConfiguration"]["Rules"]
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    filters = repository["ImageTagMutabilityExclusionFilters"]
    return {
        "role": {
            "name": role["RoleName"],
            "trust": role["AssumeRolePolicyDocument"],
            "policy": role["Policies"][0]["PolicyDocument"],
        },
        "bucket": {
            "name": bucket["BucketName"],
            "private": bucket["PublicAccessBlockConfiguration"],
            "encryption": encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"],
            "versioning": bucket["VersioningConfiguration"]["Status"],
            "ownership": bucket["OwnershipControls"]["Rules"][0]["ObjectOwnership"],
            "policy": made["SourceBucketPolicy"]["PolicyDocument"],
            "lifecycle": {
                "id": rule["Id"],
                "prefix": rule["Prefix"],
                "days": rule["ExpirationInDays"],
                "old_days": rule["NoncurrentVersionExpiration"]["NoncurrentDays"],
                "abort_days": unfinished["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"],
            },
            "tags": _tags(bucket),
        },
        "log": {"name": made["BuildLog"]["LogGroupName"], "days": made["BuildLog"]["RetentionInDays"]},
        "project": {
            "name": project["Name"],
            "role": project["ServiceRole"].rpartition("/")[2],
            "description": project["Description"],
            "source": project["Source"]["Type"],
            "buildspec": project["Source"]["BuildSpec"],
            "artifacts": project["Artifacts"]["Type"],
            "environment": {name[0].lower() + name[1:]: value for name, value in project["Environment"].items()},
            "log": project["LogsConfig"]["CloudWatchLogs"]["GroupName"],
            "minutes": [project["TimeoutInMinutes"], project["QueuedTimeoutInMinutes"]],
            "tags": _tags(project),
        },
        "repository": {
            "name": repository["RepositoryName"],
            "mutability": repository["ImageTagMutability"],
            "free": sorted(each["ImageTagMutabilityExclusionFilterValue"] for each in filters),
            "scan": repository["ImageScanningConfiguration"]["ScanOnPush"],
            "encryption": repository["EncryptionConfiguration"]["EncryptionType"],
            "lifecycle": json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"]),
        },
    }


def _tags(properties: Document) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in properties["Tags"]}


# --- Terraform ---------------------------------------------------------------------------------------------------

LOCALS = (
    "role",
    "role_trust",
    "role_policy",
    "bucket",
    "bucket_policy",
    "log_group",
    "buildspec",
    "tags",
    "ready",
    "repository_lifecycle",
)


def terraform_locals(folder: Path) -> Document:
    """The locals of names.tf as terraform evaluates them, for this account and region."""
    for name in ("variables.tf", "names.tf"):
        shutil.copy(MODULE / name, folder)
    here = {"account": ACCOUNT, "partition": "aws", "region": REGION}
    (folder / "account.tf").write_text(
        "locals {\n" + "".join(f'  {name} = "{value}"\n' for name, value in here.items()) + "}\n"
    )
    asked = "jsonencode({" + ", ".join(f"{name} = local.{name}" for name in LOCALS) + "})\n"
    done = subprocess.run(["terraform", "console"], cwd=folder, input=asked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: Document = json.loads(json.loads(done.stdout))
    return found


def terraform_resources() -> dict[str, Document]:
    """type -> the body of the only resource of that type, as HCL has it."""
    import hcl2

    found: dict[str, Document] = {}
    for path in sorted(MODULE.glob("*.tf")):
        with path.open() as file:
            for resource in hcl2.load(file).get("resource", []):
                for kind, bodies in resource.items():
                    (body,) = bodies.values()
                    found[_bare(kind)] = _clean(body)
    return found


def _bare(text: str) -> str:
    return text.strip('"')


def _clean(value: Any) -> Any:
    """Without the quotes, marks and comments that the parser leaves."""
    if isinstance(value, dict):
        return {_bare(key): _clean(each) for key, each in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return _bare(value).replace("\\n", "\n") if isinstance(value, str) else value


def of_module(folder: Path) -> Document:
    resources, known = terraform_resources(), terraform_locals(folder)
    project, repository = resources["aws_codebuild_project"], resources["aws_ecr_repository"]
    (environment,), (source,) = project["environment"], project["source"]
    rule, unfinished = resources["aws_s3_bucket_lifecycle_configuration"]["rule"]
    (encryption,) = resources["aws_s3_bucket_server_side_encryption_configuration"]["rule"]
    private = resources["aws_s3_bucket_public_access_block"]
    # What main.tf takes from names.tf is what was evaluated: these are the words that say so.
    assert resources["aws_iam_role"]["name"] == "${local.role}" and source["buildspec"] == "${local.buildspec}"
    assert resources["aws_iam_role"]["assume_role_policy"] == "${jsonencode(local.role_trust)}"
    assert resources["aws_iam_role_policy"]["policy"] == "${jsonencode(local.role_policy)}"
    assert resources["aws_s3_bucket_policy"]["policy"] == "${jsonencode(local.bucket_policy)}"
    assert resources["aws_s3_bucket"]["bucket"] == "${local.bucket}" and project["name"] == "${var.project}"
    assert resources["aws_s3_bucket"]["tags"] == "${merge(local.tags, local.ready)}" and project["tags"] == "${local.tags}"
    assert project["service_role"] == "${aws_iam_role.build.arn}" and repository["name"] == "${var.repository}"
    assert resources["aws_ecr_lifecycle_policy"]["policy"] == "${jsonencode(local.repository_lifecycle)}"
    assert resources["aws_cloudwatch_log_group"]["name"] == "${local.log_group}"
    (filters,) = repository["dynamic"]
    return {
        "role": {"name": known["role"], "trust": known["role_trust"], "policy": known["role_policy"]},
        "bucket": {
            "name": known["bucket"],
            "private": {
                "BlockPublicAcls": private["block_public_acls"],
                "IgnorePublicAcls": private["ignore_public_acls"],
                "BlockPublicPolicy": private["block_public_policy"],
                "RestrictPublicBuckets": private["restrict_public_buckets"],
            },
            "encryption": encryption["apply_server_side_encryption_by_default"][0]["sse_algorithm"],
            "versioning": resources["aws_s3_bucket_versioning"]["versioning_configuration"][0]["status"],
            "ownership": resources["aws_s3_bucket_ownership_controls"]["rule"][0]["object_ownership"],
            "policy": known["bucket_policy"],
            "lifecycle": {
                "id": rule["id"],
                "prefix": rule["filter"][0]["prefix"],
                "days": rule["expiration"][0]["days"],
                "old_days": rule["noncurrent_version_expiration"][0]["noncurrent_days"],
                "abort_days": unfinished["abort_incomplete_multipart_upload"][0]["days_after_initiation"],
            },
            "tags": known["tags"] | known["ready"],
        },
        "log": {"name": known["log_group"], "days": resources["aws_cloudwatch_log_group"]["retention_in_days"]},
        "project": {
            "name": PROJECT,
            "role": known["role"],
            "description": project["description"],
            "source": source["type"],
            "buildspec": known["buildspec"],
            "artifacts": project["artifacts"][0]["type"],
            "environment": {
                "type": environment["type"],
                "image": environment["image"],
                "computeType": environment["compute_type"],
                "imagePullCredentialsType": environment["image_pull_credentials_type"],
                "privilegedMode": environment["privileged_mode"],
            },
            "log": known["log_group"],
            "minutes": [project["build_timeout"], project["queued_timeout"]],
            "tags": known["tags"],
        },
        "repository": {
            "name": REPOSITORY,
            "mutability": repository["image_tag_mutability"],
            "free": sorted(next(iter(filters.values()))["for_each"]),
            "scan": repository["image_scanning_configuration"][0]["scan_on_push"],
            "encryption": repository["encryption_configuration"][0]["encryption_type"],
            "lifecycle": known["repository_lifecycle"],
        },
    }
