"""What every section of a job file is made of.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Number = Annotated[int, Meta(ge=0)]


class Section(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Unknown keys are errors everywhere."""
