"""`train` and `inspect`, in this process."""

import re
from pathlib import Path

import pytest

from tests.checks import without_check
from tests.experiment.shop import write_shop
from tests.movielens.small_archive import write_archive
from tfrs_twotower.experiment import inspection

OPTIONS = ["--query-id", "customer", "--candidate-id", "sku", "--rating", "stars", "--timestamp", "when"]
ONCE = ["--epochs", "1", "--batch-size", "16", "--index", "exact"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


def contents(folder: Path) -> dict[Path, bytes | None]:
    paths = folder.rglob("*")
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in paths}


def test_a_table_becomes_a_published_version_and_its_file_runs_again(call, shop, tmp_path):
    trained = call(
        "train",
        shop / "ratings.csv",
        *OPTIONS,
        *ONCE,
        "--output",
        tmp_path,
        "-k",
        "5",
        "--name",
        "shop",
        "--index",
        "exact",
    )
    assert trained.returncode == 0, trained.stderr
    for words in (
        "Data: ratings.csv",
        "--split temporal",
        "On 120 test events",
        "ndcg@10",
        f"Published: {tmp_path / 'shop' / '1'}",
        f"Report: {tmp_path / 'shop' / '1' / 'assets.extra' / 'report.html'}",
        "does not know the 120 events of the test part",
        f"To recommend: tfrs-twotower recommend {tmp_path / 'shop'} --query customer=c23 -k 10",
        f"To serve it: tfrs-twotower serve {tmp_path / 'shop'}",
    ):
        assert words in trained.stdout
    assert "Training the retrieval model on all events ..." in trained.stderr
    file = tmp_path / "shop" / "1" / "assets.extra" / "experiment.toml"
    assert f"train --config {file}" in trained.stdout
    with without_check():  # one check in a fresh process is enough
        again = call("train", "--config", file)
    assert again.returncode == 0, again.stderr
    tables = [re.findall(r"│.*│", result.stdout) for result in (trained, again)]
    assert tables[0] == tables[1] != []


def test_inspect_says_what_is_understood_and_writes_nothing(call, shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_train = ["--name", "shop", "--index", "exact", "--refit"]
    result = call("inspect", shop / "ratings.csv", *OPTIONS, "--threshold", "4", *of_train)
    assert result.returncode == 0, result.stderr
    for words in ("600 events of 30 queries with 24 candidates.", "customer", "at least 4", "of memory."):
        assert words in result.stdout
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--dataset", "movielens/3k"],
            "Unknown data set 'movielens/3k'. Known: movielens/100k-ratings, movielens/1m-ratings",
        ),
        (
            ["--archive", "missing.zip"],
            "No MovieLens archive at missing.zip. Name a folder or zip in one of GroupLens's layouts.",
        ),
        (["--archive", "damaged.zip"], "damaged.zip is damaged or is not a zip file"),
        (["--archive", "broken"], "broken/u.data, line 2: expected"),
        (["--archive", "other"], "other/u.data differs from the published file. Expected: 1,979,173 bytes"),
        ([], "can be reached neither at GroupLens nor in the package index"),
        (["-k", "0"], "`-k` must be a whole number, at least 1. Received: 0."),
        (["--epochs", "0"], "`--epochs` must be a whole number, at least 1. Received: 0."),
        (["--dataset", "[/x]"], "Unknown data set '[/x]'."),
        (["--data-dir", "damaged.zip/data"], "damaged.zip/data cannot be written"),
        (["--output", "damaged.zip"], "damaged.zip/movielens-100k cannot be written"),
        (["--config", "none.toml"], "There is no experiment file at none.toml."),
        (["--epochs", "many"], "Invalid value for '--epochs': "),
        (["--epohs", "2"], "No such option: --epohs"),
        (["none.csv", "--query-id", "u", "--candidate-id", "m"], "There is nothing at none.csv."),
        (["r.csv", "--query-id", "who", "--candidate-id", "m"], "who"),
        (["r.csv"], "`--query-id` must name the column that says who rates, buys or clicks."),
        (
            ["r.csv", "--query-id", "u", "--candidate-id", "m", "-k", "4"],
            "`-k` must be at most the catalogue's 3 candidates. Received: 4.",
        ),
        (
            ["r.csv", "--query-id", "u", "--candidate-id", "m", "--filter-by", "kind"],
            "`--filter-by` must name columns of the candidates: m. Received: 'kind'.",
        ),
        (
            ["r.csv", "--query-id", "u", "--candidate-id", "m", "--encoding", "utf-9"],
            "`--encoding` must be an encoding that Python knows",
        ),
        (
            ["r.csv", "--query-id", "u", "--candidate-id", "m", "--split", "temporal"],
            "`--timestamp` must name the column of times, because `--split` is 'temporal'.",
        ),
    ],
)
def test_a_mistake_before_training_is_one_line_and_changes_nothing(call, tmp_path, monkeypatch, arguments, message):
    (tmp_path / "damaged.zip").write_bytes(b"PK and then nothing")
    (tmp_path / "r.csv").write_text("u,m\n" + "".join(f"c{row % 5},x{row % 3}\n" for row in range(15)))
    write_archive(tmp_path / "other")
    write_archive(tmp_path / "broken", ratings="1\t2\t3\t881250949\nbroken\n")
    monkeypatch.chdir(tmp_path)
    is_movielens = "r.csv" not in arguments and "none.csv" not in arguments
    before = contents(tmp_path)
    result = call("train", *(["--data-dir", "data"] if is_movielens else []), *arguments)
    assert message in result.error()
    # TFDS's own empty folders aside.
    assert {path: content for path, content in contents(tmp_path).items() if "data" not in path.parts} == before
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


@pytest.mark.parametrize(("name", "options"), [("shop", []), ("shop-portable", ["--with-portable"])])
def test_a_folder_that_leads_nowhere_is_named_before_the_data_are_read(call, tmp_path, name, options):
    (tmp_path / name).symlink_to("nowhere")
    result = call("train", tmp_path / "none.csv", *OPTIONS, "--output", tmp_path, "--name", "shop", *options)
    assert f"{tmp_path / name} cannot be written (" in result.error()
    assert "is a link that leads to no folder" in result.error()


@pytest.mark.movielens
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "1683"], "`-k` must be at most the catalogue's 1682 candidates. Received: 1683."),
        (["--archive", "missing.zip"], "No MovieLens archive at missing.zip."),
        (["--archive", "empty"], "empty is not a MovieLens archive"),
    ],
)
def test_a_mistake_is_seen_although_the_data_are_prepared(
    call, movielens_dir, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = call("train", "--data-dir", movielens_dir, "--output", tmp_path / "models", *arguments)
    assert message in result.error()
    assert not (tmp_path / "models").exists()


def test_an_interruption_shows_no_traceback(call, shop, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection, "inspect_table", interrupt)
    result = call("inspect", shop / "ratings.csv", *OPTIONS)
    assert result.returncode == 130
    assert "Traceback" not in result.stderr


def test_a_semicolon_file_in_latin_1_is_trained_on_its_options(call, tmp_path):
    """The error of the library names the option, and with the option the file is read."""
    rows = "".join(f"Jos\u00e9{row % 7};x{row % 11};{1 + row % 5}\n" for row in range(70))
    (tmp_path / "r.csv").write_text("wer;was;sterne\n" + rows, encoding="latin-1")
    options = [tmp_path / "r.csv", "--query-id", "wer", "--candidate-id", "was", "--rating", "sterne"]
    assert "--encoding" in call("inspect", *options).error()
    result = call("inspect", *options, "--encoding", "latin-1")
    assert "70 events of 7 queries with 11 candidates." in result.stdout
    assert "Jos\u00e90" in result.stdout


def test_without_a_command_the_help_is_shown(call):
    assert "inspect" in call().stderr + call("--help").stdout
