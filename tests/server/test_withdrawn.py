"""Candidates whose ids are in a file beside the versions are left out at once."""

import pytest

import tfrs_twotower as tt
from tfrs_twotower.index.ordering import NO_SCORE
from tfrs_twotower.server.joined_calls import Received, joined_call
from tfrs_twotower.server.withdrawn import Withdrawn, leave_out


@pytest.fixture(scope="module")
def bundle(bundle_path):
    return tt.load_bundle(bundle_path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "withdrawn.txt"


@pytest.fixture
def calls(bundle, file):
    signatures = bundle.module.signatures
    return leave_out({name: joined_call(signature, {}) for name, signature in signatures.items()}, Withdrawn(file))


def queries(*names):
    """Two requests, the first with one row and the second with the others; ages are not given."""
    missing = [float("nan")] * len(names)
    return [1, len(names) - 1], {"user_id": Received([], list(names)), "age": Received([], missing)}


def ids_of(outputs):
    return [[name.decode() for name in row] for row in outputs["candidate_ids"]]


def test_recommendations_go_on_without_what_is_withdrawn(calls, file):
    """A stranger gets ten of 24 candidates: the slots of those withdrawn are those of the next best."""
    num_rows, given = queries("stranger", "u0", "u1")
    before = ids_of(calls["recommend"](num_rows, given))
    out = {before[0][0], before[0][4], before[1][0], before[2][1]}
    file.write_text("".join(f"{name}\n" for name in sorted(out)) + "unknown\n")
    for signature in ("recommend", "serving_default"):
        after = ids_of(calls[signature](num_rows, given))
        for ours, theirs in zip(after, before, strict=True):
            kept = [name for name in theirs if name and name not in out]
            assert ours[: len(kept)] == kept
        assert len(set(after[0]) - out - {""}) == 10
    file.unlink()
    assert ids_of(calls["recommend"](num_rows, given)) == before


def test_what_a_request_excludes_is_left_out_besides(calls, file):
    num_rows, given = queries("stranger", "stranger", "stranger")
    first, second, third = ids_of(calls["recommend"](num_rows, given))[0][:3]
    file.write_text(first)
    given["exclude_ids"] = Received([2, 1], [second, "", "", third])
    found = ids_of(calls["recommend_excluding"](num_rows, given))
    assert [row[0] for row in found] == [third, second, second]
    assert not any(first in row for row in found)
    assert third not in found[2]


def test_similar_candidates_that_are_withdrawn_leave_empty_slots(calls, file):
    given = {"candidate_id": Received([], ["m0", "m1"])}
    before = calls["similar"]([1, 1], given)
    names = ids_of(before)
    file.write_text(f"{names[0][1]}\nm1\n")
    after = calls["similar"]([1, 1], given)
    kept = [place for place, name in enumerate(names[0]) if name not in (names[0][1], "m1")]
    num_empty = len(names[0]) - len(kept)
    assert ids_of(after)[0] == [names[0][place] for place in kept] + [""] * num_empty
    assert after["scores"][0].tolist() == [before["scores"][0][place] for place in kept] + [NO_SCORE] * num_empty
    assert ids_of(after)[1] == [""] * len(names[1])  # as for an id that the catalogue does not have


def test_a_pair_with_a_withdrawn_candidate_has_the_score_of_an_unknown_one(calls, file):
    num_rows, given = queries("u0", "u0", "u0")
    given["candidate_id"] = Received([], ["m0", "m1", "nothing"])
    file.write_text("m1\n")
    outputs = calls["score"](num_rows, given)
    assert outputs["scores"][0] > NO_SCORE
    assert outputs["scores"][1:].tolist() == [NO_SCORE, NO_SCORE]
    assert outputs["probabilities"][1:].tolist() == [0, 0]


def test_the_file_is_read_when_it_changes(file, tmp_path):
    withdrawn = Withdrawn(file)
    assert withdrawn.ids() == []
    file.write_bytes(b"\xef\xbb\xbfa\r\n\r\nb\na\n\xc3\xa9")
    assert withdrawn.ids() == [b"a", b"b", "é".encode()]
    other = tmp_path / "other"
    other.write_text("c\n")
    other.replace(file)
    assert withdrawn.ids() == [b"c"]
    file.unlink()
    assert withdrawn.ids() == []


def test_a_file_that_cannot_be_read_changes_nothing(file):
    withdrawn = Withdrawn(file)
    file.write_text("a\n")
    assert withdrawn.ids() == [b"a"]
    file.unlink()
    file.mkdir()
    assert withdrawn.ids() == [b"a"]
