"""Asks a bundle for any TensorFlow in other releases of it, with Keras 3 in force where they bring it; run at release.

Each release gets an environment of its own under `.venv-tensorflows`, and must give the answers that this one gives.

    python scripts/check_tensorflows.py saved_models/movielens-100k-portable [VERSION]...
"""

import argparse
import subprocess
import sys
from pathlib import Path

import tfrs_twotower as tt
from tfrs_twotower.bundle.warmup import read_warmup
from tfrs_twotower.publishing.export import ask_in_fresh_process, find_other_answer

_ENVIRONMENTS = Path(__file__).parents[1] / ".venv-tensorflows"


def main() -> None:
    """Makes the environments, asks, and fails if an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a version's folder, or that of all versions")
    parser.add_argument("versions", nargs="*", default=["2.19", "2.21"], help="minor releases (2.19 and 2.21)")
    arguments = parser.parse_args()
    bundle = tt.load_bundle(arguments.bundle)
    requests = read_warmup(bundle.path)
    for version in arguments.versions:
        python = _ENVIRONMENTS / version / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", _ENVIRONMENTS / version], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"tensorflow=={version}.*"], check=True)
        replies = ask_in_fresh_process(bundle.path.absolute(), requests, python=str(python))
        other = find_other_answer(bundle.module.signatures, requests, replies)
        if other is not None:
            raise SystemExit(f"TensorFlow {version} gives other {other[1]} for `{other[0]}`.")
        print(f"TensorFlow {version}: {len(requests)} requests, the same answers.")


if __name__ == "__main__":
    main()
