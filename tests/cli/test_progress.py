"""Progress on a terminal and in a log file."""

import io
import re

import pytest

from tfrs_twotower.cli.progress import ProgressBars, ProgressLines, show_progress
from tfrs_twotower.cli.screen import Screen


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def console() -> Screen:
    return Screen(file=io.StringIO(), width=100)


def terminal() -> Screen:
    return Screen(file=io.StringIO(), width=120, force_terminal=True)


def test_the_kind_of_display_follows_from_the_console(console):
    assert isinstance(show_progress(console), ProgressLines)
    assert isinstance(show_progress(terminal()), ProgressBars)


def test_a_log_has_lines_at_the_start_at_the_end_and_every_ten_seconds(console):
    clock = Clock()
    with ProgressLines(console, clock=clock) as progress:
        for second in range(31):
            clock.now = 100.0 + second
            progress("Reading r[1].csv", second, 30)
    # A third is done after 10 s, so that the rest takes 20 s.
    assert console.file.getvalue().splitlines() == [
        "Reading r[1].csv ...",
        "Reading r[1].csv: 33%, about 20 s left",
        "Reading r[1].csv: 67%, about 10 s left",
        "Reading r[1].csv: done in 30 s",
    ]


def test_a_task_without_a_total_says_how_long_it_takes(console):
    clock = Clock()
    progress = ProgressLines(console, clock=clock)
    progress("Exporting", 0, 0)
    clock.now = 11.0
    progress("Exporting", 0, 0)
    clock.now = 12.0
    progress("Exporting", 1, 1)
    assert console.file.getvalue().splitlines() == [
        "Exporting ...",
        "Exporting: 11 s so far",
        "Exporting: done in 12 s",
    ]


def test_short_steps_of_a_longer_task_are_not_printed(console):
    clock = Clock()
    progress = ProgressLines(console, clock=clock)
    progress("Training", 0, 2)
    for epoch in (1, 2):
        progress("Ranking", 0, 5)
        progress("Ranking", 5, 5)
        progress("Training", epoch, 2)
    assert console.file.getvalue().splitlines() == ["Training ...", "Training: done in 0 s"]


def test_a_task_can_come_again(console):
    progress = ProgressLines(console, clock=Clock())
    for _ in range(2):
        progress("Ranking", 0, 5)
        progress("Ranking", 5, 5)
    assert console.file.getvalue().splitlines() == ["Ranking ...", "Ranking: done in 0 s"] * 2


def shown(console: Screen) -> str:
    """Returns what was written to a terminal, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def test_a_terminal_shows_a_bar_with_the_time_left():
    console = terminal()
    with ProgressBars(console) as progress:
        progress("Reading [a].csv", 0, 4)
        progress("Reading [a].csv", 4, 4)
    assert "Reading [a].csv" in shown(console)
    assert "100%" in shown(console)


def test_a_terminal_shows_the_time_left_as_soon_as_it_is_known():
    console, clock = terminal(), Clock()
    with ProgressBars(console) as progress:
        progress("Reading", 0, 4)
        progress._progress.get_time = clock
        for task in progress._progress.tasks:
            task._get_time, task.start_time = clock, 0.0
        for second in (1, 2, 3):
            clock.now = 10.0 * second
            progress("Reading", second, 4)
        progress._progress.refresh()
    assert "10 s left" in shown(console)  # a quarter takes ten seconds


def test_the_end_of_a_task_that_is_told_twice_is_shown_once(console):
    for show in (ProgressLines(console, clock=Clock()), ProgressBars(terminal())):
        show("Reading", 0, 5)
        show("Reading", 5, 5)
        show("Reading", 5, 5)
        assert not show._tasks
    assert console.file.getvalue().splitlines() == ["Reading ...", "Reading: done in 0 s"]


def test_the_display_is_gone_after_the_last_task_and_after_an_interruption():
    console = terminal()
    progress = ProgressBars(console)
    progress("Ranking", 0, 4)
    assert console._live_stack
    progress("Ranking", 4, 4)
    assert not console._live_stack
    with progress:
        progress("Ranking", 1, 4)
    assert not console._live_stack


def test_a_step_that_comes_many_times_leaves_no_bars():
    console = terminal()
    with ProgressBars(console) as progress:
        progress("Training", 0, 2)
        for _ in range(2):
            progress("Ranking", 0, 5)
            progress("Ranking", 5, 5)
        assert [task.description for task in progress._progress.tasks] == ["Training"]
