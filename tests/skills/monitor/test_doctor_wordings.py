"""One cause in the words of many libraries: the system's errors as Python, Rust, C++, Node and a shell print them, and whole families of exceptions."""

from __future__ import annotations

import pytest
from test_doctor_rules import WITH_PATTERNS, fits

FORMS = (
    "OSError: [Errno {number}] {text}: '/mnt/data/shard-3.bin'",
    "Exception: {text} (os error {number})",
    "RuntimeError: failed to write /mnt/data/shard-3.bin: {text}",
    "terminate called after throwing an instance of std::filesystem: filesystem error: cannot open: {text}",
    "cp: error: /mnt/data/shard-3.bin: {text}",
    "Error: {name}: cannot write '/mnt/data/shard-3.bin'",
    "RuntimeError: write of shard-3 failed, errno: {number}",
)
ERRNO = {
    "storage-unreachable": [
        (5, "EIO", "Input/output error"),
        (112, "EHOSTDOWN", "Host is down"),
        (116, "ESTALE", "Stale file handle"),
        (117, "EUCLEAN", "Structure needs cleaning"),
        (121, "EREMOTEIO", "Remote I/O error"),
    ],
    "disk-full": [(28, "ENOSPC", "No space left on device"), (122, "EDQUOT", "Disk quota exceeded")],
    "file-permission": [(13, "EACCES", "Permission denied"), (30, "EROFS", "Read-only file system")],
    "file-missing": [(2, "ENOENT", "No such file or directory")],
    "network-lost": [(110, "ETIMEDOUT", "Connection timed out"), (113, "EHOSTUNREACH", "No route to host")],
    "host-oom": [(12, "ENOMEM", "Cannot allocate memory")],
}
NOT_BY_NUMBER = {12, 110, 113}
"""Of these the bare number is too little: other programs' tables have it too."""
NOT_BY_TEXT = {2, 12}
"""A shell says these of a command and of a fork."""
EXCEPTIONS = {
    "token-expired": [
        "google.auth.exceptions.DefaultCredentialsError: Your default credentials were not found.",
        "azure.core.exceptions.ClientAuthenticationError: DefaultAzureCredential failed to retrieve a token",
        "wandb.errors.UsageError: api_key not configured (no-tty). call wandb.login(key=[your_api_key])",
    ],
    "file-permission": ["google.api_core.exceptions.Forbidden: 403 GET https://storage.example.org/b: no storage.objects.get"],
    "file-missing": [
        "google.api_core.exceptions.NotFound: 404 GET https://storage.example.org/b",
        "azure.core.exceptions.ResourceNotFoundError: The specified blob does not exist.",
        "lmdb.Error: /data/train.lmdb: No such file or directory",
    ],
    "download-failed": [
        "google.api_core.exceptions.ServiceUnavailable: 503 backend",
        "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate",
        "wandb.errors.errors.CommError: Run initialization has timed out after 90.0 sec.",
    ],
    "bad-option": [
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for Config",
        "yaml.scanner.ScannerError: mapping values are not allowed here",
    ],
    "bad-batch": [
        "zlib.error: Error -3 while decompressing data: invalid block type",
        "pyarrow.lib.ArrowInvalid: JSON parse error: Missing a name for object member. in row 12",
        "OSError: Unable to synchronously open file (truncated file: eof = 96, stored_eof = 2048)",
        "tensorflow.python.framework.errors_impl.DataLossError: corrupted record at 1234",
    ],
    "module-missing": [
        "OSError: libnccl.so.2: cannot open shared object file: No such file or directory",
        "RuntimeError: Ninja is required to load C++ extensions",
    ],
    "gpu-lost": [
        "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment",
    ],
    "gpu-oom": ["RuntimeError: HIP error: out of memory", "RuntimeError: NPU out of memory. Tried to allocate 2 GiB"],
    "checkpoint-mismatch": [
        "ZeRORuntimeException: The checkpoint being loaded used a DP world size of 8 but the current is 4."
    ],
    "segfault": ["*** stack smashing detected ***: terminated", "Illegal instruction (core dumped)"],
    "killed": ["ray.exceptions.OwnerDiedError: Failed to retrieve object"],
}
HANDLED = (
    "WARNING: failed to write the kernel cache: Permission denied, compiled anew",
    "could not open /root/.cache/triton: Read-only file system, falling back to /tmp",
    "read of shard-3 failed: Input/output error, retry 1 of 5",
    "warning: cannot lock /mnt/x: Cannot allocate memory, going on without",
    "connect to the metrics host failed: Connection timed out, ignored",
    "WARNING: madvise: EPERM, huge pages are off",
    "stat of the old cache gave EIO, skipped",
    "probe ended with errno 5, retrying",
    "no index yet (ENOENT), a new one is built instead",
    "node:internal errno 0, 12 files, 28 shards",
    "0 errors of the device, 2 of the disk",
)


A_SCRIPTS_OWN = (
    "RuntimeError: CUDA error: initialization error",
    "torch.cuda.DeferredCudaCallError: CUDA call failed lazily with error: device >= 0 && device < num_gpus",
)
"""CUDA used before a fork, or CUDA_VISIBLE_DEVICES changed after the start: no node is replaced for these."""


def causes(line: str) -> list[str]:
    """What the rules for logs that can be a root say of this line, the deepest first."""
    rows = [row for row in WITH_PATTERNS if row.get("role", "root") == "root" and fits(row, line)]
    rows = [row for row in rows if "log" in row.get("where", ["log"])]
    return [str(row["cause"]) for row in sorted(rows, key=lambda row: -int(row.get("depth", 50)))]


def wordings() -> list[tuple[str, str]]:
    found = []
    for cause, errors in ERRNO.items():
        for number, name, text in errors:
            for form in FORMS:
                if (number in NOT_BY_NUMBER and form == FORMS[-1]) or (number in NOT_BY_TEXT and form == FORMS[4]):
                    continue
                found.append((cause, form.format(number=number, name=name, text=text)))
    return found + [(cause, line) for cause, lines in EXCEPTIONS.items() for line in lines]


@pytest.mark.parametrize(("cause", "line"), wordings(), ids=lambda each: each[:60])
def test_a_wording_has_its_cause(cause: str, line: str) -> None:
    assert causes(line)[:1] == [cause], causes(line)


@pytest.mark.parametrize("line", HANDLED)
def test_what_is_handled_is_no_cause(line: str) -> None:
    assert causes(line) == []


@pytest.mark.parametrize("line", A_SCRIPTS_OWN)
def test_no_hardware_is_blamed_for_a_scripts_use_of_cuda(line: str) -> None:
    assert not any(cause.startswith("gpu") for cause in causes(line)), causes(line)
