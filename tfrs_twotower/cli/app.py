"""The command line's frame: the application, its streams, and what its commands share.

A user's mistake is reported in one line, with exit code 2. Commands import TensorFlow, their help does not.
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

# The base of errors about options. It is click's or Typer's own, by the version of Typer.
_UsageError: Any = typer.BadParameter.__base__


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
        sys.exit(app(standalone_mode=False))
    except _UsageError as error:
        _print_error(error.format_message())
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if "--debug" in sys.argv:
            raise
        _print_error(str(error))
        sys.exit(2)


def _print_error(message: str) -> None:
    if message:  # it is empty where the help has been printed because there were no arguments
        err.print(f"[bold red]Error:[/] {escape(' '.join(message.split()))}", soft_wrap=True, highlight=False)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Two-tower recommenders: train on ratings, publish a SavedModel, and manage its versions."""
    del debug  # `main` looks for it, since an error may come before the arguments are parsed


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
