"""Progress on the screen: live bars on a terminal, and plain lines elsewhere, such as in a log file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Container
from types import TracebackType

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from tfrs_twotower._control_characters import show_control_characters
from tfrs_twotower.cli.screen import Screen
from tfrs_twotower.experiment.cost import format_duration

# Seconds between two plain lines about the same task.
_EVERY_S = 10.0


class ProgressBars:
    """Shows a live bar with the time left for each task, until it is done: a `Progress` for a terminal.

    It is a context manager, so that an interrupted command leaves the terminal as it was.

    Args:
        console: Where the bars are shown.
    """

    def __init__(self, console: Screen) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        """Shows nothing before the first task."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves the last state of the bars on the screen."""
        self.pause()

    def __call__(self, task: str, done: int, total: int) -> None:
        """Starts a task, moves it on, or ends it; see `tfrs_twotower._progress.Progress`."""
        if _is_over(task, done, total, self._tasks):
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                _TimeColumn(),
                console=self._console,
                # Text that is printed meanwhile goes where it belongs, which may be a file; see `pause`.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._progress.start()
        if task not in self._tasks:
            self._tasks[task] = self._progress.add_task(show_control_characters(task), total=total or None)
        self._progress.update(self._tasks[task], completed=done, total=total or None)
        if total and done >= total:
            finished = self._tasks.pop(task)
            if self._tasks:
                self._progress.remove_task(finished)  # a step of a longer task, which may come many times
        if not self._tasks:
            self.pause()

    def pause(self) -> None:
        """Ends the live display, so that text can be printed; the next call begins another."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._tasks = {}


class _TimeColumn(ProgressColumn):
    """Shows the time left once it can be estimated, and before that the time that has passed."""

    def render(self, task: Task) -> Text:
        """Writes the time."""
        if task.time_remaining is not None and not task.finished:
            return Text(f"{format_duration(task.time_remaining)} left")
        return Text("" if task.elapsed is None else format_duration(round(task.elapsed)))


@dataclasses.dataclass
class _Task:
    start: float
    last_line: float
    is_step: bool  # of another task, which may come many times


class ProgressLines:
    """Prints a line when a task starts and ends, and every 10 seconds in between: a `Progress` for log files.

    It is a context manager, like `ProgressBars`.

    Args:
        console: Where the lines are printed.
        clock: Returns the time in seconds.
    """

    def __init__(self, console: Screen, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._tasks: dict[str, _Task] = {}

    def __enter__(self) -> ProgressLines:
        """Prints nothing before the first task."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Prints nothing: what was interrupted did not end."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """Starts a task, moves it on, or ends it; see `tfrs_twotower._progress.Progress`."""
        if _is_over(task, done, total, self._tasks):
            return
        now = self._clock()
        if task not in self._tasks:
            self._tasks[task] = _Task(start=now, last_line=now, is_step=bool(self._tasks))
            if not self._tasks[task].is_step:
                self._print(f"{task} ...")
        known = self._tasks[task]
        elapsed = now - known.start
        if total and done >= total:
            del self._tasks[task]
            if not known.is_step:
                self._print(f"{task}: done in {format_duration(elapsed)}")
        elif now - known.last_line >= _EVERY_S:
            known.last_line = now
            self._print(f"{task}: {_describe(done, total, elapsed)}")

    def pause(self) -> None:
        """Does nothing: printed lines do not disturb each other."""

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


def _is_over(task: str, done: int, total: int, active: Container[str]) -> bool:
    """Tells whether the end of a task is told once more: a task begins with nothing done."""
    return task not in active and bool(total) and done >= total


def show_progress(console: Screen) -> ProgressBars | ProgressLines:
    """Returns what shows progress on a console, by whether it is a terminal.

    Args:
        console: Where progress is shown.
    """
    return ProgressBars(console) if console.is_terminal else ProgressLines(console)


def _describe(done: int, total: int, elapsed: float) -> str:
    if not (total and done):
        return f"{format_duration(elapsed)} so far"
    return f"{done / total:.0%}, about {format_duration(elapsed * (total - done) / done)} left"
