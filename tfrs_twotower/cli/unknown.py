"""Notes on ids and values of a query that a bundle does not have: they are no mistakes, but often misspelt."""

from __future__ import annotations

import collections
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrs_twotower.bundle.load import LoadedBundle

# Unknown ids and values that a note names, and known values that it offers.
_MAX_NAMED = 5
_MAX_NEAREST = 3
# As many values are all named where none is near.
_MAX_VALUES = 20


def note_on_query_id(loaded: LoadedBundle, given: Mapping[str, str]) -> str | None:
    """Says that the recommendations are not for the query that was named, since the bundle does not know it.

    Args:
        loaded: The bundle.
        given: Feature -> its text.
    """
    name = loaded.manifest.model.query.id
    query_id = given.get(name)
    if not query_id:
        return None
    others = _variants(query_id)
    try:
        is_known, *are_known = loaded.knows([query_id, *others]).tolist()
    except ValueError:  # it knows no query by its id, or cannot tell
        return None
    if is_known:
        return None
    meant = [other for other, is_other_known in zip(others, are_known, strict=True) if is_other_known]
    what = "only the other features count" if len(given) > 1 else "these are general recommendations"
    hint = f" It knows {meant[0]!r}." if meant else ""
    return f"The bundle does not know {name} {query_id!r}: {what}.{hint}"


def note_on_candidates(loaded: LoadedBundle, name: str, ids: Sequence[str]) -> str | None:
    """Says which ids of candidates the bundle does not know.

    Args:
        loaded: The bundle.
        name: What the note calls them, such as the name of a history.
        ids: The ids.
    """
    given = [candidate_id for candidate_id in dict.fromkeys(ids) if candidate_id]
    if not given:
        return None
    known = _known_candidates(loaded)
    unknown = [candidate_id for candidate_id in given if candidate_id not in known]
    if not unknown:
        return None
    meant = [other for candidate_id in unknown for other in _variants(candidate_id) if other in known]
    hint = f" It knows {_listed(meant)}." if meant else ""
    count = f"{len(unknown)} of the {len(given)} ids" if len(given) > 1 else "the id"
    return f"The bundle does not know {count} in `{name}`: {_listed(unknown)}.{hint}"


def note_on_filter(loaded: LoadedBundle, name: str, values: Sequence[str]) -> str | None:
    """Says which values of a filter no candidate has, and which values are near them.

    Args:
        loaded: The bundle, which filters by this column.
        name: The column.
        values: The values.
    """
    from tfrs_twotower.index.filters import filter_values

    counts = collections.Counter(value for row in filter_values(loaded.candidates, name) for value in row)
    unknown = [value for value in dict.fromkeys(values) if value not in counts]
    if not unknown:
        return None
    return f"No candidate has `{name}` {_listed(unknown, ' or ')}. {_nearest(unknown, counts)}"


def _nearest(unknown: Sequence[str], counts: collections.Counter[str]) -> str:
    """Names known values: the nearest ones, or else the most frequent ones."""
    known = [value for value, _ in counts.most_common()]
    value_of = {value.casefold(): value for value in reversed(known)}
    near = [
        value_of[folded]
        for value in unknown
        for folded in difflib.get_close_matches(value.casefold(), value_of, n=_MAX_NEAREST)
    ]
    if near:
        return f"The nearest: {_listed(near)}."
    if not known:
        return "No candidate has a value."
    if len(known) <= _MAX_VALUES:
        return f"Its values: {', '.join(map(repr, known))}."
    return f"It has {len(known):,} values, such as {_listed(known[:_MAX_NEAREST])}."


def _known_candidates(loaded: LoadedBundle) -> set[str]:
    """Returns the ids of the catalogue, and of candidates that the model was exported with."""
    ids = set(loaded.candidates[loaded.manifest.model.candidate.id].to_pylist())
    remembered: Any = getattr(getattr(loaded.module, "query_side", None), "candidate_ids", None)
    if remembered is not None:  # it is None in bundles of older versions
        ids.update(candidate_id.decode() for candidate_id in remembered.numpy())
    return ids


def _variants(text: str) -> list[str]:
    """Returns other ways to write an id, of which one may be meant."""
    stripped = text.strip()
    others = (stripped, text.lower(), text.upper(), stripped.lstrip("0"))
    return [other for other in dict.fromkeys(others) if other not in ("", text)]


def _listed(values: Iterable[str], last: str = ", ") -> str:
    named = list(map(repr, dict.fromkeys(values)))
    if len(named) > _MAX_NAMED:
        return f"{', '.join(named[:_MAX_NAMED])} and {len(named) - _MAX_NAMED:,} more"
    return ", ".join(named) if len(named) < 2 else f"{', '.join(named[:-1])}{last}{named[-1]}"
