import pytest

from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.input_names import require_free_inputs, require_input_name


@pytest.mark.parametrize("name", ["user id", "_id", "âge", "", "1st", "a-b"])
def test_a_name_that_tensorflow_would_change_is_refused(name):
    with pytest.raises(ValueError, match=f"`name` must be a letter, then letters, digits and underscores.*{name!r}"):
        Categorical(name=name)
    with pytest.raises(ValueError, match="`name` must be a letter"):
        require_input_name(name)


@pytest.mark.parametrize("name", ["self", "class", "None"])
def test_a_name_that_cannot_be_a_keyword_argument_is_refused(name):
    with pytest.raises(ValueError, match=f"`name` must not be a Python keyword or `self`: {name!r}"):
        Categorical(name=name)


@pytest.mark.parametrize("name", ["a", "user_id", "Age2"])
def test_a_plain_name_is_accepted(name):
    assert Categorical(name=name).name == name


@pytest.mark.parametrize("name", ["candidate_id", "exclude_ids", "filter_genres"])
def test_a_name_that_signatures_use_is_refused(name):
    with pytest.raises(ValueError, match=f"No query feature may be called {name!r}"):
        require_free_inputs(["user_id", name])
    require_free_inputs(["user_id", f"my_{name}"])
