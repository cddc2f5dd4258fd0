"""The model card says what is known, and what is not."""

import pytest

from tests.bundle.manifests import make_index_entry, make_manifest
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.bundle.model_card import build_model_card
from tfrs_twotower.bundle.model_entry import CardDetails, DataSource, QuerySchema, SideSchema
from tfrs_twotower.evaluation.intervals import Interval
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.evaluation.segments import Segment


def make_report(**changes) -> Report:
    segments = [
        Segment(name="1 to 9 events", num=30, values={"ndcg@10": 0.125}),
        Segment(name="10 or more | events", num=10, values={"ndcg@10": 0.5}),
    ]
    fields = {
        "cases": {"model": {"ndcg@10": 0.25, "num_queries": 40.0}, "popularity": {"ndcg@10": 0.2}},
        "intervals": {"ndcg@10": Interval(mean=0.25, low=0.225, high=0.275)},
        "above_popularity": {},
        "beyond_accuracy": {"coverage": 0.5},
        "by_history": segments,
        "by_feature": {"age": [Segment(name=str(age), num=1, values={"ndcg@10": age / 100}) for age in range(15, 35)]},
        "by_popularity": [Segment(name="0 to 10 %", num=9, values={"share": 0.75})],
        "confusion": None,
        "num_events": 1600,
        "num_left_out": 0,
    }
    return Report(**{**fields, **changes})


def test_the_card_has_the_figures_their_intervals_and_the_baselines():
    card = build_model_card(make_manifest(), make_report(), name="films")
    assert card.startswith("# films\n")
    assert "| metric | model | interval | popularity |\n| --- | --- | --- | --- |\n" in card
    assert "| `ndcg@10` | 0.2500 | 0.2250 to 0.2750 | 0.2000 |" in card
    assert "num_queries" not in card
    assert "Measured on the 1,600 events of the test part." in card
    assert "| 10 or more \\| events | 10 | 0.5000 |" in card
    assert "8 smaller groups are left out." in card
    assert (
        "- By the number of past events, `ndcg@10` is lowest for 1 to 9 events: 0.125 on average over 30 queries."
        in card
    )
    assert (
        "- The most popular tenth of the candidates takes 75% of the recommendations, and 50% of the catalogue" in card
    )
    assert "ranks worse" not in card


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    card = build_model_card(make_manifest(), make_report(), name="films")
    tables = [block for block in card.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize("baseline", ["popularity", "recent popularity"])
def test_a_model_below_popularity_is_said_to_be(baseline):
    report = make_report(cases={"model": {"ndcg@10": 0.25}, baseline: {"ndcg@10": 0.3}})
    card = build_model_card(make_manifest(), report, name="films")
    assert f"- **The model ranks worse than {baseline}.**" in card


def test_what_nobody_said_is_not_made_up():
    card = build_model_card(make_manifest(), None, name="films")
    for title in ("Intended use", "Contact", "Licence", "Split"):
        assert f"- {title}: not stated\n" in card
    assert "Remarks" not in card


def test_what_people_say_is_shown_as_they_wrote_it():
    details = CardDetails(
        intended_use="Films\n# for <all> | some",
        contact="a_b@example.com",
        data_licence="CC0",
        split="by *time*",
        remarks="!",
    )
    manifest = make_manifest(card=details, data=DataSource(source="a\x1b`b`.csv", fingerprint="00ff"))
    assert Manifest.from_dict(manifest.to_dict()) == manifest
    card = build_model_card(manifest, None, name="films")
    assert "- Intended use: Films \\# for \\<all\\> \\| some\n" in card
    assert "- Contact: a\\_b@example.com\n" in card
    assert "- Licence: CC0\n" in card
    assert "- Split: by \\*time\\*\n" in card
    assert "- Remarks: !\n" in card
    assert "- Source: a\\\\x1b\\`b\\`.csv\n" in card


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"metrics": {"auc": 0.8}}, "| `auc` | 0.8000 |"),
        ({"metrics": {}}, "The model was not evaluated."),
        ({"metrics": {}, "refreshed_from": "3"}, "The card of that version has its figures."),
    ],
)
def test_without_a_report_the_card_has_what_the_manifest_has(changes, figures):
    assert figures in build_model_card(make_manifest(**changes), None, name="films")


@pytest.mark.parametrize(
    ("changes", "said", "not_said"),
    [
        ({"has_probabilities": True}, "A probability is meant for pairs", None),
        ({"has_probabilities": False}, "ranks a catalogue of candidates for a query. ", "probability"),
        ({}, "what suits the history in its request", "takes no history"),
        (
            {
                "query": QuerySchema(
                    id="u", features=({"kind": "Numeric", "name": "age"},), inputs=(), histories=(), ratings_of={}
                )
            },
            "The model takes no history",
            "history in its request",
        ),
        ({}, "ranked blindly", "its features alone.\n"),
        (
            {"candidate": SideSchema(id="m", features=({"kind": "Text", "name": "title"},), inputs=())},
            "is ranked by its features alone",
            "ranked blindly",
        ),
        (
            {"index": make_index_entry(kind="scann", is_exact=False, recall={10: 0.987})},
            "98.7% of the 10 best",
            "exact",
        ),
        (
            {"recipe": {"retrieval": {"output_dim": 64, "epochs": 7}, "rating": None}},
            "64 dimensions and was trained for 7",
            None,
        ),
        ({"recipe": {"threshold_reason": "Every event is positive."}}, "is positive. Every event is positive.", None),
    ],
)
def test_the_limits_are_those_of_the_model(changes, said, not_said):
    card = build_model_card(make_manifest(**changes), None, name="films")
    assert said in card
    assert not_said is None or not_said not in card


def test_details_must_be_texts():
    with pytest.raises(TypeError, match="`contact` of a model card must be a text. Received: 7."):
        CardDetails(contact=7)
