"""Checks that a bundle without ScaNN's operations predicts the same in other releases of TensorFlow.

It is run before a release of this library. Each release of TensorFlow is installed into an environment of its own under
`.venv-tensorflows`. Its predictions must equal those of the TensorFlow that runs this script.

    python scripts/check_tensorflows.py saved_models/movielens-100k-portable [VERSION]...
"""

import argparse
import subprocess
import sys
from pathlib import Path

import tfrs_twotower as tt
from tfrs_twotower.bundle.check import ask_in_fresh_process, find_difference
from tfrs_twotower.bundle.warmup import read_warmup

_ENVIRONMENTS = Path(__file__).parents[1] / ".venv-tensorflows"


def main() -> None:
    """Creates the environments, sends the requests, and fails if a prediction differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a version's folder, or the folder of all versions")
    parser.add_argument("versions", nargs="*", default=["2.19", "2.21"], help="minor releases (default 2.19 and 2.21)")
    arguments = parser.parse_args()
    bundle = tt.load_bundle(arguments.bundle)
    requests = read_warmup(bundle.path)
    for version in arguments.versions:
        python = _ENVIRONMENTS / version / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", _ENVIRONMENTS / version], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"tensorflow=={version}.*"], check=True)
        (replies,) = ask_in_fresh_process({bundle.path.absolute(): requests}, python=str(python))
        difference = find_difference(bundle.module.signatures, requests, replies)
        if difference is not None:
            signature, output = difference
            raise SystemExit(f"TensorFlow {version} returns different {output} for `{signature}`.")
        print(f"TensorFlow {version}: all outputs of {len(requests)} requests are the same.")


if __name__ == "__main__":
    main()
