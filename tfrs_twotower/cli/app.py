"""The command line's frame: the application, its streams, and what its commands share.

A user's mistake is reported in one line, with exit code 2. Commands import TensorFlow, their help does not.
"""

from __future__ import annotations

import enum
import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from tfrs_twotower.index.build import BuildIndex

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
out = Console()
err = Console(stderr=True)


class IndexKind(str, enum.Enum):
    """Which index an export carries."""

    AUTO = "auto"
    SCANN = "scann"
    PORTABLE = "portable"
    EXACT = "exact"


def main() -> None:
    """Runs the command line; the entry point of `tfrs-twotower`."""
    silence_tensorflow()
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if "--debug" in sys.argv:
            raise
        err.print(f"[bold red]Error:[/] {escape(' '.join(str(error).split()))}", soft_wrap=True, highlight=False)
        sys.exit(2)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Two-tower recommenders: train on ratings, publish a SavedModel, and manage its versions."""
    del debug  # `main` looks for it, since an error may come before the arguments are parsed


def index_builder(kind: IndexKind) -> BuildIndex:
    """Returns the function that builds an index of a kind.

    Raises:
        ImportError: If it is ScaNN's, and scann is unusable.
    """
    from tfrs_twotower.index.kinds import BUILDERS, build_best_index

    if kind is IndexKind.SCANN:
        from tfrs_twotower._scann import require_scann

        require_scann()
    return build_best_index if kind is IndexKind.AUTO else BUILDERS[kind.value]


def print_line(text: str) -> None:
    """Prints text as it is: without markup or colours, and wrapped by the terminal only."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def import_tensorflow() -> Any:
    """Imports TensorFlow, and switches off a pass over graphs that logs a warning for every condition."""
    import tfrs_twotower  # isort: skip  # before TensorFlow  # noqa: F401
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"loop_optimization": False})
    return tf


def silence_tensorflow() -> None:
    """Keeps the logs of TensorFlow and TFDS off the screen; their errors still arrive as exceptions.

    This library logs one line, about the source of the data, which `train` prints as part of its output.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for logger in ("tensorflow", "absl", "tfrs_twotower"):
        logging.getLogger(logger).setLevel(logging.ERROR)
