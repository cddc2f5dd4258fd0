"""Threads that call a freshly loaded bundle at once: one makes a signature's first call, the others wait for it."""

import contextlib
import threading
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import tensorflow as tf

from tests.bundle.manifests import make_manifest
from tfrs_twotower.bundle.load import LoadedBundle


class Meeting:
    """A signature of which one call starts another thread, and notes whether that is done before the call ends.

    Args:
        at_call: Number of the call that does so.
        patience_s: How long it waits for the other thread.
        fails: Whether the call fails in the end.
    """

    def __init__(self, *, at_call: int = 1, patience_s: float = 0.2, fails: bool = False) -> None:
        self.at_call, self.patience_s, self.fails = at_call, patience_s, fails
        self.num_calls, self.met = 0, False
        self.other = threading.Thread()

    def __call__(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        self.num_calls += 1
        if self.num_calls == self.at_call:
            self.other.start()
            self.other.join(self.patience_s)
            self.met = not self.other.is_alive()
            if self.fails:
                raise ValueError("The first call fails.")
        batch = len(next(iter(inputs.values())))
        return {"candidate_ids": tf.constant([["m1"]] * batch), "scores": tf.zeros([batch, 1])}


# Where the other thread must not be done, a call waits a moment for it; where it must be done, as long as it takes.
LONG_S = 60


def bundle_with(**signatures) -> LoadedBundle:
    loaded = SimpleNamespace(signatures=signatures)
    return LoadedBundle(Path("saved_models/shop/1"), make_manifest(k=1), pa.table({"movie_id": ["m1"]}), loaded)


@pytest.mark.parametrize("fails", [False, True])
def test_another_thread_waits_for_the_first_call_and_then_goes_on(fails):
    similar, found = Meeting(fails=fails), []
    bundle = bundle_with(similar=similar)
    similar.other = threading.Thread(target=lambda: found.append(bundle.similar("m1").candidate_ids.tolist()))
    with pytest.raises(ValueError, match=r"The first call fails\.") if fails else contextlib.nullcontext():
        bundle.similar("m1")
    similar.other.join()
    assert not similar.met
    assert found == [[["m1"]]]


def test_the_first_call_of_one_signature_does_not_hold_up_another():
    recommend = Meeting(patience_s=LONG_S)
    bundle = bundle_with(recommend=recommend, similar=Meeting(at_call=0))
    recommend.other = threading.Thread(target=bundle.similar, args=("m1",))
    bundle.recommend({"user_id": "u1"})
    assert recommend.met


def test_calls_after_the_first_do_not_wait_for_each_other():
    similar = Meeting(at_call=2, patience_s=LONG_S)
    bundle = bundle_with(similar=similar)
    similar.other = threading.Thread(target=bundle.similar, args=("m1",))
    for _ in range(2):
        bundle.similar("m1")
    assert similar.met
