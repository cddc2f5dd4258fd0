"""What the server notes about a request, for its log and its metrics."""

from __future__ import annotations

import dataclasses

from tfrs_twotower.server.metrics import NONE


@dataclasses.dataclass(kw_only=True)
class Noted:
    """What a request turned out to be about, filled in while it is answered: only names that exist.

    Attributes:
        model: Name of the model.
        version: Number of the version.
        signature: Name of the signature.
        num_rows: Rows of the request.
    """

    model: str = NONE
    version: int | None = None
    signature: str = NONE
    num_rows: int | None = None

    def to_dict(self) -> dict[str, str | int | None]:
        """Returns the fields by name, for the log."""
        return dataclasses.asdict(self)
