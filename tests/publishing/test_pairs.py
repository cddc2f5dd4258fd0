"""A bundle that needs ScaNN and its portable twin: one number, one export id, whatever happens to them."""

import multiprocessing
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.publishing.folders import accept, export_ids, publication, publish_one, publish_pair
from tfrs_twotower.bundle.layout import find_version, portable_twin, versions
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.publishing.pairs import hold, require_no_twins, require_place
from tfrs_twotower.publishing.publish import publish
from tfrs_twotower.publishing.tensorflow_serving import serving_config
from tfrs_twotower.publishing.versions import list_versions, rollback


@pytest.fixture
def shop(tmp_path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def twin(tmp_path) -> Path:
    return tmp_path / "shop-portable"


def test_a_pair_has_one_number_and_one_export_id_wherever_the_twin_stood(shop, twin):
    publish_one(shop)
    for _ in range(3):
        publish_one(twin)
    assert publish_pair(shop, "first") == shop / "4"
    assert (Manifest.read(shop / "4").export_id, Manifest.read(twin / "4").export_id) == ("first", "first")
    assert not Manifest.read(shop / "4").is_twin
    assert Manifest.read(twin / "4").is_twin


def test_a_refused_twin_keeps_its_bundle_from_appearing(shop, twin):
    def refuse_twin(folders: Sequence[Path]) -> None:
        assert [folder.parent for folder in folders] == [shop, twin]
        raise RuntimeError("not fit")

    publish_pair(shop, "first")
    pair = [publication(folder, export_id="second", is_twin=folder == twin) for folder in (shop, twin)]
    with pytest.raises(RuntimeError, match="not fit"):
        publish(pair, refuse_twin)
    assert export_ids(shop) == export_ids(twin) == {1: "first"}
    assert [path.name for folder in (shop, twin) for path in folder.iterdir()] == ["1", "1"]


def test_a_rollback_reaches_the_twin(shop, twin):
    for export_id in ("first", "second", "third"):
        publish_pair(shop, export_id)
    rollback(shop, to=1)
    assert export_ids(shop) == export_ids(twin) == {1: "first"}
    assert [version.is_withdrawn for version in list_versions(twin)] == [False, True, True]
    assert publish_pair(shop, "fourth").name == "4"
    assert export_ids(shop) == export_ids(twin) == {1: "first", 4: "fourth"}


def test_a_rollback_that_would_overwrite_a_withdrawn_twin_changes_nothing(shop, twin):
    for export_id in ("first", "second"):
        publish_pair(shop, export_id)
    (twin / ".withdrawn-2").mkdir()
    with pytest.raises(FileExistsError, match="shop-portable/.withdrawn-2 already exists"):
        rollback(shop)
    assert export_ids(shop) == export_ids(twin) == {1: "first", 2: "second"}


def test_old_versions_are_removed_from_both(shop, twin):
    for export_id in ("first", "second", "third"):
        publish_pair(shop, export_id)
    rollback(shop)
    publish_pair(shop, "fourth", keep=1)
    for folder in (shop, twin):
        assert sorted(path.name for path in folder.iterdir()) == [".withdrawn-3", "2", "4"]
    publish_pair(shop, "fifth", keep=1)
    for folder in (shop, twin):
        assert sorted(path.name for path in folder.iterdir()) == ["4", "5"]


def test_another_bundle_in_the_twins_place_is_neither_removed_nor_replaced(shop, twin):
    for export_id in ("own", "other"):
        publish([publication(twin, export_id=export_id, is_twin=False)], accept)
    for _ in range(4):
        publish_one(shop, keep=1)
    rollback(shop)
    assert export_ids(twin) == {1: "own", 2: "other"}
    with pytest.raises(ValueError, match="shop-portable holds another bundle, where the portable twin of .* would go"):
        require_place(shop, with_portable=True)
    require_place(shop, with_portable=False)


def test_twins_change_only_with_their_bundle(shop, twin):
    publish_pair(shop, "first")
    publish_pair(shop, "second")
    for change in (require_no_twins, rollback):
        with pytest.raises(ValueError, match="shop-portable holds the portable twins of .*/shop, and changes only"):
            change(twin)
    with pytest.raises(ValueError, match="`with_portable` must be True: a server of .*shop-portable would go on"):
        require_place(shop, with_portable=False)


def test_twins_that_were_copied_elsewhere_are_bundles_of_their_own(shop, tmp_path):
    publish_pair(shop, "first")
    (tmp_path / "shop-portable").rename(tmp_path / "stock")
    require_no_twins(tmp_path / "stock")


def test_a_link_to_a_bundle_has_its_twin(shop, tmp_path):
    publish_pair(shop, "first")
    (tmp_path / "current").symlink_to(shop)
    assert portable_twin(tmp_path / "current") == (tmp_path / "shop-portable").resolve()


def test_a_server_is_not_given_a_twin_that_is_behind(shop, twin):
    publish_pair(shop, "first")
    assert "/models/shop-portable" in serving_config([shop]).files["models.config"]
    publish([publication(shop, export_id="second", is_twin=False, needs_scann=True)], accept)
    with pytest.raises(ValueError, match="shop-portable is behind .*/shop: .* Publish again, which renews both"):
        serving_config([shop])
    publish_pair(shop, "third")
    assert "/models/shop-portable" in serving_config([shop]).files["models.config"]


# Publishes pairs, or takes them back, until it is killed. It prints a line when it begins.
PUBLISHER = """
import sys, uuid
from pathlib import Path
from tests.publishing.folders import publish_pair
from tfrs_twotower.publishing.versions import rollback

work, shop = sys.argv[1], Path(sys.argv[2])
print("ready", flush=True)
while True:
    if work == "publish":
        publish_pair(shop, uuid.uuid4().hex, keep=1)
    else:
        try:
            rollback(shop)
        except ValueError:
            publish_pair(shop, uuid.uuid4().hex)  # there was only one version left
"""


def _read(shop: Path, stopped, failures) -> None:
    """Reads the newest version of both folders again and again."""
    while not stopped.is_set():
        for folder in (shop, portable_twin(shop)):
            version = find_version(folder)
            try:
                accept([version])
                Manifest.read(version)
            except FileNotFoundError as error:
                if version.exists():  # a version that vanished is no half version: the reader takes the newest again
                    failures.put(repr(error))
            except Exception as error:
                failures.put(repr(error))


@pytest.mark.parametrize("work", ["publish", "rollback"])
def test_killed_publishers_leave_no_pair_apart_and_no_reader_without_a_version(shop, twin, work):
    """Four publishers, one of which is killed every time, and a reader beside them."""
    publish_pair(shop, "first")
    generator, context = random.Random(0), multiprocessing.get_context("spawn")
    stopped, failures = context.Event(), context.Queue()
    reader = context.Process(target=_read, args=(shop, stopped, failures))
    reader.start()

    def start(work: str) -> subprocess.Popen:
        publisher = subprocess.Popen([sys.executable, "-c", PUBLISHER, work, str(shop)], stdout=subprocess.PIPE)
        publisher.stdout.readline()
        return publisher

    publishers = [start(work if number % 2 == 0 else "publish") for number in range(4)]
    try:
        for _ in range(_NUM_KILLED):
            time.sleep(generator.uniform(0, 0.2))
            publishers[0].kill()
            publishers[0].communicate()
            publishers = [*publishers[1:], start(work if len(publishers) % 2 == 0 else "publish")]
    finally:
        for publisher in publishers:
            publisher.kill()
            publisher.communicate()
    newest = publish_pair(shop, "last")
    stopped.set()
    reader.join(60)
    assert (reader.exitcode, failures.empty()) == (0, True)
    ids = export_ids(shop)
    assert export_ids(twin) == ids
    assert ids[int(newest.name)] == "last"
    # Nothing else is left: neither records, nor folders that were being written.
    for folder in (shop, twin):
        left = [path.name for path in folder.iterdir() if not path.name.startswith(".withdrawn-")]
        assert sorted(left, key=int) == [str(number) for number in versions(folder)]
    with hold(shop):
        pass


_NUM_KILLED = 30
