import dataclasses

import pytest

import tfrs_twotower as tt


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tt.Categorical(name="user id"), "`name` must be an identifier.*'user id'"),
        (lambda: tt.Categorical(name="a", embedding_dim=0), "`embedding_dim` of 'a' must be at least 1"),
        (lambda: tt.MultiCategorical(name="a", min_count=0), "`min_count` of 'a' must be at least 1"),
        (lambda: tt.Bucketized(name="a", boundaries=()), "`boundaries` of 'a' must be finite, ascending"),
        (lambda: tt.Bucketized(name="a", boundaries=(2, 1)), "`boundaries` of 'a' must be finite, ascending"),
        (lambda: tt.Bucketized(name="a", boundaries=(1, float("inf"))), "`boundaries` of 'a' must be finite"),
    ],
)
def test_a_bad_declaration_is_refused_when_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="embeding_dim"):
        tt.Categorical(name="a", embeding_dim=3)


def test_a_declaration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tt.Categorical(name="a").name = "b"
