"""Batches: interactions and encoded features become a `tf.data` pipeline."""
