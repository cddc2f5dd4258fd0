"""What the process has imported that `tests.forks` copies. Nothing here may begin TensorFlow's runtime."""

import gc
import importlib
import os
import pkgutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tfrs_twotower

# The server's libraries start threads, TensorFlow Datasets reads an environment variable when it is imported, and the
# command line's `__main__` runs it.
_LEFT_OUT = ("tfrs_twotower.server", "tfrs_twotower.movielens", "tfrs_twotower.cli.__main__")

for module in pkgutil.walk_packages(tfrs_twotower.__path__, "tfrs_twotower."):
    if not module.name.startswith(_LEFT_OUT):
        importlib.import_module(module.name)
# Copies share the memory of what is not counted or collected anew.
gc.freeze()
