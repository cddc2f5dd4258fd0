"""What processes of tests leave out, since they trace many graphs and run each a few times."""

import gc


def record_no_stacks() -> None:
    """Gives the operations of graphs no stacks of calls.

    TensorFlow walks through some eighty frames for every operation that it builds, which takes a tenth of the time. Its
    messages then do not say where in Python an operation was made; Python's own tracebacks stay as they are.
    """
    from tensorflow.python.framework import ops

    create = ops._create_c_op.__wrapped__
    assert create.__code__.co_varnames[: create.__code__.co_argcount][-1] == "extract_traceback"
    create.__defaults__ = (*create.__defaults__[:-1], False)


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


def compute_in_blocks(is_wanted: bool) -> None:
    """Lets the bundles that this process builds compute large batches in blocks, as users' do, or all at once.

    Blocks are a fifth of the time in which a small bundle is traced, saved and loaded.
    """
    import tensorflow as tf

    from tfrs_twotower.bundle import blocks, signatures

    signatures.in_blocks = blocks.in_blocks if is_wanted else lambda function, specs: tf.function(function)
