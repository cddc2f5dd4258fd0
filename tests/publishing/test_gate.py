"""What a bundle must fulfil to be published."""

import pytest

import tfrs_twotower as tt
from tests.bundle.manifests import make_index_entry, make_manifest
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, MODEL_FILE
from tfrs_twotower.bundle.manifest import Manifest


def manifest(recall=None, **metrics) -> Manifest:
    """A manifest of an approximate index with these recalls, or else of an exact index."""
    return make_manifest(metrics=metrics, index=make_index_entry(is_exact=recall is None, recall=recall or {}))


def publish(directory, number, content: Manifest) -> None:
    folder = directory / str(number)
    (folder / EXTRA_FOLDER).mkdir(parents=True)
    content.write(folder)
    (folder / MODEL_FILE).touch()


@pytest.mark.parametrize(
    ("gate", "ours", "message"),
    [
        ({"index_recall": {10: 0.98}}, manifest({10: 0.97}), "the index's recall at 10 is 0.9700, less than 0.98"),
        ({"index_recall": {100: 0.9}}, manifest({10: 1.0}), "the index's recall at 100 was not measured"),
        ({"index_recall": {10: 0.9}}, manifest({10: float("nan")}), "the index's recall at 10 is nan, less than 0.9"),
        ({"metrics": {"auc": 0.01}}, manifest(auc=0.78), "auc is 0.7800, worse than version 2's 0.8000 by more"),
        ({"metrics": {"log_loss": 0.01}}, manifest(log_loss=0.52), "log_loss is 0.5200, worse than version 2's"),
        ({"metrics": {"f1": 0.01}}, manifest(auc=0.78), "f1 was not measured"),
        ({"metrics": {"auc": 0.0}}, manifest(auc=float("nan")), "auc is nan, worse"),
    ],
)
def test_what_is_worse_than_the_newest_measured_version_is_named(tmp_path, gate, ours, message):
    publish(tmp_path, 1, manifest(auc=0.9, log_loss=0.1))
    publish(tmp_path, 2, manifest(auc=0.8, log_loss=0.5))
    publish(tmp_path, 3, manifest())  # refreshed, so that its metrics were not measured
    with pytest.raises(tt.publishing.QualityError, match=message):
        tt.publishing.QualityGate(**gate).require(ours, tmp_path)


@pytest.mark.parametrize("ours", [manifest(auc=0.795, log_loss=0.505), manifest(auc=0.9, log_loss=0.1)])
def test_what_is_within_tolerance_or_better_passes(tmp_path, ours):
    publish(tmp_path, 1, manifest(auc=0.8, log_loss=0.5))
    gate = tt.publishing.QualityGate(
        index_recall={7: 1.0}, metrics={"auc": 0.01, "log_loss": 0.01}
    )  # an exact index finds every candidate
    gate.require(ours, tmp_path)


def test_the_first_version_is_not_compared(tmp_path):
    tt.publishing.QualityGate(metrics={"auc": 0.0}).require(manifest(auc=0.1), tmp_path / "none")


def test_a_withdrawn_version_is_not_compared_with(tmp_path):
    publish(tmp_path, 1, manifest(auc=0.7))
    publish(tmp_path, 2, manifest(auc=0.9))
    tt.publishing.rollback(tmp_path)
    tt.publishing.QualityGate(metrics={"auc": 0.0}).require(manifest(auc=0.75), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"index_recall": {10: 1.1}}, "`index_recall` must be in 0..1. Received for 10: 1.1"),
        ({"metrics": {"auc": -1}}, "`metrics` must give tolerances >= 0. Received for 'auc': -1"),
        ({"metrics": {"perplexity": 1}}, "`metrics` must be among auc, .*, mae. Received: 'perplexity'"),
    ],
)
def test_numbers_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tt.publishing.QualityGate(**arguments)
