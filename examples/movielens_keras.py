"""Trains the notebook's rating-only MLP towers on MovieLens 100K with Keras's own `compile` and `fit`.

A model that is trained on ratings alone predicts probabilities well and ranks the catalogue poorly, because it never
sees a movie that a user has not rated. `tfrs_twotower.choose_recipe` gives the default for a recommender.
"""

import tfrs_twotower as tt  # isort: skip  # before TensorFlow, so that tf.keras is Keras 2
import tensorflow as tf

tf.keras.utils.set_random_seed(0)
ratings = tt.load_movielens("movielens/100k-ratings")
split = tt.random_split(ratings, test=0.2, validation=0.1, seed=0)
user = [tt.Categorical(name=name) for name in ("user_id", "gender", "occupation", "zip_code")]
age = tt.Bucketized(name="age", boundaries=(18, 25, 35, 45, 50, 56))
movie = (tt.Categorical(name="movie_id"), tt.Categorical(name="release_year"), tt.MultiCategorical(name="genres"))
model = tt.build_two_tower(
    split.train,
    query=tt.MLPTowerConfig(features=(*user, age)),
    candidate=tt.MLPTowerConfig(features=movie),
)
model.compile(optimizer=tt.training.LazyAdam(1e-3))
model.fit(
    model.training_batches(split.train, batch_size=1024, seed=0),
    validation_data=model.evaluation_batches(split.validation),
    epochs=100,
    callbacks=[tt.training.BestWeights("val_log_loss", mode="min", patience=6)],
)
report = tt.evaluate(model, split)
print(report.metrics)
print(tt.export_bundle(model, split.seen, "saved_models/movielens-keras", metrics=report))
