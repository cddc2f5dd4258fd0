"""Makes the pictures of the README: the explorer of a model, and a part of its report.

    python scripts/make_pictures.py saved_models/movielens-100k --query 42

It needs the packages of `.[test]` and Chromium, from the system or from `playwright install chromium`.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import tfrs_twotower as tt
from tfrs_twotower.bundle.layout import REPORT_FILE

_FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
_NUM_COLOURS = 128


def main() -> None:
    """Serves the newest version, and takes the pictures in a browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="the folder of a model's versions")
    parser.add_argument("--query", required=True, help="id of the user whose recommendations are shown")
    arguments = parser.parse_args()
    model = tt.server.ModelConfig(name=arguments.directory.name, directory=arguments.directory)
    config = tt.server.ServerConfig(models=(model,), rest_port=0, grpc_port=0)
    version = tt.load_bundle(arguments.directory).path
    with tt.server.run_in_background(config) as addresses, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{addresses.rest_port}/#user={arguments.query}")
        page.get_by_role("button", name="Why").nth(1).click()
        page.locator(".near").wait_for()
        _take(page, "explorer")
        page.set_viewport_size({"width": 1280, "height": 490})
        page.goto((version / REPORT_FILE).absolute().as_uri() + "#probabilities")
        _take(page, "report")
        browser.close()


def _take(page: Page, name: str) -> None:
    """Keeps what the page shows, in few colours, so that the file is small."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(_NUM_COLOURS)
    _FOLDER.mkdir(exist_ok=True)
    picture.save(_FOLDER / f"{name}.png", optimize=True)
    print(f"docs/pictures/{name}.png")


if __name__ == "__main__":
    main()
