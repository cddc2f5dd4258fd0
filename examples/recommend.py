"""Loads the bundle that scripts/demo published, and recommends movies to known and unknown users."""

import tfrs_twotower as tt

bundle = tt.load_bundle("saved_models/movielens-100k")
print(bundle.recommend({"user_id": "42"}, k=10).candidate_ids)
print(bundle.recommend({"user_id": ["42", "7"]}, k=10, exclude=[["50"], ["172", "181"]]).candidate_ids)

# A user who is unknown to the bundle, described by a history of rated movies:
print(bundle.recommend({"history": [["50", "172"]], "history_rating": [[5.0, 4.0]]}, k=10).candidate_ids)

print(bundle.similar("50", k=5).candidate_ids)
print(bundle.score({"user_id": ["42"]}, ["50"]).probabilities)
