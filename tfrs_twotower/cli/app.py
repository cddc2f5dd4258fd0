"""The command line's frame: the application, its streams, and what its commands share.

A mistake of the user's is one line and exit code 2. TensorFlow is imported by the commands, not for their help.
"""

from __future__ import annotations

import enum
import logging
import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

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
    """Two-tower recommenders: trains on ratings, publishes a SavedModel, and looks after its versions."""
    del debug  # `main` looks for it, since an error may come before the arguments are parsed


def index_builder(kind: IndexKind) -> Any:
    """What builds an index of a kind.

    Raises:
        ImportError: If it is ScaNN's, and scann is unusable.
    """
    from tfrs_twotower.index import build as build_index

    if kind is IndexKind.SCANN:
        from tfrs_twotower._scann import require_scann

        require_scann()  # now rather than after the training
    return {
        IndexKind.AUTO: build_index.build_best_index,
        IndexKind.SCANN: build_index.build_scann_index,
        IndexKind.PORTABLE: build_index.build_portable_index,
        IndexKind.EXACT: build_index.build_exact_index,
    }[kind]


def print_line(text: str) -> None:
    """Prints text as it is: no markup, no colours, broken by the terminal alone."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def import_tensorflow() -> Any:
    """TensorFlow, without a pass over graphs that warns of every condition that it leaves as it is."""
    import tfrs_twotower  # isort: skip  # before TensorFlow  # noqa: F401
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"loop_optimization": False})
    return tf


def silence_tensorflow() -> None:
    """Keeps TensorFlow's and TFDS's logs off the screen; their errors still arrive as exceptions.

    This library's own one log line, on the source of the data, is printed by `train` as part of its output.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for logger in ("tensorflow", "absl", "tfrs_twotower"):
        logging.getLogger(logger).setLevel(logging.ERROR)
