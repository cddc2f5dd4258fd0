"""What `tfrs-twotower train` writes: a report for people, and metrics that its bundle keeps."""

import json
import os
from pathlib import Path

import pytest
import tensorflow as tf

from tests import forks
from tests.browser import open_browser

pytestmark = pytest.mark.movielens

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
    output = forks.start(["-c", EVALUATE, version, movielens_dir]).finish()
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


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_opens_without_an_error_and_fits_the_screen(version, width):
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900})
        heard = []
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: heard.append(request.url) if request.url.startswith("http") else None)
        page.goto((version / "assets.extra" / "report.html").as_uri())
        assert heard == []
        # Only tables that have a scroll bar of their own may be wider than the screen.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        pictures = page.locator("img")
        assert pictures.count() >= 10
        assert pictures.evaluate_all("images => images.every(image => image.complete && image.naturalWidth > 0)")
        assert pictures.evaluate_all("images => images.every(image => image.alt.length > 20)")
        for link in page.locator("nav a").all():
            assert page.locator(f"[id='{link.get_attribute('href')[1:]}']").count() == 1
        page.locator("details").first.locator("summary").click()
        assert page.locator("details").first.locator("table").is_visible()
        assert "Recommended:" in page.inner_text("main")
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            page.screenshot(path=Path(folder) / f"report-{width}.png", full_page=True)
