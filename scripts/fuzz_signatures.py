"""Sends random requests to every signature of a bundle with every kind of feature, and checks each reply.

    python scripts/fuzz_signatures.py [--requests N] [--seed N] [--index exact|portable|scann]

`tests/fuzzing.py` says what is checked; the tests send a few of the same requests.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import tfrs_twotower as tt

sys.path.insert(0, str(Path(__file__).parents[1]))

import tensorflow as tf

from tests.every_kind import build_every_kind, make_interactions
from tests.fuzzing import Fuzzer


def main() -> None:
    """Builds the bundle, sends the requests and prints their numbers."""
    kinds = {
        "exact": tt.index.build_exact_index,
        "portable": tt.index.build_portable_index,
        "scann": tt.index.build_scann_index,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="number of requests (default 20,000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the requests (default 0)")
    parser.add_argument("--index", choices=kinds, default="exact", help="kind of index (default exact)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build_every_kind(kinds[arguments.index]).save(Path(folder) / "1")
        loaded = tf.saved_model.load(f"{folder}/1")
    counts = Fuzzer(loaded, make_interactions(), seed=arguments.seed).run(arguments.requests)
    for name, count in sorted(counts.items()):
        print(f"{name:20} {count:>8,}")
    print("All replies are right.")


if __name__ == "__main__":
    main()
