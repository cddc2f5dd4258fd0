"""The command line as a user meets it: its output and its exit code.

`recommend` starts as a user starts it. Every other command runs in a copied process once.
"""

import copy
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests import forks
from tests.cli.conftest import Result
from tests.conftest import CANDIDATE, QUERY, export_unchecked, make_planted
from tfrs_twotower.bundle import load

# The machine must not matter: no host can be reached, and the terminal is wide enough for errors of one line.
ENVIRONMENT = {
    **os.environ,
    "COLUMNS": "200",
    "TFDS_DATA_DIR": "/nonexistent/data",
    "https_proxy": "http://127.0.0.1:9",
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_RETRIES": "0",
    "PIP_CONFIG_FILE": os.devnull,
}
MODULE = ["-m", "tfrs_twotower.cli"]


def run(*arguments: object) -> str:
    """Runs a command in a process of its own, which must end well, and returns all its output."""
    return forks.start([*MODULE, *arguments], environment=ENVIRONMENT, as_for_users=False).finish()


@pytest.fixture
def load_once(monkeypatch):
    """Lets commands in this process take a bundle that is loaded already, since loading takes a second."""
    load_bundle = load.load_bundle

    def give(bundle):
        monkeypatch.setattr(load, "load_bundle", lambda path: bundle if path == bundle.path else load_bundle(path))

    return give


@pytest.fixture(scope="module")
def loaded(bundle_path):
    return tt.load_bundle(bundle_path)


@pytest.fixture(autouse=True)
def planted_bundle_is_loaded_once(load_once, loaded):
    load_once(loaded)


def check_error(result: Result, message: str) -> None:
    """Requires one line that says what is wrong, exit code 2, and nothing else."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_recommendations_are_a_table_of_rank_title_score_and_probability(bundle_path, planted):
    command = [sys.executable, *MODULE, "recommend", bundle_path.parent, "--query", "user_id=u0", "-k", "3"]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    first = next(line for line in result.stdout.splitlines() if f"Title {planted.withheld[0]} " in line)
    assert first.strip("│ ").startswith("1 ")
    probability = float(first.strip("│ ").split("│")[-1])
    assert probability > 0.5
    for column in ("rank", "id", "title", "score", "probability"):
        assert column in result.stdout


@pytest.fixture
def catalogue(loaded, monkeypatch):
    """Lets the next command load the bundle with other columns beside the ids, and without probabilities if wanted."""

    def give(columns, *, original_names=None, has_probabilities=True):
        bundle = copy.copy(loaded)
        bundle.candidates = pa.table({"movie_id": bundle.candidates["movie_id"], **columns})
        model = dataclasses.replace(bundle.manifest.model, original_names=original_names or {})
        bundle.manifest = dataclasses.replace(bundle.manifest, model=model)
        if not has_probabilities:
            found = bundle.recommend({"user_id": ["u0"]}, k=3)._replace(probabilities=None)
            monkeypatch.setattr(bundle, "recommend", lambda *_, **__: found)
        monkeypatch.setattr(load, "load_bundle", lambda _: bundle)

    return give


@pytest.mark.parametrize(
    ("columns", "original_names", "heading"),
    [
        ({"Bezeichnung": [f"Ware Nummer {row}" for row in range(24)]}, {}, "Bezeichnung"),
        (
            {"artikel_text": [f"Ware Nummer {row}" for row in range(24)]},
            {"artikel_text": "Artikel-Text"},
            "Artikel-Text",
        ),
        # A name may be called like another column of the table.
        ({"score": [f"Ware Nummer {row}" for row in range(24)]}, {}, "score"),
    ],
)
def test_names_come_from_the_catalogues_free_text(call, catalogue, planted, columns, original_names, heading):
    catalogue(columns, original_names=original_names)
    result = call("recommend", "shop", "--query", "user_id=u0", "-k", "3")
    assert result.returncode == 0, result.stderr
    cells = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in result.stdout.splitlines()]
    assert ["rank", "id", heading, "score", "probability"] in cells
    first = next(row for row in cells if row[:1] == ["1"])
    assert first[1:3] == [f"m{planted.withheld[0]}", f"Ware Nummer {planted.withheld[0]}"]


@pytest.mark.parametrize("has_probabilities", [True, False])
@pytest.mark.parametrize("columns", [{}, {"code": [f"4006{row}" for row in range(24)]}, {"title": [""] * 24}])
def test_what_there_is_not_has_no_column(call, catalogue, columns, has_probabilities):
    catalogue(columns, has_probabilities=has_probabilities)
    result = call("recommend", "shop", "--query", "user_id=u0", "-k", "3")
    assert result.returncode == 0, result.stderr
    (headings,) = (line for line in result.stdout.splitlines() if " rank " in line)
    assert headings.strip("┃").replace("┃", "").split() == ["rank", "id", "score", *["probability"] * has_probabilities]


def test_a_long_name_is_cut_off(call, catalogue):
    catalogue({"text": [f"{row} {'word ' * 40}" for row in range(24)]})
    result = call("recommend", "shop", "--query", "user_id=u0", "-k", "1")
    name = next(line for line in result.stdout.splitlines() if "word" in line).split("│")[3].strip()
    assert len(name) == 100
    assert name.endswith("…")


def test_empty_slots_are_not_shown(call, bundle_path):
    # A planted query has four candidates left that it has not seen.
    result = call("recommend", bundle_path, "--query", "user_id=u0", "--query", "age=30", "-k", "10")
    assert result.stdout.count("Title ") == 4


def test_a_list_is_written_with_commas(call, load_once, tmp_path):
    split = make_planted(num_queries=8, num_candidates=10).split
    query = dataclasses.replace(QUERY, features=(tt.History(of=CANDIDATE.features[0], by_rating=True),))
    model = tt.build_two_tower(split.train, query=query, candidate=CANDIDATE)
    path = export_unchecked(model, split.seen, tmp_path / "history", k=8, build_index=tt.index.build_exact_index)
    load_once(tt.load_bundle(path))
    result = call("recommend", path, "--query", "history=m1,m2", "--query", "history_rating=5,1", "-k", "8")
    assert result.returncode == 0, result.stderr
    shown = set(re.findall(r"Title (\d+) ", result.stdout))
    assert shown == {str(row) for row in range(10)} - {"1", "2"}
    # Without a number, there are as many as the bundle gives, up to ten; an empty text is an empty list.
    result = call("recommend", path, "--query", "history=", "--query", "history_rating=")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Title ") == 8
    error = call("recommend", path, "--query", "history=m1,m2", "--query", "history_rating=5,good")
    check_error(error, "`history_rating` must be a number. Received: 'good'.")


def test_a_query_that_the_bundle_does_not_know_is_named(call, bundle_path):
    for given, note in (
        (["user_id=99999"], "The bundle does not know user_id '99999': these are general recommendations."),
        (
            ["user_id= u0", "age=30"],
            "The bundle does not know user_id ' u0': only the other features count. It knows 'u0'.",
        ),
    ):
        result = call("recommend", bundle_path, *(word for pair in given for word in ("--query", pair)))
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[0] == note
        assert result.stdout.count("Title ") == 10


def test_inputs_may_be_called_as_in_the_users_table(call, load_once, bundle_path, tmp_path):
    shutil.copytree(bundle_path, tmp_path / "1")
    file = tmp_path / "1" / "assets.extra" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "original_names": {"user_id": "Kunde-Nr", "age": "Alter (Jahre)"}}))
    expected = call("recommend", bundle_path, "--query", "user_id=u0", "--query", "age=30").stdout.splitlines()
    load_once(tt.load_bundle(tmp_path / "1"))
    result = call("recommend", tmp_path / "1", "--query", "Kunde-Nr=u0", "--query", "Alter (Jahre)=30")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1:] == expected[1:]
    unknown = call("recommend", tmp_path / "1", "--query", "Kunde-Nr=u99999")
    assert unknown.stdout.startswith("The bundle does not know user_id 'u99999': these are general recommendations.")
    known = "Known: user_id (the column Kunde-Nr), age (the column Alter (Jahre))."
    check_error(call("recommend", tmp_path / "1", "--query", "Kunde=u0"), f"Unknown query feature 'Kunde'. {known}")
    check_error(
        call("recommend", tmp_path / "1", "--query", "Kunde-Nr=u0", "--query", "user_id=u0"),
        "`--query` must give each feature once. Received 'user_id' twice, also as 'user_id'.",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--query", "user=u0"], "Unknown query feature 'user'. Known: user_id, age."),
        (["--query", "user_id=u0", "--query", "age=old"], "`age` must be a number. Received: 'old'."),
        (
            ["--query", "user_id=u0", "--query", "user_id=u1"],
            "`--query` must name a feature once. Received 'user_id' twice.",
        ),
        (["--query", "u0"], "`--query` must be feature=value, such as user_id=42. Received: 'u0'."),
        (["--query", "user_id=u0", "-k", "0"], "`-k` must be at least 1. Received: 0."),
        (["--query", "user_id=u0", "-k", "25"], "`k` must be in 1..10, the bundle's. Received: k=25."),
    ],
)
def test_a_mistake_in_a_query_is_one_line(call, bundle_path, arguments, message):
    check_error(call("recommend", bundle_path, *arguments), message)


def test_text_with_brackets_is_text(call, bundle_path):
    result = call("recommend", bundle_path, "--query", "user_id=[/x][bold]u0")
    assert result.returncode == 0, result.stderr
    assert "For user_id=[/x][bold]u0" in result.stdout


def test_a_missing_bundle_is_one_line(call, tmp_path):
    check_error(call("recommend", tmp_path, "--query", "user_id=1"), "is not a bundle")
    check_error(call("recommend", tmp_path / "x", "--query", "user_id=1"), "Make one with: tfrs-twotower train")


def test_debug_shows_the_traceback(tmp_path):
    process = forks.start([*MODULE, "--debug", "recommend", tmp_path, "--query", "user_id=1"], environment=ENVIRONMENT)
    assert process.wait() == 1
    assert "Traceback" in process.output()


def test_help_does_not_start_tensorflow():
    code = "import sys; from tfrs_twotower import cli; assert 'tensorflow' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_excluded_candidates_are_not_recommended_and_filters_are_checked(call, bundle_path, planted):
    withheld = f"m{planted.withheld[0]}"
    result = call("recommend", bundle_path, "--query", "user_id=u0", "--exclude", withheld, "--exclude", "unknown")
    assert result.returncode == 0, result.stderr
    assert f" {withheld} " not in result.stdout
    check_error(
        call("recommend", bundle_path, "--query", "user_id=u0", "--only", "genres=Even"),
        "The bundle does not filter by 'genres'. It was exported with none.",
    )
    check_error(
        call("recommend", bundle_path, "--query", "user_id=u0", "--only", "genres"), "`--only` must be feature=value"
    )


def test_a_bundle_gets_another_catalogue_and_is_rolled_back(call, bundle_path, planted, tmp_path):
    """Runs `index` on a CSV, whose values are all text, then `list` and `rollback`."""
    shutil.copytree(bundle_path, tmp_path / "shop" / "1")
    (tmp_path / "items.csv").write_text("movie_id,title\n" + "".join(f"m{row},New {row}\n" for row in range(3, 26)))
    output = run("index", tmp_path / "shop", "--catalogue", tmp_path / "items.csv")
    published = tmp_path / "shop" / "2"
    assert output.strip() == f"2 candidates added, 3 removed, 21 kept. Published: {published}"
    assert re.search(r"2 │ served ", run("list", tmp_path / "shop"))
    assert run("rollback", tmp_path / "shop").strip() == f"Served from now on: {tmp_path / 'shop' / '1'}"
    listed = call("list", tmp_path / "shop").stdout
    assert re.search(r"1 │ served .* 24 ", listed)
    assert re.search(r"2 │ withdrawn .* 23 ", listed)
    check_error(call("rollback", tmp_path / "shop"), "holds only version 1: there is none to go back to.")
    check_error(call("list", tmp_path), "holds no version of a bundle")
    check_error(call("index", tmp_path / "shop", "--catalogue", tmp_path / "none.csv"), "none.csv")


def test_candidates_are_added_changed_and_removed(call, bundle_path, tmp_path, unchecked):
    shutil.copytree(bundle_path, tmp_path / "shop" / "1")
    items, ids = tmp_path / "items.csv", tmp_path / "ids.txt"
    items.write_text("movie_id,title,genres\nnew,New,Odd|Rare\nm1,Other,Even\n")
    ids.write_text("m3\r\nm5\r\n\r\nm30\r\n")
    result = call("index", tmp_path / "shop", "--add", items, "--remove", ids)
    assert "The catalogue does not have 1 of the 3 ids to remove: 'm30'." in result.stderr
    published = tmp_path / "shop" / "2"
    assert result.stdout.strip() == f"1 candidates added, 1 changed, 2 removed. Published: {published}"
    rows = {row["movie_id"]: row for row in tt.load_bundle(published).candidates.to_pylist()}
    assert rows["new"]["genres"] == ["Odd", "Rare"]
    assert rows["m1"]["title"] == "Other"
    assert not {"m3", "m5"} & set(rows)


def test_a_change_of_a_catalogue_needs_either_the_whole_or_its_parts(call, tmp_path):
    check_error(call("index", tmp_path), "Give either --catalogue, or --add, --remove or both of these.")
    both = ["--catalogue", tmp_path / "a.csv", "--remove", tmp_path / "ids.txt"]
    check_error(call("index", tmp_path, *both), "Give either --catalogue")
    check_error(call("index", tmp_path, "--add", tmp_path / "a.csv", "--index", "exact"), "`--index` goes with --cat")


def test_files_for_tensorflow_serving_are_written(call, bundle_path, tmp_path):
    output = run("serving-config", bundle_path.parent, "--output", tmp_path / "serving", "--batching")
    assert sorted(path.name for path in (tmp_path / "serving").iterdir()) == [
        "batching.config",
        "compose.yaml",
        "kubernetes.yaml",
        "models.config",
    ]
    assert "lists of one agreed length" in output
    check_error(call("serving-config", tmp_path), "holds no version of a bundle")
