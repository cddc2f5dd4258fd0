"""Id columns are found by their names, and only where there is no doubt."""

import re

import pytest

from tfrs_twotower.experiment.id_columns import find_candidate_id, find_query_id


@pytest.mark.parametrize("column", ["user_id", "userId", "userid", "USERID", "User ID", "customer-id", "VisitorID"])
def test_a_query_id_is_found_in_any_spelling(column):
    assert find_query_id(["rating", column, "item_id", "user", "user_age"]) == column


@pytest.mark.parametrize("column", ["item_id", "movieId", "product id", "sku", "ISBN", "articleID", "song_id"])
def test_a_candidate_id_is_found_in_any_spelling(column):
    assert find_candidate_id(["rating", "user_id", column, "item_name", "sku_color"]) == column


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ["who", "what"],
            "`data.query_id` must name the column that says who rates, buys or clicks. None has a name that tells. "
            "Columns: who, what.",
        ),
        (
            ["user_id", "session_id", "x"],
            "`data.query_id` must name the column that says who rates, buys or clicks. These may: user_id, "
            "session_id. Columns: user_id, session_id, x.",
        ),
    ],
)
def test_doubt_is_an_error_that_lists_the_columns(columns, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        find_query_id(columns)


def test_a_missing_candidate_id_is_an_error_of_its_own():
    with pytest.raises(ValueError, match="^`data.candidate_id` must name the column that says what is rated, bought"):
        find_candidate_id(["user_id", "title"])
