"""A catalogue changes in some places; the rows of what stays are known."""

import pyarrow as pa
import pytest

from tfrs_twotower.publishing.catalogue_change import change_catalogue

SHOP = pa.table({"sku": ["a", "b", "c", "d"], "price": [1.0, 2.0, 3.0, 4.0], "kinds": [["x"], [], None, ["x", "y"]]})


def items(**columns):
    return pa.table({"sku": ["e", "b"], "price": [5.0, 2.5], "kinds": [["z"], ["y"]], **columns})


def test_candidates_are_added_replaced_and_removed_and_the_others_keep_their_order():
    changed = change_catalogue(SHOP, "sku", add=items(), remove=["c", "a", "c"])
    assert changed.table.to_pylist() == [
        {"sku": "b", "price": 2.5, "kinds": ["y"]},
        {"sku": "d", "price": 4.0, "kinds": ["x", "y"]},
        {"sku": "e", "price": 5.0, "kinds": ["z"]},
    ]
    assert changed.earlier_rows.tolist() == [-1, 3, -1]
    assert changed.table.schema == SHOP.schema


def test_a_change_may_only_add_or_only_remove():
    assert change_catalogue(SHOP, "sku", add=items(), remove=()).earlier_rows.tolist() == [0, -1, 2, 3, -1]
    assert change_catalogue(SHOP, "sku", add=None, remove=["d"]).earlier_rows.tolist() == [0, 1, 2]


def test_a_further_column_is_missing_for_the_candidates_that_stay():
    changed = change_catalogue(SHOP, "sku", add=items(maker=["m", "n"]), remove=["a"])
    assert changed.table["maker"].to_pylist() == ["n", None, None, "m"]


def test_columns_get_the_types_of_the_catalogue():
    changed = change_catalogue(SHOP, "sku", add=items(price=[5, 2], kinds=[[], None]), remove=())
    assert changed.table["price"].to_pylist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_unknown_ids_to_remove_are_named():
    with pytest.warns(UserWarning, match="does not have 2 of the 3 ids to remove: 'A', 'z'"):
        changed = change_catalogue(SHOP, "sku", add=None, remove=["A", "a", "z"])
    assert changed.table["sku"].to_pylist() == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("add", "remove", "error", "message"),
    [
        (None, ["a", "b", "c", "d"], ValueError, "`remove` must leave at least one candidate. Received all 4 ids"),
        (None, [], ValueError, "must change something. Received no candidate to add, and to remove none"),
        (None, ["z"], ValueError, "to remove only ids that the catalogue does not have: 'z'"),
        (items().slice(0, 0), [], ValueError, "must change something"),
        (items(), ["b"], ValueError, r"`add` and `remove` must have no id in common. Received in both: \['b'\]"),
        (items(sku=["e", "e"]), [], ValueError, r"`add.sku` must identify a row. Received 1 repeated ids"),
        (items(sku=[1, 2]), [], TypeError, "`add.sku` must hold strings. Received: int64"),
        (items().drop_columns(["price"]), [], ValueError, "`add`, which needs all columns .* has no column price"),
        (items(price=["5", "2"]), [], ValueError, "`add.price` must hold double, as .* does. Received: string"),
        (items(kinds=["z", "y"]), [], ValueError, "`add.kinds` must hold list<.*string>, as .* Received: string"),
        (None, "abc", TypeError, "`remove` must be a sequence of ids. Received one text: 'abc'"),
        (None, ["a", 7], TypeError, r"`remove` must hold strings. Received in place 1: 7 \(int\)"),
    ],
)
def test_an_impossible_change_is_refused(add, remove, error, message):
    with pytest.raises(error, match=message):
        change_catalogue(SHOP, "sku", add=add, remove=remove)
