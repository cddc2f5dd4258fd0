"""A missing or broken scann affects only those who ask for a ScaNN index. Each case is a process of its own."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfrs_twotower
from tfrs_twotower import _scann

REPOSITORY = Path(tfrs_twotower.__file__).parents[1]

USE_BOTH = """
import numpy as np
from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.kinds import build_best_index
from tfrs_twotower.index.scann import ScannIndex
embeddings = np.eye(3, dtype=np.float32)
scores, rows = ExactIndex(embeddings, ["a", "b", "c"]).search(embeddings[:1], 1)
print("exact", rows.numpy().tolist())
try:
    ScannIndex(embeddings, ["a", "b", "c"])
except ImportError as error:
    print("scann", error)
assert tfrs.tasks.Retrieval is not None
print("best", build_best_index(embeddings, ["a", "b", "c"], embeddings).index.kind)
"""


@pytest.fixture
def site_without_scann(tmp_path: Path) -> Path:
    """The packages of this environment, except scann."""
    site = tmp_path / "site"
    site.mkdir()
    for folder in {Path(path) for path in sys.path if path.endswith("site-packages")}:
        for entry in folder.iterdir():
            if not entry.name.startswith(("scann", "__pycache__")) and not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)
    return site


def test_the_advice_names_the_versions_that_setup_cfg_pins():
    packaging = configparser.ConfigParser()
    packaging.read(REPOSITORY / "setup.cfg")
    required = [
        line.partition(";")[0].replace(" ", "") for line in packaging["options"]["install_requires"].splitlines()
    ]
    assert _scann.SCANN_REQUIREMENT in required
    assert _scann.TENSORFLOW_REQUIREMENT in required


def run(code: str, *paths: Path) -> dict[str, str]:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    # With -S only the given folders are searched, not the environment's own site-packages.
    result = subprocess.run(
        [sys.executable, "-S", "-c", code], env=variables, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return dict(line.split(" ", 1) for line in result.stdout.splitlines())


def test_without_scann_the_exact_index_works_and_a_scann_index_says_what_to_install(site_without_scann):
    output = run(USE_BOTH, REPOSITORY, site_without_scann)
    assert output["exact"] == "[[0]]"
    assert output["best"] == "exact"
    assert output["scann"] == (
        "A ScaNN index was asked for, but scann is not installed. Run: pip install scann==1.4.2 "
        "(wheels exist for Linux only). Or use the exact index."
    )


def test_a_scann_for_another_tensorflow_says_which_two_go_together(site_without_scann, tmp_path):
    package = tmp_path / "broken" / "scann" / "scann_ops" / "py"
    package.mkdir(parents=True)
    for folder in (package, *package.parents[:2]):
        (folder / "__init__.py").touch()
    library = tmp_path / "_scann_ops.so"
    library.write_text("built for another TensorFlow")
    (package / "scann_ops.py").write_text(f"import tensorflow as tf\ntf.load_op_library({str(library)!r})\n")
    output = run(USE_BOTH, REPOSITORY, tmp_path / "broken", site_without_scann)
    assert output["exact"] == "[[0]]"
    assert output["best"] == "exact"
    assert "scann is installed but does not load in TensorFlow 2.20" in output["scann"]
    assert 'pip install "tensorflow==2.20.*" scann==1.4.2' in output["scann"]
