"""What `tfrs-twotower train` writes: a report for people, and metrics that its bundle keeps."""

import itertools
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import forks
from tests.browser import SCREENS, find_faults, open_browser, open_on, tab_through
from tfrs_twotower.bundle.layout import REPORT_FILE
from tfrs_twotower.evaluation.build import build_report
from tfrs_twotower.evaluation.html.page import build_page
from tfrs_twotower.evaluation.predictions import Predictions

pytestmark = pytest.mark.movielens

# Pixels of the smallest text of a page, in pictures as they are scaled.
SMALLEST_TEXT = """() => Math.min(...[...document.querySelectorAll("main *, header *")]
  .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
  .map((element) => {
    const picture = element.closest("svg");
    const scale = picture ? picture.getBoundingClientRect().width / picture.viewBox.baseVal.width : 1;
    return scale * parseFloat(getComputedStyle(element).fontSize);
  }))"""
EVALUATE = """
import json, sys
import tfrs_twotower as tt
split = tt.random_split(tt.load_movielens(data_dir=sys.argv[2]), seed=0)
print(json.dumps(tt.bundle.evaluate_bundle(tt.load_bundle(sys.argv[1]), split).to_dict()))
"""


@pytest.fixture(scope="module")
def version(demo) -> Path:
    """The folder of the version."""
    return demo() / "saved_models" / "movielens-100k" / "1"


def test_the_bundle_keeps_the_metrics_of_its_model(version, movielens_dir):
    """Evaluated by its own signatures in a fresh process, the bundle has the same metrics to six digits."""
    output = forks.start(["-c", EVALUATE, version, movielens_dir], as_for_users=False).finish()
    measured = json.loads(output.splitlines()[-1])
    reported = json.loads((version / "assets.extra" / "metrics.json").read_text(encoding="utf-8"))
    manifest = json.loads((version / "assets.extra" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["metrics"] == reported["cases"]["model"]
    assert set(measured["cases"]) == {"model", "all-positive", "random", "popularity", "recent popularity", "biases"}
    for case, figures in reported["cases"].items():
        assert measured["cases"][case] == pytest.approx(figures, abs=1e-6), case
    for name, interval in reported["intervals"].items():
        assert measured["intervals"][name] == pytest.approx(interval, abs=1e-6), name


def test_tensorboard_finds_curves_and_the_catalogue(version):
    logs = version.parents[2] / "logs"
    assert len((logs / "metadata.tsv").read_text(encoding="utf-8").splitlines()) == 1 + 1682
    assert (logs / "projector_config.pbtxt").is_file()  # in the root, where TensorBoard looks
    for model, metric in (("retrieval", "epoch_softmax_loss"), ("rating", "epoch_auc")):
        (events,) = (logs / model / "train").glob("events.out.tfevents.*")
        tags = [
            value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value
        ]
        assert tags.count(metric) == 2


@pytest.fixture(scope="module")
def retrieval_only(planted, tmp_path_factory) -> Path:
    """The report of a model without probabilities, vectors and curves, which ranks candidates by their rows."""
    split = planted.split
    ranked = np.tile(np.arange(3, dtype=np.int32), (split.test.num_queries, 1))
    predictions = Predictions(ranked=ranked, probabilities=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is worse than popularity
        report = build_report(predictions, split, threshold=3)
    path = tmp_path_factory.mktemp("retrieval_only") / "report.html"
    path.write_text(build_page(report, predictions, split, threshold=3), encoding="utf-8")
    return path


@pytest.mark.browser
def test_reports_are_accessible_and_fit_the_screen(version, retrieval_only):
    with open_browser() as browser:
        for (size, scheme), (path, num_pictures) in itertools.product(
            SCREENS, ((version / REPORT_FILE, 10), (retrieval_only, 2))
        ):
            page = open_on(browser, size, scheme)
            heard = []
            page.on("console", lambda message, heard=heard: heard.append(message.text))
            page.on("request", lambda request, heard=heard: heard.append(request.url))
            page.goto(path.as_uri())
            assert heard == [path.as_uri()]
            assert tab_through(page) == []
            page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
            assert find_faults(page) == []
            widths = [picture.bounding_box()["width"] for picture in page.locator("figure svg").all()]
            assert len(widths) >= num_pictures
            assert min(widths) > 300
            assert page.evaluate(SMALLEST_TEXT) >= 13
            folder = os.environ.get("SCREENSHOTS")
            if folder:
                page.screenshot(path=Path(folder) / f"{path.parent.name}-{size[0]}-{scheme}.png", full_page=True)
            page.close()
