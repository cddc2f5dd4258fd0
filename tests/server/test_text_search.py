"""Search whatever the case and the accents."""

import pyarrow as pa
import pytest

from tfrs_twotower.server.text_search import fold, search

IDS = fold(pa.array(["7", "42", "427", "x"]))
TITLES = fold(pa.chunked_array([["The Amélie Story", "Story of ÉMILIE"], ["amelie", None]]))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("amelie", [2, 0]),  # the whole title comes first
        ("AMÉLIE", [2, 0]),
        ("story", [1, 0]),  # its beginning comes before its middle
        ("story  the", [0]),
        ("42", [1, 2]),
        ("42 story", [1]),  # one word in the id, the other in the title
        ("%", []),
        ("", [0, 1, 2, 3]),
    ],
)
def test_rows_that_contain_all_words_are_found_best_first(text, rows):
    found, number = search([IDS, TITLES], text, 10)
    assert (found.tolist(), number) == (rows, len(rows))


def test_no_more_rows_than_the_limit_are_returned_but_all_are_counted():
    assert [search([IDS, TITLES], text, 1)[1] for text in ("amelie", "")] == [2, 4]
    assert search([IDS, TITLES], "amelie", 1)[0].tolist() == [2]
