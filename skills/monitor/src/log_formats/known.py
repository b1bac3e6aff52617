"""The log formats that are recognised: a new one is a file beside this one, and its class in FORMATS."""

from __future__ import annotations

from log_formats.base import Format
from log_formats.composer import Composer
from log_formats.huggingface import HuggingFace
from log_formats.key_value import KeyValue
from log_formats.lightning import Lightning
from log_formats.llmc import Llmc
from log_formats.torchtitan import Torchtitan
from log_formats.torchtune import Torchtune
from log_formats.trainer_state import TrainerState
from log_formats.trainyard import Trainyard
from log_formats.verl import Verl

FORMATS: dict[str, type[Format]] = {
    one.name: one
    for one in (Trainyard, Torchtitan, Torchtune, Verl, TrainerState, HuggingFace, Composer, Lightning, Llmc, KeyValue)
}
"""In the order in which a line is offered to them: those that take few lines first, KeyValue last."""
CHOICES = ("auto", Trainyard.name, *sorted(set(FORMATS) - {Trainyard.name, KeyValue.name}), KeyValue.name)
"""As `--log-format` lists them."""
