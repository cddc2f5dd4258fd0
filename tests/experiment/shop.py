"""The files of a small shop: each customer likes one category of items."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

CATEGORIES = ("books", "garden", "toys")
NUM_CUSTOMERS, NUM_ITEMS, NUM_EVENTS = 30, 24, 600


def write_shop(folder: Path) -> Path:
    """Writes `ratings.csv`, `items.parquet` and `customers.csv`, and returns the folder."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(NUM_CUSTOMERS * NUM_ITEMS)[:NUM_EVENTS]
    customers, items = pairs // NUM_ITEMS, pairs % NUM_ITEMS
    stars = np.where(customers % 3 == items % 3, rng.integers(4, 6, NUM_EVENTS), rng.integers(1, 3, NUM_EVENTS))
    days = np.datetime64("2024-01-01") + np.sort(rng.integers(0, 300, NUM_EVENTS))
    lines = [f"c{c},{i:03d},{s},{d}" for c, i, s, d in zip(customers, items, stars, days, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ratings.csv").write_text("customer,sku,stars,when\n" + "\n".join(lines) + "\n")
    catalogue = {
        "sku": [f"{item:03d}" for item in range(NUM_ITEMS)],
        "title": [f"Item {item}" for item in range(NUM_ITEMS)],
        "kind": [CATEGORIES[item % 3] for item in range(NUM_ITEMS)],
    }
    pyarrow.parquet.write_table(pa.table(catalogue), folder / "items.parquet")
    ages = "".join(f"c{customer},{'young' if customer % 2 else 'old'}\n" for customer in range(NUM_CUSTOMERS))
    (folder / "customers.csv").write_text("customer,age\n" + ages)
    return folder
