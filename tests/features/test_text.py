import pytest
import tensorflow as tf

from tests.features.cases import learn
from tfrs_twotower.features.text import Text, WordLookup
from tfrs_twotower.features.vocabularies import Vocabulary


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="`pooling` of 'a' must be one of sum, mean, sqrtn. Received: None"):
        Text(name="a", pooling=None)


def test_words_are_looked_up_whatever_their_case_and_punctuation():
    lookup = WordLookup(vocabulary=["été", "toy", "1995"])
    codes = lookup(tf.constant(["TOY (1995)", "L'ÉTÉ!", " ", ""])).numpy()
    assert codes.tolist() == [[3, 4], [1, 2], [0, 0], [0, 0]]


def test_only_the_first_words_count_up_to_the_maximum():
    lookup = WordLookup(vocabulary=["a", "b", "c"], max_words=2)
    assert lookup(tf.constant(["c, b, a", "a"])).numpy().tolist() == [[4, 3], [2, 0]]


def test_a_word_counts_as_often_as_it_occurs():
    # "red" occurs twice in row 0, which has 2 events: 4; "dog" 2 + 1; "fox" 2; "the" 1.
    learnt = learn(Text(name="title"), counts=(2, 1, 1, 1))
    assert learnt["title"] == Vocabulary(("red", "dog", "fox", "the"), (4, 3, 2, 1))


def test_words_beyond_the_maximum_are_not_learnt():
    learnt = learn(Text(name="title", max_words=1), counts=(2, 1, 1, 1))
    assert learnt["title"] == Vocabulary(("red", "the"), (2, 1))
