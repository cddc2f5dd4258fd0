"""The command line, `tfrs-twotower`: training, and the management of published bundles."""

from tfrs_twotower.cli import bundles, inspect, train
from tfrs_twotower.cli.app import main

__all__ = ["bundles", "inspect", "main", "train"]
