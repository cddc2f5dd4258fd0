"""The command line, `tfrs-twotower`: training, and the management of published bundles."""

from tfrs_twotower.cli import batch, bundles, inspect, recommend, serve, train, tune
from tfrs_twotower.cli.app import main, order_commands

order_commands(
    *["inspect", "train", "tune"],
    *["recommend", "batch-recommend", "vectors", "serve"],
    *["index", "list", "rollback", "serving-config"],
)

__all__ = ["batch", "bundles", "inspect", "main", "recommend", "serve", "train", "tune"]
