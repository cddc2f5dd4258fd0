"""The token that clients must send."""

import pytest

from tfrs_twotower.server.tokens import is_authorized, read_token


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Bearer secret", True),
        ("bearer  secret ", True),
        ("Bearer secre", False),
        ("Bearer Amélie", False),
        ("Basic secret", False),
        ("secret", False),
        ("Bearer", False),
        ("", False),
        (None, False),
    ],
)
def test_only_the_token_passes(header, expected):
    assert is_authorized(header, "secret") is expected
    assert is_authorized(header, None)


def test_a_token_comes_from_a_file_or_a_variable(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("TOKEN", "other")
    assert read_token(file=tmp_path / "token", variable=None) == "secret"
    assert read_token(file=None, variable="TOKEN") == "other"
    assert read_token(file=None, variable=None) is None


@pytest.mark.parametrize(
    ("file", "variable", "message"),
    [("token", "TOKEN", "not from both"), ("empty", None, "no token in .*empty"), (None, "UNSET", "variable UNSET")],
)
def test_no_token_where_one_is_named_is_an_error(tmp_path, monkeypatch, file, variable, message):
    monkeypatch.delenv("UNSET", raising=False)
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(ValueError, match=message):
        read_token(file=None if file is None else tmp_path / file, variable=variable)
