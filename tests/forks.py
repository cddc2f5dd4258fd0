"""Processes that run Python without importing TensorFlow, which takes seconds of each: copies of one that has done so.

They are for scripts and commands whose subject is not the start of a process. Nothing of TensorFlow's runtime has begun
when a process is copied, so each copy has its own threads, devices and random numbers.
"""

import dataclasses
import functools
import multiprocessing
import multiprocessing.process
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.tracing import collect_garbage_rarely, compute_in_blocks, optimize_graphs, record_no_stacks

#: The module that every copy has imported.
_PRELOADED = "tests.preloaded"

_TIMEOUT_S = 600


@dataclasses.dataclass(frozen=True)
class Fork:
    """A running process and the file that its output goes to."""

    process: multiprocessing.process.BaseProcess
    output_path: Path

    def output(self) -> str:
        return self.output_path.read_text(encoding="utf-8")

    def is_running(self) -> bool:
        return self.process.is_alive()

    def wait(self) -> int | None:
        """Waits for the process to end, and returns its exit status, or None if it is still running."""
        self.process.join(_TIMEOUT_S)
        return self.process.exitcode

    def finish(self) -> str:
        """Waits for the process to end well, and returns its output."""
        status = self.wait()
        if status != 0:
            self.kill()
            raise AssertionError(f"Exit status {status}:\n{self.output()[-4000:]}")
        return self.output()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def start(
    arguments: Sequence[object],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    as_for_users: bool = True,
) -> Fork:
    """Starts what `python` does with these arguments: `-c` or `-m` and what follows, or the path of a script.

    Args:
        arguments: The arguments.
        folder: The process's working directory; this process's by default.
        environment: All of its environment variables; this process's by default. Those that TensorFlow reads when it is
            imported have no effect.
        as_for_users: Whether TensorFlow optimises graphs, and bundles compute large batches in blocks. Of a program
            that runs each graph a few times, the former takes an eighth of its time.
    """
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload([_PRELOADED])
    handle, output = tempfile.mkstemp(suffix=".txt", dir=_outputs().name)
    os.close(handle)
    texts = [str(argument) for argument in arguments]
    variables = dict(os.environ if environment is None else environment)
    process = context.Process(target=_run, args=(texts, folder or Path.cwd(), variables, output, as_for_users))
    process.start()
    return Fork(process, Path(output))


@functools.cache
def _outputs() -> tempfile.TemporaryDirectory[str]:
    """The folder of all outputs, which is removed when this process ends."""
    return tempfile.TemporaryDirectory(prefix="forks-")


def _run(arguments: list[str], folder: Path, environment: dict[str, str], output: str, as_for_users: bool) -> None:
    with open(output, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if not as_for_users:
        optimize_graphs(False)
        compute_in_blocks(False)
    collect_garbage_rarely()
    record_no_stacks()
    option = arguments[0]
    if option in ("-c", "-m"):
        sys.argv = [option, *arguments[2:]]
        sys.path.insert(0, str(folder))
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(option).parent))
    if option == "-c":
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    elif option == "-m":
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(option, run_name="__main__")
