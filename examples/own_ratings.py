"""Trains and exports the default model on a shop's own ratings: ratings.csv and catalogue.parquet."""

import tfrs_twotower as tt  # isort: skip  # before TensorFlow, so that tf.keras is Keras 2
import tensorflow as tf

tf.keras.utils.set_random_seed(0)
schema = tt.Schema(
    query_id="customer", candidate_id="sku", rating="stars", timestamp="when", candidate_features=("category", "price")
)
ratings = tt.load_ratings("ratings.csv", schema, candidates="catalogue.parquet")
split = tt.temporal_split(ratings, test=0.2, validation=0.1)
model = tt.build_joint(split.seen)
tt.fit_joint(model, split.seen, seed=0)
report = tt.evaluate(model, split)
print(report.metrics)
path = tt.export_bundle(model, split.seen, "saved_models/shop", metrics=report)
print(tt.load_bundle(path).recommend({"customer": ["c7"]}, k=5).candidate_ids)
