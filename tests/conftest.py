"""Fixtures that several tests share: planted preferences, a model trained on them, its bundle, and MovieLens."""

import contextlib
import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt  # isort: skip  # before TensorFlow, so that tf.keras is Keras 2
import tensorflow as tf

from tests import forks
from tests.browser import find_browser
from tests.checks import without_check
from tests.tracing import collect_garbage_rarely, compute_in_blocks, optimize_graphs, record_no_stacks
from tfrs_twotower._locks import lock
from tfrs_twotower._scann import have_scann
from tfrs_twotower.bundle.build import Bundle, build_bundle, build_sides
from tfrs_twotower.data.splits import Split
from tfrs_twotower.index.kinds import build_exact_index
from tfrs_twotower.model.two_tower import TwoTowerModel

collect_garbage_rarely()
record_no_stacks()
# Programs that tests start optimise their graphs and build their bundles as users' do, unless the test says otherwise.
optimize_graphs(False)
compute_in_blocks(False)

#: Folders whose files take longest, some more than a minute. They come first, so that workers finish at about the same
#: time, instead of one of them beginning such a file when the others are done.
LONGEST = ("tests/docs/", "tests/integration/", "tests/publishing/", "tests/index/", "tests/bundle/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    # Where scann has wheels, and in CI, a test whose component is missing must fail instead of being skipped.
    is_ci = "CI" in os.environ
    absent = {}
    if not (have_scann() or sys.platform == "linux" or is_ci):
        absent["scann"] = "scann is not installed on this platform"
    if sys.platform != "linux" or not (shutil.which("g++") or is_ci):
        absent["compiler"] = "no g++ on this platform"
    if not (find_browser() or is_ci):
        absent["browser"] = "no Chromium: install the system's package `chromium`"
    if sys.platform != "linux":
        absent["linux"] = "only Linux tells in /proc what a process has loaded"
    if not (shutil.which("openssl") or is_ci):
        absent["openssl"] = "no openssl to make a certificate"
    for item in items:
        for marker, reason in absent.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planted:
    """Queries in even rows like candidates in even rows, and odd queries odd candidates: 5 stars, and 1 for the rest.

    Attributes:
        split: Of each query, the test part has one liked and three disliked candidates, the validation part one of
            each, and the training part the others.
        withheld: int [num_queries], the row of the liked candidate in each query's test part.
    """

    split: Split
    withheld: np.ndarray


def make_interactions(query_rows, candidate_rows, ratings, *, num_queries, num_candidates) -> tt.Interactions:
    rng = np.random.default_rng(0)
    return tt.Interactions(
        queries=pa.table(
            {
                "user_id": [f"u{row}" for row in range(num_queries)],
                "age": pa.array(rng.integers(10, 70, num_queries), pa.float32()),
            }
        ),
        candidates=pa.table(
            {
                "movie_id": [f"m{row}" for row in range(num_candidates)],
                "title": [f"Title {row}" for row in range(num_candidates)],
                "genres": [["Even"] if row % 2 == 0 else ["Odd", "Rare"] for row in range(num_candidates)],
            }
        ),
        events=pa.table(
            {
                "query_row": pa.array(query_rows, pa.int32()),
                "candidate_row": pa.array(candidate_rows, pa.int32()),
                "rating": pa.array(ratings, pa.float32()),
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
        source="planted",
    )


QUERY = tt.MLPTowerConfig(
    features=(tt.Categorical(name="user_id"), tt.Bucketized(name="age", boundaries=(20, 40, 60))),
    embedding_dim=8,
    hidden_units=(16,),
    output_dim=8,
    dropout=0.0,
)
CANDIDATE = tt.MLPTowerConfig(
    features=(tt.Categorical(name="movie_id"), tt.MultiCategorical(name="genres")),
    embedding_dim=8,
    hidden_units=(16,),
    output_dim=8,
    dropout=0.0,
)


def make_planted(num_queries: int = 40, num_candidates: int = 24) -> Planted:
    rng = np.random.default_rng(1)
    rows = {"train": [], "validation": [], "test": []}
    withheld = np.empty(num_queries, np.int64)
    for query in range(num_queries):
        candidates = rng.permutation(num_candidates)
        liked, disliked = candidates[candidates % 2 == query % 2], candidates[candidates % 2 != query % 2]
        withheld[query] = liked[0]
        parts = {
            "test": [liked[0], *disliked[:3]],
            "validation": [liked[1], disliked[3]],
            "train": [*liked[2:], *disliked[4:]],
        }
        for part, values in parts.items():
            rows[part] += [(query, candidate) for candidate in values]

    def part(name: str) -> tt.Interactions:
        pairs = np.array(rows[name])
        ratings = np.where(pairs[:, 0] % 2 == pairs[:, 1] % 2, 5.0, 1.0)
        return make_interactions(*pairs.T, ratings, num_queries=num_queries, num_candidates=num_candidates)

    train = part("train")
    split = Split(
        train=train, validation=part("validation"), test=part("test"), history=train.with_events(np.zeros(0, np.int64))
    )
    return Planted(split=split, withheld=withheld)


@pytest.fixture(scope="session")
def planted() -> Planted:
    return make_planted()


@pytest.fixture(scope="session")
def trained(planted: Planted) -> TwoTowerModel:
    tf.keras.utils.set_random_seed(0)
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    training = tt.training.EventTraining(epochs=40, batch_size=64, learning_rate=5e-3, patience=40)
    tt.fit_two_tower(model, planted.split, seed=0, training=training)
    return model


def bundle_of(model, known: tt.Interactions, build_index=build_exact_index, *, k: int, **options) -> Bundle:
    """Builds a bundle in memory, as `export_bundle` does."""
    sides = build_sides(model, known, **options)
    return build_bundle(sides, known.candidates, sides.embed(known.candidates), build_index, k=k)


def export_version(model, known: tt.Interactions, directory, *, metrics=None, gate=None, keep=None, **config) -> Path:
    """Calls `export_bundle` with the settings of an `ExportConfig` as arguments, for no twin and no filters."""
    config = tt.ExportConfig(**{"with_portable": False, "filter_by": (), **config})
    return tt.export_bundle(model, known, directory, config=config, metrics=metrics, gate=gate, keep=keep)


def export_unchecked(*arguments, **options) -> Path:
    """Calls `export_version` without the check in a fresh process."""
    with without_check():
        return export_version(*arguments, **options)


@contextlib.contextmanager
def with_blocks() -> Iterator[None]:
    """Bundles that are built in this context compute large batches in blocks."""
    compute_in_blocks(True)
    try:
        yield
    finally:
        compute_in_blocks(False)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Leaves out the check in a fresh process of everything that a test publishes."""
    with without_check():
        yield


@pytest.fixture(scope="session")
def bundle_path(planted: Planted, trained: TwoTowerModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published version with the exact index and k = 10."""
    directory = tmp_path_factory.mktemp("saved_models") / "planted"
    return export_unchecked(trained, planted.split.seen, directory, k=10, build_index=build_exact_index)


@pytest.fixture(scope="session")
def choices():
    """Events whose choice depends on the hour and the device."""
    from tests.contexts import make_choices

    return make_choices()


@pytest.fixture(scope="session")
def contextual(choices):
    """The default recipe, trained on these events for six epochs."""
    recipe = tt.choose_recipe(choices.split.train).with_settings(epochs=6)
    return tt.fit_recipe(recipe, choices.split, seed=0)


@pytest.fixture(scope="session")
def contextual_path(choices, contextual, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its published version, which recommends what a query has seen again."""
    directory = tmp_path_factory.mktemp("saved_models") / "choices"
    options = {"k": 10, "build_index": build_exact_index, "recommend_seen": True}
    return export_unchecked(contextual.model, choices.split.seen, directory, **options)


@pytest.fixture(scope="session")
def every_kind_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with every kind of feature on both sides, without the files beside it."""
    from tests.every_kind import build_every_kind

    path = tmp_path_factory.mktemp("every_kind") / "1"
    with with_blocks():
        build_every_kind().save(path)
    return path


@pytest.fixture(scope="session")
def every_kind(every_kind_path: Path):
    """The same as any program loads it; one object has all that the signatures need."""
    return tf.saved_model.load(str(every_kind_path))


def shared_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of this test run, which all processes of pytest share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def demo(movielens_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Returns a folder in which the demo's command has run, with TensorBoard's `logs`, trained for two epochs."""
    folder = shared_by_workers(tmp_path_factory) / "demo"
    arguments = ["-m", "tfrs_twotower.cli", "train", "--epochs", "2", "--logs", "logs"]

    def train() -> Path:
        folder.mkdir(exist_ok=True)
        with lock(folder):
            if not (folder / "done").exists():
                environment = {**os.environ, "TFDS_DATA_DIR": str(movielens_dir)}
                forks.start(arguments, folder=folder, environment=environment).finish()
                (folder / "done").touch()
        return folder

    return train


@pytest.fixture(scope="session")
def movielens_dir(pytestconfig: pytest.Config) -> Path:
    """A TFDS data folder with MovieLens 100K, kept in pytest's cache from one run to the next."""
    from tfrs_twotower.movielens.prepare import prepare_movielens

    data_dir = Path(pytestconfig.cache.mkdir("movielens"))
    with lock(data_dir):  # pytest may run in several processes
        prepare_movielens(data_dir=data_dir)
    return data_dir
