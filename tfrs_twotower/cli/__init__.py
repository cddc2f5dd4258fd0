"""The command line, `tfrs-twotower`: training, and the management of published bundles."""

from tfrs_twotower.cli import batch, bundles, inspect, recommend, serve, train, tune
from tfrs_twotower.cli.app import main

__all__ = ["batch", "bundles", "inspect", "main", "recommend", "serve", "train", "tune"]
