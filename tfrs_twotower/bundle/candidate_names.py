"""The names that people know candidates by: which column of a catalogue holds them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import name_column

# Names differ from row to row, but some candidates share one, such as two films with one title.
_MIN_SHARE_OF_VALUES = 0.5
# Among the columns that tell candidates apart about as well as the best one, the name is the shortest text, and a
# description is longer.
_NEARLY = 0.9
# Rows by which a column is judged.
_MAX_ROWS = 10_000
_MIN_WORDS = 1.5
# What single words of a language do not have, in contrast to codes, addresses and paths.
_WORD = r"^[^\p{N}/:@_|=]+$"
_MIN_SHARE_OF_WORDS = 0.9


def choose_name_column(candidates: pa.Table, id_column: str, given: str | None = None) -> str | None:
    """Chooses the column that holds the names of candidates.

    It is the given one, or `title`, `name`, or one that ends with `_title` or `_name`; or else the free text that tells
    the candidates apart: one in which at least half of the rows have a value of their own, which consists of words. Of
    several such texts it is the shortest.

    Args:
        candidates: The catalogue.
        id_column: Its ids, which are no names.
        given: The column that people chose; None if they did not, and passed over if this catalogue does not have it.

    Returns:
        The column; None if there are no names.

    Example:
        >>> shop = pa.table({
        ...     "Artikel": ["A1", "A2"], "Bezeichnung": ["Rote Socken", "Blaue Mütze"], "EAN": ["40063", "40064"],
        ...     "Beschreibung": ["Socken aus reiner Wolle, in Rot", "Eine Mütze für kalte Tage, in Blau"],
        ... })
        >>> choose_name_column(shop, "Artikel")
        'Bezeichnung'
    """
    if given is not None and given in candidates.column_names:
        return given
    others = candidates.drop_columns([id_column])
    return name_column(others) or _free_text(others)


def _free_text(table: pa.Table) -> str | None:
    """Returns the shortest of the texts that tell rows apart; None if there is none."""
    counts: dict[str, int] = {}
    ranks: dict[str, tuple[bool, float]] = {}
    for field in table.schema:
        if not pa.types.is_string(field.type):
            continue
        column = table[field.name]
        values = column.filter(pc.fill_null(pc.not_equal(column, ""), False))
        count = pc.count_distinct(values).as_py()
        rank = _rank(values.slice(0, _MAX_ROWS))
        if count and count >= _MIN_SHARE_OF_VALUES * table.num_rows and rank is not None:
            counts[field.name], ranks[field.name] = count, rank
    most = max(counts.values(), default=0)
    return min((name for name in counts if counts[name] >= _NEARLY * most), key=lambda name: ranks[name], default=None)


def _rank(texts: pa.ChunkedArray) -> tuple[bool, float] | None:
    """Ranks texts as names, the lowest first: several words before single ones, and short texts before long ones.

    Returns:
        (are_single_words, mean_length); None if they do not consist of words.
    """
    if not len(texts):
        return None
    if _total(texts, r"\p{L}") <= _total(texts, r"\p{N}"):
        return None
    are_single_words = pc.mean(pc.list_value_length(pc.utf8_split_whitespace(texts))).as_py() < _MIN_WORDS
    if are_single_words and pc.mean(pc.match_substring_regex(texts, _WORD)).as_py() < _MIN_SHARE_OF_WORDS:
        return None
    return are_single_words, pc.mean(pc.utf8_length(texts)).as_py()


def _total(texts: pa.ChunkedArray, pattern: str) -> int:
    total: int = pc.sum(pc.count_substring_regex(texts, pattern)).as_py()
    return total
