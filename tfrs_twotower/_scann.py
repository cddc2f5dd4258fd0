"""ScaNN's TensorFlow ops, loaded so that an unusable scann is an error only for those who ask for a ScaNN index."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

SCANN_REQUIREMENT = "scann==1.4.2"
TENSORFLOW_REQUIREMENT = "tensorflow==2.20.*"


def _import_ops() -> tuple[Any, str]:
    """Imports the ops.

    Returns:
        (ops, problem): the module and "", or None and the reason in words.
    """
    if importlib.util.find_spec("scann") is None:
        return (
            None,
            f"scann is not installed. Run: pip install {SCANN_REQUIREMENT} (wheels exist for Linux only).",
        )
    import tensorflow as tf

    try:
        from scann.scann_ops.py import scann_ops
    except (ImportError, OSError, tf.errors.OpError) as error:
        # From now on scann is "not importable": TensorFlow Recommenders copes with an absent scann, not a broken one.
        sys.modules["scann"] = None  # type: ignore[assignment]
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return None, (
            f"scann is installed but does not load in TensorFlow {tf.__version__} ({reason}). "
            f'Run: pip install "{TENSORFLOW_REQUIREMENT}" {SCANN_REQUIREMENT}.'
        )
    return scann_ops, ""


_ops, _problem = _import_ops()


def have_scann() -> bool:
    """Tells whether ScaNN's ops are loaded in this process."""
    return _ops is not None


def require_scann() -> Any:
    """Returns ScaNN's TensorFlow ops, the module `scann.scann_ops.py.scann_ops`.

    Raises:
        ImportError: If scann is missing or built for another TensorFlow; says what to install.
    """
    if _ops is None:
        raise ImportError(f"A ScaNN index was asked for, but {_problem} Or use the exact index.")
    return _ops


def library_path() -> Path:
    """Returns the path of ScaNN's op library, for a host in another language to open before it loads a bundle.

    Raises:
        ImportError: As in `require_scann`.
    """
    return Path(require_scann().__file__).parents[1] / "cc" / "_scann_ops.so"
