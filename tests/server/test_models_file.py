"""A file of models that changes under a running server."""

import asyncio
import functools

from tests.server.test_models_config import FILE
from tfrs_twotower.server import ModelConfig, ServerConfig, read_models_config
from tfrs_twotower.server.metrics import Metrics
from tfrs_twotower.server.models import Models

CHANGED = """
model_config_list {
  config { name: "cinema" base_path: "cinema" version_labels { key: "stable" value: 3 } }
  config { name: "books" base_path: "books" }
}
"""


def test_what_a_changed_file_names_is_served(tmp_path):
    file = tmp_path / "models.config"
    file.write_text(FILE.format(of_shop=""), encoding="utf-8")
    events: asyncio.Queue[dict] = asyncio.Queue()
    read = functools.partial(read_models_config, file)
    config = ServerConfig(models=read(), read_models=read, poll_s=0.01)
    models = Models(
        config, metrics=Metrics(), log=lambda event, **details: events.put_nowait({"event": event, **details})
    )
    cinema = ModelConfig(name="cinema", directory=tmp_path / "cinema", labels={"stable": 3})
    books = ModelConfig(name="books", directory=tmp_path / "books")

    async def change() -> None:
        models.start()
        kept = models.model("cinema")
        file.write_text("model_config_list {}", encoding="utf-8")
        refused = await events.get()
        assert (refused["event"], "at least one model" in refused["problem"]) == ("models_refused", True)
        assert list(models.by_name) == ["shop", "cinema"]

        file.write_text(CHANGED, encoding="utf-8")
        while (event := await events.get())["event"] == "models_refused":  # it was read while it was being written
            pass
        assert event == {"event": "models_changed", "models": ["cinema", "books"]}
        assert [served.model for served in models.by_name.values()] == [cinema, books]
        assert models.model("cinema") is kept  # its versions stay loaded

        models.configure((books,))  # a request; the file has not changed, and takes nothing back
        await asyncio.sleep(10 * config.poll_s)
        assert list(models.by_name) == ["books"]

        file.write_text(CHANGED.replace('base_path: "books"', 'base_path: "/other/books"'), encoding="utf-8")
        while (await events.get())["event"] != "models_changed":
            pass
        assert str(models.model("books").model.directory) == "/other/books"
        await models.close()

    asyncio.run(change())
