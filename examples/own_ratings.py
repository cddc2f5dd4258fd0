"""Trains and exports the default model on a shop's own ratings: ratings.csv and catalogue.parquet."""

import tfrs_twotower as tt

schema = tt.Schema(query_id="customer", candidate_id="sku", rating="stars", timestamp="when")
ratings = tt.load_ratings("ratings.csv", schema, candidates="catalogue.parquet")
split = tt.temporal_split(ratings, test=0.2, validation=0.1)
recipe = tt.choose_recipe(split.train)
print(recipe)
trained = tt.fit_recipe(recipe, split, seed=0)
report = tt.evaluate(trained.model, split)
print(report.metrics)
path = tt.export_bundle(trained.model, split.seen, "saved_models/shop", metrics=report, recipe=trained.recipe)
print(tt.load_bundle(path).recommend({"customer": ["c7"]}, k=5).candidate_ids)
