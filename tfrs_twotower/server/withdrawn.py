"""Candidates that a model leaves out at once, before a version without them is published: ids in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfrs_twotower.data.input_names import CANDIDATE_INPUT, EXCLUDE_INPUT
from tfrs_twotower.index.ordering import NO_SCORE

if TYPE_CHECKING:
    from tfrs_twotower.server.joined_calls import JoinedCall, Outputs, Received

#: Lies beside the versions of a model.
WITHDRAWN_FILE = "withdrawn.txt"
# Signatures that recommend -> those that do the same and take ids to exclude.
_EXCLUDING = {
    "serving_default": "recommend_excluding",
    "recommend": "recommend_excluding",
    "recommend_excluding": "recommend_excluding",
    "recommend_filtered": "recommend_filtered",
}


class Withdrawn:
    """The ids in a file, which is read again whenever it has changed.

    Args:
        path: A text in UTF-8 with one id in a line. No file is no id.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int, int] | None = None
        self._ids: list[bytes] = []

    def ids(self) -> list[bytes]:
        """Returns the ids, each once. If the file cannot be read, they are what they were."""
        try:
            status = self._path.stat()
            identity = status.st_ino, status.st_mtime_ns, status.st_size
            if identity != self._identity:
                lines = self._path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
                self._ids, self._identity = list(dict.fromkeys(filter(None, lines))), identity
        except FileNotFoundError:
            self._ids, self._identity = [], None
        except OSError:
            pass
        return self._ids


def leave_out(calls: Mapping[str, JoinedCall], withdrawn: Withdrawn) -> dict[str, JoinedCall]:
    """Makes calls of signatures leave out withdrawn candidates.

    Recommendations exclude them, and all slots are full as long as other candidates are left. Among similar candidates
    they leave empty slots at the end. They are scored, and looked up, like ids that the catalogue does not have.

    Args:
        calls: Signature -> what computes it.
        withdrawn: The ids.
    """
    return {name: _leave_out(name, calls, withdrawn) for name in calls}


def _leave_out(name: str, calls: Mapping[str, JoinedCall], withdrawn: Withdrawn) -> JoinedCall:
    def recommend(num_rows: Sequence[int], received: Mapping[str, Received]) -> Outputs:
        if not (ids := withdrawn.ids()):
            return calls[name](num_rows, received)
        exclude = _with_ids(received.get(EXCLUDE_INPUT), num_rows, ids)
        return calls[_EXCLUDING[name]](num_rows, {**received, EXCLUDE_INPUT: exclude})

    def score(num_rows: Sequence[int], received: Mapping[str, Received]) -> Outputs:
        if not (ids := set(withdrawn.ids())):
            return calls[name](num_rows, received)
        given = received[CANDIDATE_INPUT]
        known = given._replace(values=[b"" if _as_bytes(value) in ids else value for value in given.values])
        return _without(calls[name](num_rows, {**received, CANDIDATE_INPUT: known}), ids)

    return recommend if name in _EXCLUDING else score if name in ("similar", "score") else calls[name]


def _with_ids(given: Received | None, num_rows: Sequence[int], ids: list[bytes]) -> Received:
    """Adds ids to the lists of a string input, which may not have been given at all."""
    from tfrs_twotower.server.joined_calls import Received

    if given is None:
        return Received([len(ids)] * len(num_rows), ids * sum(num_rows))
    values, start = [], 0
    for rows, width in zip(num_rows, given.widths, strict=True):
        for _ in range(rows):
            values += [*given.values[start : start + width], *ids]
            start += width
    return Received([width + len(ids) for width in given.widths], values)


def _without(outputs: Outputs, ids: set[bytes]) -> Outputs:
    """Makes empty slots of ids among `candidate_ids`, if there is such an output, and moves them to the end."""
    if "candidate_ids" not in outputs:
        return outputs
    found, scores = outputs["candidate_ids"], outputs["scores"]
    is_withdrawn = np.array([[name in ids for name in row] for row in found], bool).reshape(found.shape)
    order = np.argsort(is_withdrawn, axis=1, kind="stable")
    return {
        **outputs,
        "candidate_ids": np.take_along_axis(np.where(is_withdrawn, b"", found), order, axis=1),
        "scores": np.take_along_axis(np.where(is_withdrawn, np.float32(NO_SCORE), scores), order, axis=1),
    }


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
