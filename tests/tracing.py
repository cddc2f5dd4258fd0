"""What processes of tests leave out, since they trace many graphs and run each a few times."""

import gc
import types


def record_no_stacks() -> None:
    """Gives all operations of graphs one stack of calls, instead of each its own.

    TensorFlow walks through some eighty frames for every operation that it builds, which takes a tenth of the time. Its
    messages then do not say where in Python an operation was made; Python's own tracebacks stay as they are.
    """
    from tensorflow.python.framework import ops
    from tensorflow.python.util import tf_stack

    stack = tf_stack.extract_stack()
    ops.tf_stack = types.SimpleNamespace(**{**vars(tf_stack), "extract_stack": lambda stacklevel=1: stack})


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
