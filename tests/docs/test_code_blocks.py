"""Every code block of the README and of docs/ runs, on what the demo really makes.

test_notebooks.py runs those of docs/notebooks.

The Python blocks of a page run in order as one script, in a fresh process and in a folder of their own, in which TOML
blocks with a file name in their first line are files. The shell blocks run after them in the same folder: the arguments
of each command go to the command line's `main`, in one process for a page, since TensorFlow takes seconds to start.
"""

import dataclasses
import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import tfrs_twotower as tt
from tests import forks

pytestmark = [pytest.mark.movielens, pytest.mark.scann]

REPOSITORY = Path(__file__).parents[2]
DEMO = "saved_models/movielens-100k"
CATEGORIES = ("books", "garden", "toys")

FIT = "fit_recipe(recipe, split"
FIT_CHOSEN = "fit_recipe(tt.choose_recipe(split.train), split"
ONCE = {
    FIT: "fit_recipe(recipe.with_settings(max_epochs=1), split",
    FIT_CHOSEN: "fit_recipe(tt.choose_recipe(split.train).with_settings(epochs=1), split",
}

#: Page -> what the tests replace in its Python blocks, so that training takes a moment.
SUBSTITUTIONS = {
    "README.md": {FIT: "fit_recipe(recipe.with_settings(epochs=20), split"},
    "docs/guides/bundles.md": {FIT_CHOSEN: ONCE[FIT_CHOSEN]},
    "docs/guides/context.md": {
        FIT: "fit_recipe(recipe.with_settings(epochs=20), split",
        "fit_recipe(without, split": "fit_recipe(without.with_settings(epochs=1), split",
    },
    "docs/guides/evaluation.md": {FIT_CHOSEN: ONCE[FIT_CHOSEN]},
    "docs/guides/publishing.md": {FIT_CHOSEN: ONCE[FIT_CHOSEN]},
    "docs/guides/migrating.md": {"epochs=10)": "epochs=1)", "epochs=20)": "epochs=1)"},
    "docs/guides/models.md": {"epochs=44": "epochs=1", "epochs=30,": "epochs=1,"},
    "docs/guides/training.md": {FIT: f"{ONCE[FIT]}, retrain=False", "epochs=20,": "epochs=1,"},
    "docs/guides/tuning.md": {"max_epochs=40": "max_epochs=1", "num_trials=30": "num_trials=2"},
}

#: Page -> the example that it quotes and that its script leaves out, since another test runs it.
LEFT_OUT = {"README.md": "movielens_keras.py"}  # tests/integration/test_main_job.py

#: Page -> part of a command, and what the tests put in its place, for the sake of time.
SHORTER_COMMANDS = {"README.md": {"--split temporal --name shop": "--split temporal --name shop --epochs 1"}}

#: Page -> statements that the tests add at the end of its Python blocks, to check the results.
CHECKS = {
    "README.md": """
# TensorFlow alone gets what `load_bundle` gets.
expected = tt.load_bundle("saved_models/movielens-100k").recommend({"user_id": "42"})
assert [value.decode() for value in found["candidate_ids"].numpy()[0]] == expected.candidate_ids[0].tolist()
""",
    "docs/guides/data.md": """
assert ratings.num_events == stored.num_events == 4000 and ratings.num_candidates == 99
assert clean.num_events == 1
""",
    "docs/guides/context.md": """
# Customer 7 likes the second five of the dishes of each time of day.
assert set(morning) == {f"d{dish}" for dish in range(5, 10)} and set(evening) == {f"d{dish}" for dish in range(35, 40)}
assert set(soups) == {f"d{dish}" for dish in range(20, 25)} and set(steaks) == set(evening)
assert bundle.recommend({"customer": "", "looked_at": "d3"}, k=1).candidate_ids[0] == "d4"
""",
    "docs/guides/features.md": "assert vectors.shape == (1, 64)",
    "docs/guides/hosts.md": """
from tfrs_twotower.bundle.load import load_bundle
expected = load_bundle("saved_models/movielens-100k").recommend(
    {"user_id": ["42", ""], "history": [[], ["50", "172"]], "history_rating": [[], [5.0, 4.0]]}
)
assert found["candidate_ids"].numpy().astype(str).tolist() == expected.candidate_ids.tolist()
""",
    "docs/guides/bundles.md": """
only = shop.recommend({"customer": "c7"}, k=5, only={"category": ["books", "garden"]}).candidate_ids[0]
assert all(int(sku) % 3 in (0, 1) for sku in only)
""",
    "docs/guides/vectors.md": """
# Faiss finds what the bundle recommends in the same order, and what the query has seen besides.
recommended = bundle.recommend({"user_id": ["42", "7"]}, k=20)
products, rows = index.search(queries.retrieval, index.ntotal)
for row, own in enumerate(recommended.candidate_ids):
    ours = products[row][np.isin(ids[rows[row]], own)]
    np.testing.assert_allclose(ours, recommended.scores[row], rtol=1e-4)  # Faiss adds in another order
# So does Qdrant, without the two movies that it was told to leave out.
others = products[0][~np.isin(ids[rows[0]], ["50", "172"])]
np.testing.assert_allclose([point.score for point in found.points], others[:10], rtol=1e-4)
lines = [json.loads(line) for line in open("vertex.json", encoding="utf-8")]
assert [line["id"] for line in lines] == ids.tolist()
np.testing.assert_array_equal(np.array([line["embedding"] for line in lines], np.float32), candidates.retrieval)
""",
    "docs/guides/server.md": """
expected = tt.load_bundle("saved_models/movielens-100k").similar(["50", "172"]).candidate_ids.tolist()
assert [row["candidate_ids"] for row in predictions] == expected
""",
    "docs/guides/publishing.md": """
assert [version.number for version in tt.publishing.list_versions("saved_models/shop") if version.is_served] == [2]
""",
}

#: The import of a page that exports, and what the tests put after it, and before the commands: a check of an export in
#: a fresh process takes seconds, and has tests of its own. The demo's export is checked as users' are.
IMPORT = "import tfrs_twotower as tt\n"
UNCHECKED = """
from tests.checks import without_check
_unchecked = without_check()
_unchecked.__enter__()
"""

#: Runs commands, one a line, as a shell would.
RUN_COMMANDS = """
import shlex, sys
from tfrs_twotower.cli import main
for line in sys.argv.pop().splitlines():
    program, *arguments = shlex.split(line)
    assert program == "tfrs-twotower", line
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as exited:
        if exited.code:
            raise
"""

#: Shell command -> why the tests do not run it.
NOT_RUN = {
    "tfrs-twotower train": "the fixture `demo` runs it, with --epochs 2",
    "tfrs-twotower train --config shop.toml --seed 1": "tests/experiment and tests/cli run experiment files",
    "tfrs-twotower train --config saved_models/shop/1/assets.extra/experiment.toml": "tests/experiment runs it",
    "tfrs-twotower train ratings.csv --query-id customer --candidate-id sku --rating stars --timestamp when": (
        "tests/cli runs it, with --epochs 1"
    ),
    "tfrs-twotower train --from saved_models/shop/3 newer.csv": "tests/experiment goes on from versions",
    "scripts/demo": "it creates an environment; tests/integration tests what it runs",
    "scripts/test": "it runs these tests",
    ".venv/bin/tfrs-twotower serve saved_models/movielens-100k --open": "tests/server opens the page",
    "tfrs-twotower tune --config shop.toml --trials 30": "tests/cli searches, with fewer trials",
    "tfrs-twotower train --config tuning/shop/tuned.toml": "tests/cli reads the file; tests/experiment runs such files",
    "cd serving && docker compose up": "it needs Docker",
    "tfrs-twotower serve saved_models/movielens-100k": "it ends when it is told to; tests/server runs it",
    "tfrs-twotower serve saved_models/movielens-100k --open": "it opens a browser; tests/server opens the page in one",
    "tfrs-twotower serve saved_models/movielens-100k --num-versions 2": "it ends when it is told to",
    "tfrs-twotower serve --models serving/models.config --models-folder saved_models": "tests/server runs it",
    (
        "tfrs-twotower serve saved_models/shop --host 0.0.0.0 --token-file token "
        "--tls-certificate cert.pem --tls-key key.pem"
    ): "tests/server runs it, on 127.0.0.1",
}


def find_pages() -> list[str]:
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    return [page.relative_to(REPOSITORY).as_posix() for page in pages]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / page).read_text(encoding="utf-8"), re.DOTALL)


def quoted(example: str) -> str:
    """Returns the code of an example after its docstring, as the pages quote it."""
    return (REPOSITORY / "examples" / example).read_text(encoding="utf-8").split('"""\n\n', 1)[1]


def files(page: str) -> list[tuple[str, str]]:
    """Returns the name and the text of each TOML block that begins with a comment with a file name."""
    return [(block.split()[1], block) for block in blocks(page, "toml") if re.match(r"# \S+\.toml\n", block)]


def commands(page: str) -> list[str]:
    lines = [line.partition("   #")[0].strip() for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line]


def has_code(page: str) -> bool:
    """Whether these tests run something of a page."""
    return not page.startswith("docs/notebooks/") and bool(blocks(page, "python") or commands(page))


def uses_demo(page: str) -> bool:
    return any(DEMO in text for text in [*blocks(page, "python"), *commands(page)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """The folder in which a page's blocks have run, and what they printed."""

    folder: Path
    output: str


@pytest.fixture(scope="module")
def environment(movielens_dir) -> dict[str, str]:
    """The environment in which the blocks run."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TFDS_DATA_DIR": str(movielens_dir),
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A folder with the files of a shop: each customer likes one category, and nobody has rated the last items."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    customers, items = rng.integers(0, 60, 4000), rng.integers(0, 90, 4000)
    stars = np.where(customers % 3 == items % 3, rng.integers(4, 6, 4000), rng.integers(1, 3, 4000))
    days = np.datetime64("2024-01-01") + np.sort(rng.integers(0, 300, 4000))
    lines = [f"c{c},{i:03d},{s},{d}" for c, i, s, d in zip(customers, items, stars, days, strict=True)]
    (folder / "ratings.csv").write_text("customer,sku,stars,when\n" + "\n".join(lines) + "\n")
    catalogue = {
        "sku": [f"{item:03d}" for item in range(99)],
        "category": [CATEGORIES[item % 3] for item in range(99)],
        "price": rng.uniform(1, 300, 99),
    }
    pyarrow.parquet.write_table(pa.table(catalogue), folder / "catalogue.parquet")
    return folder


@pytest.fixture(scope="module")
def finish(request, shop, environment, demo, tmp_path_factory) -> Iterator[Callable[[str], Finished]]:
    """Runs the blocks of the pages that the selected tests ask for, two pages at a time.

    The pages that do not use the demo's bundle come first, and run while it is trained.
    """
    pool = ThreadPoolExecutor(2)

    @functools.cache
    def trained_demo() -> Future[Path]:
        return pool.submit(demo)

    def submit(page: str) -> Future[Finished]:
        if uses_demo(page):
            trained_demo()  # before the page, which would wait for it in vain if all threads waited
        return pool.submit(run_page, page)

    def run_page(page: str) -> Finished:
        folder = shutil.copytree(shop, tmp_path_factory.mktemp("page") / "workplace")
        if uses_demo(page):
            shutil.copytree(trained_demo().result() / "saved_models", folder / "saved_models")
        for name, text in files(page):
            (folder / name).write_text(text, encoding="utf-8")
        output = ""
        left_out = quoted(LEFT_OUT[page]) if page in LEFT_OUT else None
        script = "\n".join(block for block in blocks(page, "python") if block != left_out)
        for text, replacement in SUBSTITUTIONS.get(page, {}).items():
            assert text in script, f"{page} no longer has {text!r}: remove it from SUBSTITUTIONS."
            script = script.replace(text, replacement)
        if "export_bundle" in script:
            script = script.replace(IMPORT, IMPORT + UNCHECKED, 1)
        if script:
            (folder / "script.py").write_text(script + CHECKS.get(page, ""), encoding="utf-8")
            output += run([folder / "script.py"], folder, environment)
        shell = "\n".join(command for command in commands(page) if command not in NOT_RUN)
        for text, replacement in SHORTER_COMMANDS.get(page, {}).items():
            assert text in shell, f"{page} no longer has {text!r}: remove it from SHORTER_COMMANDS."
            shell = shell.replace(text, replacement)
        if shell:
            output += run(["-c", UNCHECKED + RUN_COMMANDS, shell], folder, environment)
        return Finished(folder=folder, output=output)

    prefix = f"{test_code_blocks_run.__name__}["
    pages = [item.callspec.params["page"] for item in request.session.items if item.name.startswith(prefix)]
    if any(map(uses_demo, pages)):
        trained_demo()
    running = {page: submit(page) for page in sorted(pages, key=uses_demo)}

    def wait_for(page: str) -> Finished:
        if page not in running:
            running[page] = submit(page)
        return running[page].result()

    yield wait_for
    pool.shutdown(cancel_futures=True)


def run(arguments: Sequence[object], folder: Path, environment: dict[str, str]) -> str:
    return forks.start(arguments, folder=folder, environment=environment, as_for_users=False).finish()


@pytest.mark.parametrize("page", [page for page in find_pages() if has_code(page)])
def test_code_blocks_run(page, finish):
    finish(page)


@pytest.mark.parametrize("page", find_pages())
def test_shell_commands_are_run_or_listed_as_not_run(page):
    for command in commands(page):
        program = command.split()[0]
        assert program == "tfrs-twotower" or command in NOT_RUN, command
        if program.startswith("scripts/"):
            assert os.access(REPOSITORY / program, os.X_OK)


def test_own_ratings_are_trained_evaluated_and_exported(finish):
    version = finish("README.md").folder / "saved_models" / "shop" / "1"
    manifest = json.loads((version / "assets.extra" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["num_candidates"] == 99
    assert manifest["metrics"]["auc"] > 0.95
    assert manifest["data"]["source"] == "ratings.csv"
    # The command splits by time, and then says what the model does for users whose last steps it knows.
    said = " ".join(finish("README.md").output.split())
    assert re.search(r"Event by event, .* reaches NDCG@10 0\.\d+ on \d+ test events \(.*popularity: 0\.", said)


def test_the_shop_recommends_what_the_customer_likes(finish):
    recommended = re.findall(r"(?<!b)'(\d{3})'", finish("README.md").output)
    assert len(recommended) == 5
    # Customer 7 likes the items whose number leaves the remainder 1 when divided by 3.
    assert sum(int(sku) % 3 == 1 for sku in recommended) >= 4


def test_the_demo_without_an_option_is_a_pair_that_a_stock_server_can_serve(finish):
    models = finish("README.md").folder / "saved_models"
    config = tt.publishing.serving_config([models / "movielens-100k"])
    assert 'base_path: "/models/movielens-100k-portable"' in config.files["models.config"]
    main, twin = (models / name / "1" for name in ("movielens-100k", "movielens-100k-portable"))
    ours, theirs = (tt.bundle.Manifest.read(version) for version in (main, twin))
    assert ours.export_id == theirs.export_id
    assert (ours.filter_by, theirs.filter_by) == (("release_year", "genres"), ("release_year", "genres"))
    assert [b"Scann>" in (version / "saved_model.pb").read_bytes() for version in (main, twin)] == [True, False]


def test_the_written_server_files_serve_the_portable_twin(finish):
    finished = finish("docs/guides/publishing.md")
    assert 'name: "shop-portable"' in (finished.folder / "serving" / "models.config").read_text(encoding="utf-8")


def test_the_requests_to_the_server_give_the_inputs_of_the_models(finish):
    """Those of MovieLens give all inputs of the demo's model, and those of plays, which have no ratings, all others."""
    version = finish("docs/guides/server.md").folder / DEMO / "1"
    inputs = {spec.name for spec in tt.bundle.Manifest.read(version).model.query.inputs}
    (_, without), *with_ratings = sorted(
        re.findall(
            r"models/(\S+):predict[^']*'(\{\"instances\".*?\})'$",
            "\n".join(blocks("docs/guides/server.md", "text")),
            re.M | re.S,
        ),
        key=lambda found: found[0] != "plays",
    )
    assert [set(row) for row in json.loads(without)["instances"]] == [inputs - {"history_rating"}]
    assert [name for name, _ in with_ratings] == ["movielens-100k"] * 2
    for _, body in with_ratings:
        assert all(set(row) == inputs for row in json.loads(body)["instances"])


@pytest.mark.compiler
def test_the_c_program_finds_what_load_bundle_finds(finish, tmp_path):
    finished = finish("docs/guides/hosts.md")
    names = finished.output.split("\n")[-2].split()
    (source,) = blocks("docs/guides/hosts.md", "c")
    (tmp_path / "host.c").write_text(source, encoding="utf-8")
    tensorflow = Path(importlib.util.find_spec("tensorflow").origin).parent
    libraries = [f"-L{tensorflow}", f"-Wl,-rpath,{tensorflow}", "-l:libtensorflow_cc.so.2"]
    options = ["-std=c11", "-Wall", "-Werror", f"-I{tensorflow}/include", "host.c", *libraries, "-o", "host"]
    subprocess.run(["gcc", *options, "-l:libtensorflow_framework.so.2"], cwd=tmp_path, check=True)
    bundle = tt.load_bundle(finished.folder / "saved_models" / "movielens-100k-portable")
    printed = subprocess.run(
        [tmp_path / "host", bundle.path, *names, "50"], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == bundle.similar("50").candidate_ids[0].tolist()


def test_the_lines_of_cpp_are_those_of_the_tested_host():
    host = (REPOSITORY / "tests" / "integration" / "hosts" / "host.cc").read_text(encoding="utf-8")
    (lines,) = blocks("docs/guides/hosts.md", "cpp")
    assert set(lines.splitlines()) <= set(host.splitlines())
