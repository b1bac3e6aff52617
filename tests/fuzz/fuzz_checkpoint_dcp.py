""".metadata of torch.distributed.checkpoint: a pickle of where the blocks lie, beside a data file with one archive."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.checkpoint_files import NAMES, TENSOR, text, torch_zip
from tests.fuzz.checkpoint_verbs import Verbs
from tests.fuzz.pickle_changes import mutate_pickle

COVERED = ["checkpoint_formats.dcp_folder", "checkpoint_formats.folder_kinds", "torch_reading"]
DCP = "torch.distributed.checkpoint"
DATA = torch_zip(b"\x80\x02" + TENSOR + b".")
SIZE = b"(K\x02K\x02t"


def made(module: str, name: str, state: bytes) -> bytes:
    """An object of DCP's, as it pickles them: made by its class, then given its state."""
    return f"c{module}\n{name}\n".encode() + b")\x81}(" + state + b"ub"


CHUNK = made(f"{DCP}.metadata", "ChunkStorageMetadata", text("offsets") + b"(K\x00K\x00t" + text("sizes") + SIZE)
PROPERTIES = made(f"{DCP}.metadata", "TensorProperties", text("dtype") + b"ctorch\nfloat32\n")
ENTRY = made(
    f"{DCP}.metadata",
    "TensorStorageMetadata",
    text("properties") + PROPERTIES + text("size") + SIZE + text("chunks") + b"](" + CHUNK + b"e",
)
INDEX = made(f"{DCP}.metadata", "MetadataIndex", text("fqn") + text("w") + text("offset") + b"(K\x00K\x00t")
INFO = made(
    f"{DCP}.filesystem",
    "_StorageInfo",
    text("relative_path")
    + text("__0_0.distcp")
    + text("offset")
    + b"K\x00"
    + text("length")
    + b"M"
    + len(DATA).to_bytes(2, "little"),
)
SEEDS = [
    b"\x80\x02"
    + made(
        f"{DCP}.metadata",
        "Metadata",
        text("state_dict_metadata") + b"}(" + text("w") + ENTRY + b"u" + text("storage_data") + b"}(" + INDEX + INFO + b"u",
    )
    + b"."
]
WORDS = [*NAMES, text("fqn"), text("offset"), text("chunks"), text("../x")]
mutate = mutate_pickle


def target() -> Callable[[bytes], None]:
    folder = Path(tempfile.mkdtemp(prefix="trainyard-fuzz-")) / "step"
    folder.mkdir()
    (folder / "__0_0.distcp").write_bytes(DATA)
    verbs = Verbs(folder)

    def read(data: bytes) -> None:
        (folder / ".metadata").write_bytes(data)
        for verb in ("inspect", "verify", "tensors", "convert"):
            verbs.ask(verb)

    return read
