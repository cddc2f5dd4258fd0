"""Reads the prepared MovieLens 100K with `read_ratings` and by iterating `tfds.load` in batches of 1,024, in turns.

TFDS's side is `.ragged_batch(1024)`: its genres have no fixed length, which plain `.batch` refuses.
"""

import tensorflow_datasets as tfds
from _benchmark import Row, parse_arguments, show, time_in_turns

import tfrs_twotower  # noqa: F401  # before TensorFlow: it chooses Keras 2
from tfrs_twotower.data.movielens import prepare_movielens, read_ratings

NAME = "movielens/100k-ratings"


def main() -> None:
    """Measures and prints."""
    arguments = parse_arguments(__doc__)
    builder = prepare_movielens(NAME).builder
    num_rows = builder.info.splits["train"].num_examples

    def iterate_tfds() -> None:
        for _ in tfds.load(NAME, split="train").ragged_batch(1024):
            pass

    tfds_case, own_case = "tfds.load(...).ragged_batch(1024)", "read_ratings"
    seconds = time_in_turns(
        {tfds_case: iterate_tfds, own_case: lambda: read_ratings(builder)}, repeats=arguments.repeats
    )
    rows = [Row(case=case, metric="time", value=value, unit="s") for case, value in seconds.items()]
    rows += [Row(case=case, metric="rate", value=num_rows / value, unit="rows/s") for case, value in seconds.items()]
    rows.append(Row(case=own_case, metric="speed-up", value=seconds[tfds_case] / seconds[own_case], unit="x"))
    show(f"Reading {num_rows:,} ratings of {NAME}", rows, arguments.json)


if __name__ == "__main__":
    main()
