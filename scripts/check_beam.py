"""Checks that a pipeline of Apache Beam recommends what a bundle recommends, and loads it in the workers.

It is run before a release of this library, in an environment with the extra `beam`. CI does without Beam, which brings
190 MB of packages and holds back those of Arrow and Protocol Buffers.

    python scripts/check_beam.py saved_models/movielens-100k/1
"""

import argparse
import tempfile
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

import tfrs_twotower as tt
from tfrs_twotower.bundle.layout import find_version

_NUM_QUERIES, _ROWS_PER_GROUP = 1000, 100


def main() -> None:
    """Runs the pipeline, and fails if a row differs from what the bundle recommends here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a version's folder, or the folder of all versions")
    bundle = tt.load_bundle(find_version(parser.parse_args().bundle).absolute())
    id_column = bundle.manifest.model.query.id
    queries = pa.table({id_column: [str(number) for number in range(_NUM_QUERIES)]})
    expected = bundle.recommend_table(queries, k=10)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(queries, f"{folder}/queries.parquet", row_group_size=_ROWS_PER_GROUP)
        with beam.Pipeline() as pipeline:
            (
                pipeline
                | beam.io.ReadFromParquetBatched(f"{folder}/queries.parquet")
                | beam.Map(tt.bundle.TableRecommender(bundle.path, k=10))
                | beam.io.WriteToParquetBatched(f"{folder}/found", expected.schema, file_name_suffix=".parquet")
            )
        found = pa.concat_tables(map(pq.read_table, sorted(Path(folder).glob("found*.parquet"))))
    if sorted(found.to_pylist(), key=lambda row: int(row[id_column])) != expected.to_pylist():
        raise SystemExit("The pipeline recommends something else than the bundle.")
    print(f"Apache Beam {beam.__version__}: the recommendations for {_NUM_QUERIES:,} queries are the same.")


if __name__ == "__main__":
    main()
