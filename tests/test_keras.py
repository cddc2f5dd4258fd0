"""Keras is chosen when the package is imported, so each case runs in a process of its own."""

import os
import subprocess
import sys


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    variables |= {"TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)


def test_importing_the_package_asks_for_keras_2_and_does_not_import_tensorflow():
    result = run(
        "import os, sys, tfrs_twotower; assert 'tensorflow' not in sys.modules\n"
        "print(os.environ['TF_USE_LEGACY_KERAS'])"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "1\n"


def test_importing_the_package_first_gives_keras_2_even_with_the_variable_set_to_0():
    code = (
        "import tfrs_twotower\n"
        "import tensorflow as tf; print(tf.keras.Model.__module__)\n"
        "tfrs_twotower.model.TwoTowerModel"
    )
    result = run(code, TF_USE_LEGACY_KERAS="0")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("tf_keras.")


def test_importing_tensorflow_first_with_keras_3_is_an_error_that_names_both_remedies():
    result = run("import tensorflow, tfrs_twotower")
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: TensorFlow was imported before tfrs_twotower, with Keras 3 in force")
    assert "`import tfrs_twotower` before `import tensorflow`" in message
    assert "TF_USE_LEGACY_KERAS=1 before Python starts" in message


def test_importing_tensorflow_first_works_with_the_variable_set():
    result = run("import tensorflow, tfrs_twotower; tfrs_twotower.model.TwoTowerModel", TF_USE_LEGACY_KERAS="1")
    assert result.returncode == 0, result.stderr
