"""Text from data stays text on the terminal, whatever it contains and wherever it is printed."""

import io
import os
import re
import shutil
import subprocess
import sys
import unicodedata
import warnings

import numpy as np
import pyarrow as pa
import pytest
from rich.table import Table

from tests.bundle.manifests import make_index_entry, make_manifest
from tests.control_characters import CONTROLLED, PLAIN
from tfrs_twotower.bundle import load
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, MODEL_FILE
from tfrs_twotower.cli import screen
from tfrs_twotower.cli import train as train_command
from tfrs_twotower.cli.progress import ProgressBars, ProgressLines
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.experiment import inspection
from tfrs_twotower.publishing import versions

#: Name -> text, and how a terminal must show it.
NASTY = CONTROLLED | {text: (text, text) for text in PLAIN}
#: Those that the name of a file can contain.
FILE_NAMES = {name: (text.replace("/", "|"), shown.replace("/", "|")) for name, (text, shown) in NASTY.items()}
FILE_NAMES.pop("NUL, backspace and delete")

nasty = pytest.mark.parametrize(("text", "shown"), NASTY.values(), ids=map(ascii, NASTY))
nasty_file_names = pytest.mark.parametrize(("text", "shown"), FILE_NAMES.values(), ids=map(ascii, FILE_NAMES))


@pytest.fixture
def terminal() -> screen.Screen:
    """A wide terminal that understands colours."""
    return screen.Screen(file=io.StringIO(), width=400, force_terminal=True, color_system="truecolor")


@pytest.fixture
def printed(terminal, monkeypatch):
    """Has everything printed on one terminal; returns a function that reads it."""
    for module in (screen, train_command):
        for name in ("out", "err"):
            monkeypatch.setattr(module, name, terminal)
    return lambda: without_style(terminal.file.getvalue())


def without_style(output: str) -> str:
    """Removes Rich's own styles and cursor movements, and requires that no other control character is left."""
    rest = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).replace("\r", "")
    assert not [
        character for character in rest if unicodedata.category(character) in ("Cc", "Cs") and character != "\n"
    ]
    return rest


def letters(text: str) -> str:
    """Leaves out spaces and ends of lines: a table wraps its title."""
    return "".join(text.split())


def publish(directory, **changes) -> None:
    (directory / "1" / EXTRA_FOLDER).mkdir(parents=True)
    make_manifest(**changes).write(directory / "1")
    (directory / "1" / MODEL_FILE).touch()


@nasty
def test_lines_errors_warnings_and_cells_are_text(terminal, printed, text, shown):
    screen.print_line(text)
    screen.print_error(text)
    screen.print_warning(UserWarning(text), UserWarning, "f.py", 1)
    table = Table(text, title=text)
    table.add_row(text)
    terminal.print(table)
    lines = printed().splitlines()
    assert lines[0] == shown
    assert lines[1] == f"Error: {shown}".replace(r"\n", " ")  # the lines of an error are joined
    assert lines[2] == f"Note: {shown}"
    assert [shown in line for line in lines[3:]] == [True, False, True, False, True, False]


@nasty
def test_a_traceback_is_text(printed, text, shown):
    try:
        raise ValueError(text)
    except ValueError as error:
        screen.print_traceback(error)
    assert printed().startswith("Traceback (most recent call last):\n")
    # Python's own lines have ends, and the message may have more of them.
    assert printed().endswith(f"ValueError: {shown}\n".replace(r"\n", "\n"))


@nasty
def test_tasks_are_text_on_a_terminal_and_in_a_log(terminal, text, shown):
    for show in (ProgressBars(terminal), ProgressLines(terminal)):
        terminal.file = io.StringIO()
        with show:
            show(text, 0, 2)
            show(text, 2, 2)
        assert without_style(terminal.file.getvalue()).lstrip().startswith(shown.lstrip())


@nasty
def test_a_report_and_what_was_read_are_text(printed, text, shown):
    report = Report(
        cases={"model": {"ndcg@10": 0.25}, text: {"ndcg@10": 0.5}}, intervals={}, above_popularity={},
        beyond_accuracy={}, by_history=[], by_feature={}, by_popularity=[], confusion=None, num_events=160,
        num_left_out=0,
    )  # fmt: skip
    train_command._print_report(report)
    assert shown in printed()


@nasty
def test_recommend_prints_text(call, monkeypatch, tmp_path, text, shown):
    class Loaded:
        manifest, path = make_manifest(), tmp_path / "1"
        candidates = pa.table({"movie_id": [clean(text)], "title": [clean(text)]})

        def recommend(self, *_, **__):
            ids = np.array([[clean(text)]], object)
            return load.Recommendations(candidate_ids=ids, scores=np.ones((1, 1)), probabilities=None)

        def knows(self, ids):
            return np.ones(len(ids), bool)

    monkeypatch.setattr(load, "load_bundle", lambda _: Loaded())
    result = call("recommend", tmp_path, "--query", f"user_id={text}")
    assert result.returncode == 0, result.stderr
    title, _, table = letters(without_style(result.stdout)).partition("(version1)")
    assert title == letters(f"For user_id={shown}")
    assert table.count(letters(clean(shown))) == 2


def clean(text: str) -> str:
    """Replaces what no table can hold: bytes that are not UTF-8."""
    return text.replace("\udcff", "?").replace(r"\udcff", "?")


@nasty
def test_list_prints_text(call, tmp_path, text, shown):
    publish(tmp_path / "shop", created=clean(text), index=make_index_entry(kind=clean(text)))
    result = call("list", tmp_path / "shop")
    assert result.returncode == 0, result.stderr
    assert letters(without_style(result.stdout)).count(letters(clean(shown))) == 2


@nasty_file_names
def test_the_name_of_a_folder_is_text(call, tmp_path, text, shown):
    missing = call("list", tmp_path / text)
    assert missing.error().endswith(f"{shown.replace(chr(92) + 'n', ' ')} holds no version of a bundle.")
    publish(tmp_path / text)
    listed = call("list", tmp_path / text)
    assert listed.returncode == 0, listed.stderr
    assert letters(without_style(listed.stdout)).startswith(letters(f"{tmp_path}/{shown}"))
    shutil.copytree(tmp_path / text / "1", tmp_path / text / "2")
    assert call("rollback", tmp_path / text).stdout == f"Served from now on: {tmp_path}/{shown}/1\n"


@nasty
def test_inspect_prints_text(call, monkeypatch, text, shown):
    class Inspection:
        columns = (
            inspection.ColumnSummary(
                table="events", name=text, type="string", num_values=2, num_missing=0, example=text[:40]
            ),
        )

        def lines(self):
            return [f"Note: {text}"]

    monkeypatch.setattr(inspection, "inspect_table", lambda *_, **__: Inspection())
    result = call("inspect", "ratings.csv")
    assert result.returncode == 0, result.stderr
    assert without_style(result.stdout).splitlines()[-1] == f"Note: {shown}"
    # The name, the note, and the example, of which the table shows 40 letters.
    assert letters(without_style(result.stdout)).count(letters(shown)) == (3 if len(text) <= 40 else 2)


@pytest.mark.parametrize("arguments", [["train", "none\x1b[31m.csv"], ["train", "--index", "\x1b[31m"], ["\x1b[31m"]])
def test_a_mistake_in_an_argument_is_text(call, arguments):
    assert r"\x1b[31m" in call(*arguments).error()


def test_the_traceback_of_an_error_is_text(call, tmp_path, monkeypatch):
    with_debug = call("--debug", "list", tmp_path / "a\x1b[31m")
    assert with_debug.returncode == 1
    assert without_style(with_debug.stderr).endswith("a\\x1b[31m holds no version of a bundle.\n")

    def fail(_):
        raise KeyError("a\x9b31m")

    monkeypatch.setattr(versions, "list_versions", fail)
    defect = call("list", tmp_path)
    assert defect.returncode == 1
    assert defect.stderr.startswith("Traceback")
    assert defect.stderr.endswith("KeyError: 'a\\x9b31m'\n")


def test_a_warning_is_one_line_of_text(call, tmp_path, monkeypatch):
    def warn(directory):
        warnings.warn(f"{directory} is \x1b[31mred :100:", stacklevel=2)
        return []

    monkeypatch.setattr(versions, "list_versions", warn)
    assert call("list", tmp_path).stderr == f"Note: {tmp_path} is \\x1b[31mred :100:\n"


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("file", "columns", "num_lines"),
    [(io.StringIO, None, 1), (io.StringIO, "40", 8), (Terminal, None, 8)],
    ids=["a pipe", "a pipe with COLUMNS", "a terminal"],
)
def test_a_table_is_as_wide_as_its_content_where_there_is_no_terminal(file, columns, num_lines, monkeypatch):
    """A cell of 284 letters takes one line, or 8 in 40 columns, of which borders and padding take 4."""
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor=0: os.terminal_size((40, 25)))
    console = screen.Screen(file=file())
    table = Table()
    table.add_column("name", overflow="fold")
    table.add_row("x" * 284)
    console.print(table)
    lines = [line for line in console.file.getvalue().splitlines() if "x" in line]
    assert len(lines) == num_lines
    assert sum(line.count("x") for line in lines) == 284


@pytest.mark.parametrize("width", [80, 300])
def test_no_metric_of_a_report_is_cut_off(printed, terminal, width):
    terminal.width = width
    cases = ("model", "random", "popularity", "recent popularity", "all-positive", "biases")
    report = Report(
        cases={case: {"calibration_error": 0.25, "graded_ndcg@10": 0.125} for case in cases}, intervals={},
        above_popularity={}, beyond_accuracy={}, by_history=[], by_feature={}, by_popularity=[], confusion=None,
        num_events=160, num_left_out=0,
    )  # fmt: skip
    train_command._print_report(report)
    shown = printed()
    assert "…" not in shown
    assert re.search(r"│ calibration_error +(│ +0\.2500 ){6}│", shown)
    assert re.search(r"│ graded_ndcg@10 +(│ +0\.1250 ){6}│", shown)


def test_letters_that_the_output_lacks_are_escaped(tmp_path):
    publish(tmp_path / "Amélie")
    command = [sys.executable, "-m", "tfrs_twotower.cli", "list", str(tmp_path / "Amélie")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "300"}
    result = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert b"Am\\xe9lie" in result.stdout
