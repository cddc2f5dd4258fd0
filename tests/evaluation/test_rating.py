import numpy as np
import pytest

from tfrs_twotower.evaluation.rating import ConfusionMatrix, confusion_matrix, rating_metrics

LABELS = np.array([True, True, True, False, False])
PROBABILITIES = np.array([0.9, 0.8, 0.3, 0.6, 0.1])


def test_a_case_by_hand():
    values = rating_metrics(LABELS, PROBABILITIES)
    assert values["accuracy"] == pytest.approx(3 / 5)
    # There are 6 pairs of a positive and a negative event; 5 are in the right order (0.3 and 0.6 are not).
    assert values["auc"] == pytest.approx(5 / 6)
    # 2 true positives, 1 false positive, 1 false negative: 2 * 2 / (2 * 2 + 1 + 1)
    assert values["f1"] == pytest.approx(4 / 6)
    assert values["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.3, 0.4, 0.9]).mean())


def test_the_confusion_matrix_names_its_cells():
    assert confusion_matrix(LABELS, PROBABILITIES) == ConfusionMatrix(
        true_positives=2, false_positives=1, false_negatives=1, true_negatives=1
    )


def test_predictions_of_a_single_class_still_give_all_four_counts():
    matrix = confusion_matrix(LABELS, np.ones(5))
    assert matrix == ConfusionMatrix(true_positives=3, false_positives=2, false_negatives=0, true_negatives=0)


@pytest.mark.parametrize(("label", "word"), [(True, "positive"), (False, "negative")])
def test_labels_of_a_single_class_are_an_error_and_not_nan(label, word):
    with pytest.raises(ValueError, match=f"`labels` must contain both classes. Received: 3 labels, all {word}"):
        rating_metrics(np.full(3, label), np.full(3, 0.5))
