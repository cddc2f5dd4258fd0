import numpy as np
import tensorflow as tf

from tests.features.cases import look_up
from tfrs_twotower.features.pretrained import PretrainedEmbedding


def test_a_vector_is_passed_on_unless_a_part_of_it_is_missing():
    feature = PretrainedEmbedding(name="image", dim=2)
    codes = look_up(feature, [[1.0, -2.0], [np.nan, 5.0]], dtype=tf.float32)
    assert codes == [[1, -2, 0], [0, 0, 1]]
