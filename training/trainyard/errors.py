"""Everything the runtime raises on purpose.

TrainyardError
|- ConfigError        a setting has no meaning (also a ValueError)
|- FolderError        the checkpoint folder cannot be used (not writable, belongs to another run)
|- MismatchError      the checkpoint is of another model, optimizer or data set
|- RestoreError       the checkpoint asked for is missing or damaged
|- DamagedError       a checkpoint, or a file of one, is not what its manifest says (its kinds: checkpoint_bytes.py)
|- SaveError          a snapshot that had to be durable is not
|- DisagreementError  the ranks did not make the same call
`- PeerLostError      another rank is gone or does not answer
"""

from __future__ import annotations


class TrainyardError(Exception):
    """Base of all; the text says what happened, where, and what to do next."""


class ConfigError(TrainyardError, ValueError):
    pass


class FolderError(TrainyardError):
    pass


class MismatchError(TrainyardError):
    pass


class RestoreError(TrainyardError):
    pass


class DamagedError(TrainyardError):
    """The text says which file and how. A file that cannot be read is no damage: that is an OSError."""


class SaveError(TrainyardError):
    pass


class DisagreementError(TrainyardError):
    pass


class PeerLostError(TrainyardError):
    pass
