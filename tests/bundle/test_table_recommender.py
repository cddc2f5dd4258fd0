"""A function that a framework can send to other processes, where it loads a bundle once."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tfrs_twotower.bundle import table_recommender as module


def test_copies_and_threads_load_the_bundle_once_and_recommend_what_it_does(monkeypatch, bundle_path):
    loaded = []

    def load(path):
        loaded.append(path)
        return tt.load_bundle(path)

    monkeypatch.setattr(module, "load_bundle", load)
    module._load_once.cache_clear()
    data = pickle.dumps(tt.bundle.TableRecommender(bundle_path, k=3))
    table = pa.table({"user_id": ["u0", "u1", "stranger"]})
    with ThreadPoolExecutor(4) as threads:
        copies = [pickle.loads(data) for _ in range(4)]
        found = list(threads.map(lambda recommend: recommend(table), copies))
    assert loaded == [bundle_path]
    expected = tt.load_bundle(bundle_path).recommend_table(table, k=3)
    assert found == [expected] * 4


def test_a_folder_of_versions_is_refused(bundle_path):
    recommend = tt.bundle.TableRecommender(bundle_path.parent)
    with pytest.raises(ValueError, match=f"`path` must be a version's folder, such as {bundle_path}. Received: "):
        recommend(pa.table({"user_id": ["u0"]}))
