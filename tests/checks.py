"""What takes the place of the check of a bundle in a fresh process, which takes seconds and has tests of its own."""

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

from tfrs_twotower.bundle.check import FreshCheck
from tfrs_twotower.publishing import export, refresh, update


def no_check(finishes: Callable[[], object] | None = None) -> mock.MagicMock:
    """Returns a stand-in for a `FreshCheck` that starts no process, and calls the given function at its end."""
    check = mock.MagicMock(spec=FreshCheck)
    check.__enter__.return_value = check
    check.finish.side_effect = finishes
    return check


@contextlib.contextmanager
def without_check() -> Iterator[None]:
    """Leaves out the checks of all that is published in this context."""
    with contextlib.ExitStack() as patches:
        for module in (export, refresh, update):
            patches.enter_context(mock.patch.object(module, "FreshCheck", no_check))
        yield
