"""A few of the random requests of `scripts/fuzz_signatures.py`."""

from tests.every_kind import make_interactions
from tests.fuzzing import Fuzzer


def test_every_random_request_is_answered_right_or_refused(every_kind):
    counts = Fuzzer(every_kind, make_interactions(), seed=1).run(300)
    assert set(counts) == {*every_kind.signatures, "refused"}
