"""The command line, `tfrs-twotower`: training, and the management of published bundles."""

from tfrs_twotower.cli import bundles, inspect, serve, train
from tfrs_twotower.cli.app import main

__all__ = ["bundles", "inspect", "main", "serve", "train"]
