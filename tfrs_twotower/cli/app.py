"""The command line's frame: the application, its exit codes, and how its commands start TensorFlow.

A user's mistake is reported in one line, with exit code 2. Commands import TensorFlow, their help does not.
"""

from __future__ import annotations

import enum
import gc
import io
import logging
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from tfrs_twotower.cli.screen import print_error, print_traceback, print_warning

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

# The base of errors about options. It is click's or Typer's own, by the version of Typer.
_UsageError: Any = typer.BadParameter.__base__

# What the library raises when a user can put something right; anything else is a defect, whose traceback is shown.
_MISTAKES = (ValueError, TypeError, OSError, ImportError, RuntimeError)


class IndexKind(str, enum.Enum):
    """Which index an export carries."""

    AUTO = "auto"
    SCANN = "scann"
    PORTABLE = "portable"
    EXACT = "exact"


def main() -> None:
    """Runs the command line; the entry point of `tfrs-twotower`."""
    silence_tensorflow()
    # By default, full collections of garbage take a tenth of the time in which TensorFlow traces graphs.
    gc.set_threshold(5_000, 10, 20)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # letters that its encoding lacks; stderr does so anyway
    try:
        with warnings.catch_warnings():
            warnings.showwarning = print_warning
            sys.exit(app(standalone_mode=False))
    except _UsageError as error:
        message = error.format_message()
        if message:  # it is empty where the help has been printed because there were no arguments
            print_error(message)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if isinstance(error, _MISTAKES) and "--debug" not in sys.argv:
            print_error(str(error))
            sys.exit(2)
        print_traceback(error)
        sys.exit(1)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Two-tower recommenders: train on ratings, publish a SavedModel, and manage its versions."""
    del debug  # `main` looks for it, since an error may come before the arguments are parsed


def order_commands(*names: str) -> None:
    """Puts the commands in the order in which the help lists them.

    Args:
        *names: The names of all commands.
    """
    commands = {
        command.name or getattr(command.callback, "__name__", ""): command for command in app.registered_commands
    }
    assert commands.keys() == set(names)
    app.registered_commands[:] = [commands[name] for name in names]


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
