"""Experiment files: what is written is read as the same, and every mistake names the key and what to do."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfrs_twotower as tt
from tfrs_twotower.experiment import Experiment, format_experiment, parse_experiment, read_experiment
from tfrs_twotower.experiment.ranges import TuneSection
from tfrs_twotower.experiment.reading import SECTIONS
from tfrs_twotower.experiment.sections import FeaturesSection

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
COLUMNS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}x", fullmatch=True)
FLOATS = st.floats(0.01, 0.99)
WHOLE = st.integers(1, 10**6)
FEATURES = st.one_of(
    st.none(),
    st.builds(tt.Numeric, name=st.just("x"), log=st.booleans()),
    st.builds(tt.Categorical, name=st.just("x"), id_dropout=FLOATS, max_size=WHOLE, embedding_dim=WHOLE),
    st.builds(tt.Bucketized, name=st.just("x"), boundaries=st.just((1.0, 2.5, 1e30))),
    st.builds(tt.MultiCategorical, name=st.just("x"), pooling=st.sampled_from(["sum", "mean", "sqrtn"])),
    st.builds(tt.Hashed, name=st.just("x"), num_buckets=st.integers(2, 1000)),
)


def value_of(kind: str) -> st.SearchStrategy:
    """Returns values of a field by its annotation, as the source has it."""
    if "Literal" in kind:
        return st.sampled_from([part.strip(" '\"") for part in kind.partition("[")[2].partition("]")[0].split(",")])
    if "tuple" in kind:
        return st.lists(TEXTS, min_size=1, max_size=3).map(tuple)
    simple = {"int": WHOLE, "float": FLOATS, "bool": st.booleans(), "str": TEXTS}
    return simple[kind.removesuffix(" | None")]


def values_of(section: type) -> st.SearchStrategy:
    fields = {field.name: value_of(field.type) for field in dataclasses.fields(section)}
    if section.section == "split":
        return st.fixed_dictionaries({"kind": st.just("temporal"), "test": FLOATS, "validation": FLOATS})
    if section.section == "index":
        fields["kind"] = st.sampled_from(["auto", "scann", "portable"])
    required = {field.name for field in dataclasses.fields(section) if field.default is dataclasses.MISSING}
    if section.section == "data":
        required |= {"timestamp", "impressions"}
    if section.section == "training":
        required.add("start_from")  # without it, nothing can be dropped
    return st.fixed_dictionaries(
        {name: fields[name] for name in fields if name in required},
        optional={name: fields[name] for name in fields if name not in required},
    )


TUNE = TuneSection(model="rating_model", ranges={"output_dim": (8, 16), "dropout": {"min": 0.1, "max": 0.5}})


def features_of_side() -> st.SearchStrategy:
    def named(features: dict) -> dict:
        return {c: f if f is None else dataclasses.replace(f, name=c) for c, f in features.items()}

    return st.dictionaries(COLUMNS, FEATURES, max_size=3).map(named)


@st.composite
def experiments(draw) -> Experiment:
    source = draw(st.sampled_from(["data", "movielens"]))
    names = [name for name in SECTIONS if name not in ("data", "movielens", "features", "tune")]
    sections = {name: SECTIONS[name](**draw(values_of(SECTIONS[name]))) for name in [source, *names]}
    impossible = {"impression_weight": source == "movielens"}
    impossible["dislike_weight"] = sections["retrieval_model"].history_encoder is not None
    without = {name: None for name, is_impossible in impossible.items() if is_impossible}
    sections["training"] = dataclasses.replace(sections["training"], **without)
    features = FeaturesSection(**{side: draw(features_of_side()) for side in ("query", "candidate", "event")})
    return Experiment(**sections, features=features, tune=draw(st.none() | st.just(TUNE)))


@given(experiments())
def test_what_is_written_is_read_as_the_same(experiment):
    assert parse_experiment(format_experiment(experiment)) == experiment


def test_a_file_of_every_form_of_value_is_read(tmp_path):
    path = tmp_path / "shop.toml"
    path.write_text(
        """
        # A comment.
        [data]
        ratings = 'r\\1.csv'
        query_id = "Kunden-Nr."
        candidate_features = ["farbe", "größe"]

        [features.candidate]
        "größe" = { kind = "Bucketized", boundaries = [1, 2.5] }
        farbe = "leave out"

        [rating_model]
        train = false
        learning_rate = 1
        """,
        encoding="utf-8",
    )
    experiment = read_experiment(path)
    assert experiment.data == tt.experiment.DataSection(
        ratings="r\\1.csv", query_id="Kunden-Nr.", candidate_features=("farbe", "größe")
    )
    # TensorFlow cannot have an input that is called as the column is.
    size = tt.Bucketized(name="grosse", boundaries=(1.0, 2.5))
    assert experiment.features.candidate == {"größe": size, "farbe": None}
    assert experiment.rating_model == tt.experiment.RatingModelSection(train=False, learning_rate=1.0)
    assert isinstance(experiment.rating_model.learning_rate, float)


KEYS_OF_SPLIT = "Known: kind, test, validation, num_test, num_validation."
KINDS = "Bucketized, Categorical, Hashed, MultiCategorical, Numeric, PretrainedEmbedding, Text, Timestamp"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "[split]\nknd = 'random'",
            ValueError,
            f"The section `split` has no key `knd`. Did you mean `kind`? {KEYS_OF_SPLIT}",
        ),
        ("[split]\nzzz = 1", ValueError, f"The section `split` has no key `zzz`. {KEYS_OF_SPLIT}"),
        (
            "[ratingmodel]",
            ValueError,
            "There is no section `ratingmodel`. Did you mean `rating_model`? Known: data, movielens, split, features, "
            "retrieval_model, linear_part, rating_model, training, evaluation, index, export, card, tune.",
        ),
        ("seed = 3", ValueError, "The key `seed` must stand below its section, [training]."),
        (
            "epochs = 3",
            ValueError,
            "The key `epochs` must stand below its section, [retrieval_model] or [rating_model].",
        ),
        ("data = 'ratings.csv'", TypeError, "`data` must be a section, [data]. Received: 'ratings.csv'."),
        ("[data]\nrating = 'stars'", ValueError, "The section `data` must have the key `ratings`."),
        ("[data]\nratings = ''", ValueError, "`data.ratings` must be a text, not empty. Received: ''."),
        ("[data]\nratings = 2024-01-01", TypeError, "`data.ratings` must be a text, not empty. Received: "),
        (
            "[data]\nratings = 'r.csv'\nrepeats = 'first'",
            ValueError,
            "`data.repeats` must be one of 'keep', 'last', 'mean', 'sum', 'count'. Received: 'first'.",
        ),
        (
            "[data]\nratings = 'r.csv'\ncolumn_names = 'a,b'",
            TypeError,
            "`data.column_names` must be a list of texts, not empty. Received: 'a,b'.",
        ),
        ("[export]\nk = 'ten'", TypeError, "`export.k` must be a whole number, at least 1. Received: 'ten'."),
        ("[export]\nk = 1.5", TypeError, "`export.k` must be a whole number, at least 1. Received: 1.5."),
        ("[export]\nk = true", TypeError, "`export.k` must be a whole number, at least 1. Received: True."),
        ("[export]\nk = 0", ValueError, "`export.k` must be a whole number, at least 1. Received: 0."),
        ("[rating_model]\ntrain = 1", TypeError, "`rating_model.train` must be true or false. Received: 1."),
        (
            "[retrieval_model]\ndropout = 1.0",
            ValueError,
            "`retrieval_model.dropout` must be a number, at least 0 and less than 1. Received: 1.0.",
        ),
        (
            "[training]\nthreshold = inf",
            TypeError,
            "`training.threshold` must be a number. Received: inf.",
        ),
        (
            "[features.query]\nage = { kind = 'Bucketised' }",
            ValueError,
            f"`features.query.age.kind` must be one of {KINDS}. Received: 'Bucketised'. Did you mean `Bucketized`?",
        ),
        (
            "[features.query]\nage = { kind = 'Numeric', lgo = true }",
            ValueError,
            "`features.query.age.lgo` is not a setting of Numeric. Did you mean `log`? Known: log.",
        ),
        (
            "[features.query]\nage = { kind = 'Numeric', log = 'yes' }",
            TypeError,
            "`features.query.age.log` must be true or false. Received: 'yes'.",
        ),
        (
            "[features.query]\nage = { kind = 'Hashed' }",
            ValueError,
            "`features.query.age` must have the setting `num_buckets`, for Hashed.",
        ),
        (
            "[features.query]\nage = { kind = 'Hashed', num_buckets = 1 }",
            ValueError,
            "`features.query.age`: `num_buckets` of 'age' must be at least 2. Received: 1.",
        ),
        (
            "[features.query]\nage = 'Numeric'",
            TypeError,
            "`features.query.age` must be a table with a `kind`, or the text \"leave out\". Received: 'Numeric'.",
        ),
        (
            "[features.queries]\nage = 'leave out'",
            ValueError,
            "The section `features` has no part `queries`. Did you mean `query`? Known: query, candidate, event.",
        ),
        ("[features]\nquery = 3", TypeError, "`features.query` must be a section. Received: 3."),
        ("[data", ValueError, "An experiment must be written in TOML. Received: "),
        (
            "[training]\nseed = 1",
            ValueError,
            "An experiment must have either the section `data`, for a table of your own, or the section `movielens`. "
            "Received: neither.",
        ),
        ("[data]\nratings = 'r'\n[movielens]", ValueError, "Received: both."),
        (
            "[movielens]\n[split]\nkind = 'temporal'\nnum_test = 1",
            ValueError,
            "`split.num_test` does not belong to the split 'temporal', which has the keys test and validation. "
            "Received: 1.",
        ),
        (
            "[data]\nratings = 'r.csv'\n[split]\nkind = 'leave-last-out'",
            ValueError,
            "`data.timestamp` must name the column of times, because `split.kind` is 'leave-last-out'. Received: none.",
        ),
        (
            "[movielens]\n[index]\nkind = 'exact'\nrecall_at_10 = 0.9",
            ValueError,
            "`index.recall_at_10` must not be given for the exact index, which finds everything.",
        ),
    ],
)
def test_a_mistake_names_the_key_and_what_came(text, error, message):
    with pytest.raises(error) as raised:
        parse_experiment(text)
    assert type(raised.value) is error
    assert message in str(raised.value)


def test_errors_of_a_file_name_the_file(tmp_path):
    path = tmp_path / "shop.toml"
    with pytest.raises(FileNotFoundError, match="There is no experiment file at .*shop.toml"):
        read_experiment(path)
    path.write_bytes("[data]\nratings = 'Bücher.csv'".encode("latin-1"))
    with pytest.raises(ValueError, match="shop.toml must be a text file in UTF-8. Save it as UTF-8."):
        read_experiment(path)
    path.write_text("[data]\nk = 1")
    with pytest.raises(ValueError, match=r"shop.toml: The section `data` has no key `k`\."):
        read_experiment(path)


@pytest.mark.parametrize(
    ("ratings", "name"),
    [
        ("shop/ratings.csv", "ratings"),
        ("ratings.csv.gz", "ratings"),
        ("ml-100k/u.data", "u"),
        ("shop/events", "events"),
        ("v1.2.parquet", "v1.2"),
        (".csv", "model"),
    ],
)
def test_the_folder_of_versions_is_named_after_the_data(ratings, name):
    assert Experiment(data=tt.experiment.DataSection(ratings=ratings)).name == name


def test_the_folder_of_versions_of_movielens_is_named_after_the_data_set():
    movielens = tt.experiment.MovieLensSection()
    assert Experiment(movielens=movielens).directory.as_posix() == "saved_models/movielens-100k"
    named = tt.experiment.ExportSection(output="out", name="films")
    assert Experiment(movielens=movielens, export=named).directory.as_posix() == "out/films"
