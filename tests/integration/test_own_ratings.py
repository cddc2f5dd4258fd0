"""The example for a user's own ratings, run unchanged."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import tfrs_twotower as tt

SCRIPT = Path(__file__).parents[2] / "examples" / "own_ratings.py"
CATEGORIES = ("books", "garden", "toys")


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A folder with ratings.csv and catalogue.parquet. Each customer likes one category; some items have no rating."""
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
    result = subprocess.run(
        [sys.executable, SCRIPT], cwd=folder, env=os.environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    (folder / "output.txt").write_text(result.stdout)
    return folder


def test_it_trains_evaluates_and_exports(shop):
    manifest = tt.bundle.Manifest.read(shop / "saved_models" / "shop" / "1")
    assert manifest.num_candidates == 99
    assert manifest.model.metrics["auc"] > 0.95
    assert manifest.model.data.source == "ratings.csv"


def test_it_recommends_what_the_customer_likes(shop):
    recommended = re.findall(r"'(\d{3})'", (shop / "output.txt").read_text())
    assert len(recommended) == 5
    # Customer 7 likes the items whose numbers leave the remainder 1.
    assert sum(int(sku) % 3 == 1 for sku in recommended) >= 4
