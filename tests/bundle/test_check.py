"""The check of a bundle in a fresh process: what it leaves behind, and what it takes for an output."""

import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from tfrs_twotower.bundle.check import FreshCheck, ask_in_fresh_process
from tfrs_twotower.bundle.requests import Request

# Asks a bundle by means of an interpreter that is given.
CHECK = """
import sys
from pathlib import Path
from tfrs_twotower.bundle.check import ask_in_fresh_process
ask_in_fresh_process({Path("no bundle"): []}, python=sys.argv[1])
"""

# Stands in for TensorFlow in the fresh process, and prints like an operation that does.
TALKATIVE = """
import os
print("Hello from Python")
os.write(1, b"Hello from C")

class Values:
    def __init__(self, values, dtype): self.values = values
    def numpy(self): return self
    def tolist(self): return self.values

constant = Values

class saved_model:
    def load(path):
        print("Loading", path)
        saved_model.signatures = {"recommend": lambda **inputs: inputs}
        return saved_model
"""


def test_a_check_that_is_killed_leaves_no_files(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nkill -9 $PPID\n")  # ends the process that makes the check, in its midst
    interpreter.chmod(0o755)
    environment = {**os.environ, "TMPDIR": str(temporary)}
    result = subprocess.run(
        [sys.executable, "-c", CHECK, interpreter], env=environment, cwd=tmp_path, capture_output=True, check=False
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert [*temporary.iterdir()] == []
    assert sorted(tmp_path.iterdir()) == [interpreter, temporary]


def test_what_a_bundle_prints_is_no_output_of_it(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text(TALKATIVE)
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    request = Request(signature="recommend", inputs={"user_id": tf.constant(["Amélie", ""])})
    assert ask_in_fresh_process({tmp_path: [request]}) == [[{"user_id": ["Amélie", ""]}]]


# Stands in for TensorFlow where Keras is installed, and says which bundle answers.
WITHOUT_KERAS = """
import importlib

constant = lambda values, dtype: values
for name in ("keras", "tf_keras"):
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    raise AssertionError(name)

class Text:
    def __init__(self, text): self.text = text
    def numpy(self): return self
    def tolist(self): return [self.text]

class saved_model:
    def load(path):
        saved_model.signatures = {"recommend": lambda: {"path": Text(path)}}
        return saved_model
"""


def test_every_bundle_answers_in_one_process_that_cannot_import_keras(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text(WITHOUT_KERAS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bundles = [tmp_path / name for name in ("movies", "movies-portable")]
    for bundle in bundles:
        bundle.mkdir()
        (bundle / "saved_model.pb").touch()
    replies = ask_in_fresh_process({bundle: [Request(signature="recommend", inputs={})] for bundle in bundles})
    assert replies == [[{"path": [str(bundle)]}] for bundle in bundles]


def test_a_check_that_is_broken_off_leaves_no_process():
    def publish():
        with FreshCheck() as check:
            processes.append(check._process._process)
            assert processes[0].poll() is None
            raise OSError("no space left")

    processes = []
    with pytest.raises(OSError, match="no space left"):
        publish()
    assert processes[0].returncode == -signal.SIGKILL


def test_a_bundle_that_does_not_load_is_an_error_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError('no such operation')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="does not load and predict in a fresh process: .*no such operation"):
        ask_in_fresh_process({tmp_path: []})
