"""The command line, `tfrs-twotower`: `train`, and what is done with what it publishes."""

from tfrs_twotower.cli import bundles, train
from tfrs_twotower.cli.app import main

__all__ = ["bundles", "main", "train"]
