"""MovieLens 100K with Keras's own compile and fit: the README's script."""

import tfrs_twotower as tt  # isort: skip  # before TensorFlow: it sees to it that tf.keras is Keras 2
import tensorflow as tf

tf.keras.utils.set_random_seed(0)
ratings = tt.load_movielens("movielens/100k-ratings")
split = tt.random_split(ratings, test=0.2, validation=0.1, seed=0)
user = (tt.Categorical(name=name) for name in ("user_id", "gender", "occupation", "zip_code"))
age = tt.Bucketized(name="age", boundaries=(18, 25, 35, 45, 50, 56))
movie = (tt.Categorical(name="movie_id"), tt.Categorical(name="release_year"), tt.MultiCategorical(name="genres"))
model = tt.build_two_tower(
    split.train, query=tt.TowerConfig(features=(*user, age)), candidate=tt.TowerConfig(features=movie)
)
model.compile(optimizer=tt.LazyAdam(1e-3))
model.fit(
    model.training_batches(split.train, batch_size=1024, seed=0),
    validation_data=model.evaluation_batches(split.validation),
    epochs=100,
    callbacks=[tt.BestWeights("val_log_loss", mode="min", patience=6)],
)
report = tt.evaluate(model, split)
print(report.cases["model"])
print(tt.export_bundle(model, split.seen, "saved_models/movielens-100k", metrics=report.to_dict()))
