"""What processes of tests leave out, since they trace many graphs and run each a few times."""

import gc


def collect_garbage_rarely() -> None:
    """Makes full collections rare.

    Each goes through half a million objects of TensorFlow, and by default tracing a few graphs makes one: they take a
    tenth of the time.
    """
    gc.set_threshold(5_000, 10, 20)


def optimize_graphs(is_wanted: bool) -> None:
    """Lets TensorFlow optimise graphs, as it does for users, or run them as they were traced."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not is_wanted})
