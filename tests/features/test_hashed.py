from tests.features.cases import learn, look_up
from tfrs_twotower.features.hashed import Hashed


def test_values_share_the_buckets_and_a_missing_one_has_its_own_code():
    feature = Hashed(name="id", num_buckets=5)
    codes = look_up(feature, ["", *map(str, range(200))])
    assert codes[0] == 0
    assert set(codes[1:]) == {1, 2, 3, 4, 5}
    assert feature.num_codes(()) == 6


def test_nothing_is_learnt():
    assert dict(learn(Hashed(name="id", num_buckets=3))) == {}
