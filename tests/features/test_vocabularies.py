import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.cases import learn
from tfrs_twotower.features.bucketized import Boundaries
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.numeric import Moments, Numeric
from tfrs_twotower.features.timestamp import TimeSpan
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary

EVERYTHING = Vocabularies(
    {
        "id": Vocabulary(("é", "b\n"), (3, 1)),
        "words": Vocabulary(("w",)),
        "price": Moments(0.1, 2.5),
        "size": Boundaries((1.5, 2.5)),
        "when": TimeSpan(0.0, 90_000.5),
    }
)


def test_vocabularies_are_saved_and_loaded(tmp_path):
    EVERYTHING.save(tmp_path / "learnt.json")
    assert Vocabularies.load(tmp_path / "learnt.json") == EVERYTHING


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        '{"id": 3}',
        '{"id": {"kind": "Moments"}}',
        json.dumps({"id": {**Vocabularies({"id": Moments(1.0, 2.0)}).to_config()["id"], "config": {}}}),
        json.dumps(
            {"id": {"module": "tests", "class_name": "Guess", "registered_name": "tests>Guess", "config": {}}},
        ),
    ],
)
def test_a_file_that_does_not_hold_vocabularies_is_named(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ValueError, match="other.json does not hold vocabularies"):
        Vocabularies.load(tmp_path / "other.json")


def test_vocabularies_are_shown_in_a_line_each():
    vocabularies = Vocabularies({**EVERYTHING, "many": Vocabulary(tuple("abcdefg"))})
    assert str(vocabularies).splitlines() == [
        "id: 2 values: é (3), b",
        " (1)",
        "words: 1 values: w",
        "price: mean 0.1, standard deviation 2.5",
        "size: 3 buckets: 1.5, 2.5",
        "when: 1970-01-01T00:00:00 to 1970-01-02T01:00:00",
        "many: 7 values: a, b, c, d, e, ...",
    ]


def test_expanding_keeps_every_place_and_every_statistic():
    older = learn(Categorical(name="id"), Numeric(name="price"), counts=(2, 1, 0, 0))
    newer = learn(Categorical(name="id"), Numeric(name="price"), counts=(0, 7, 1, 9))
    expanded = older.expand(newer)
    assert expanded["id"] == Vocabulary(("a", "b", "d", "c"), (2, 7, 9, 1))
    assert expanded["price"] == older["price"]


@given(st.lists(st.text(min_size=1), unique=True), st.lists(st.text(min_size=1), unique=True))
def test_expanding_appends_new_values(older, newer):
    expanded = Vocabularies({"id": Vocabulary(older)}).expand(Vocabularies({"id": Vocabulary(newer)}))
    assert list(expanded.values_of("id")) == [*older, *(value for value in newer if value not in older)]


def test_an_expanded_vocabulary_starts_with_the_one_before():
    older, newer = Vocabulary(("a", "b")), Vocabulary(("c", "a"))
    assert older.is_start_of(older.expand(newer))
    assert not older.is_start_of(newer)
    assert not older.is_start_of(None)
    assert Moments(1.0, 2.0).is_start_of(Moments(1.0, 2.0))
    assert not Moments(1.0, 2.0).is_start_of(Moments(1.0, 3.0))


@pytest.mark.parametrize(
    ("values", "counts", "message"),
    [
        (("a", "a"), (), "`values` must be unique"),
        (("",), (), '`values` must be unique and not ""'),
        (("a",), (1, 2), "`counts` must have one number for each value. Received: 2 numbers for 1 values"),
    ],
)
def test_a_vocabulary_must_have_each_value_once_and_no_missing_one(values, counts, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(values, counts)


def test_a_string_is_not_a_sequence_of_values():
    with pytest.raises(TypeError, match="`values` must be a sequence of strings. Received one: 'abc'"):
        Vocabulary("abc")
