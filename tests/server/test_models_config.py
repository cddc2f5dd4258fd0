"""What is served, from Python and from files."""

from pathlib import Path

import pytest

import tfrs_twotower as tt
from tfrs_twotower.publishing.serving_files import write_models
from tfrs_twotower.server import AllVersions, LatestVersions, Limits, ModelConfig, ServerConfig, SpecificVersions

FILE = """
model_config_list {{
  config {{ name: "shop" base_path: "/models/shop" model_platform: "tensorflow" {of_shop} }}
  config {{ name: "cinema" base_path: "cinema" }}
}}
"""


def read(folder: Path, text: str, **options):
    (folder / "models.config").write_text(text, encoding="utf-8")
    return tt.server.read_models_config(folder / "models.config", **options)


def test_a_file_of_serving_config_is_read(tmp_path):
    models = read(tmp_path, write_models(["shop", "Amélie's"]), models_folder="saved_models")
    assert models == (
        ModelConfig(name="shop", directory=Path("saved_models/shop")),
        ModelConfig(name="Amélie's", directory=Path("saved_models/Amélie's")),
    )


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", LatestVersions(num=1)),
        ("model_version_policy { latest { num_versions: 2 } }", LatestVersions(num=2)),
        ("model_version_policy { all {} }", AllVersions()),
        ("model_version_policy { specific { versions: 3 versions: 5 } }", SpecificVersions(versions=(3, 5))),
    ],
)
def test_policies_and_labels(tmp_path, text, policy):
    labels = 'version_labels { key: "stable" value: 3 }'
    shop, cinema = read(tmp_path, FILE.format(of_shop=f"{text} {labels}"))
    assert shop == ModelConfig(name="shop", directory=Path("/models/shop"), policy=policy, labels={"stable": 3})
    assert cinema.directory == tmp_path / "cinema"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a `model_config_list`"),
        ("model_config_list {}", "at least one model"),
        ("model_config_list { confg {} }", "models.config is not a file"),
        (FILE.format(of_shop="") * 2, "models.config"),
        (FILE.format(of_shop="").replace("cinema", "shop"), "each once"),
        (FILE.format(of_shop="").replace('"tensorflow"', '"torch"'), "`model_platform` must be tensorflow"),
        (FILE.format(of_shop="").replace("/models/shop", ""), "`base_path` of 'shop' is missing"),
        (FILE.format(of_shop="").replace('"shop"', '"a:b"'), '`name` must not .* contain "/" or ":"'),
        (FILE.format(of_shop="model_version_policy { specific {} }"), "at least one version"),
        (FILE.format(of_shop='version_labels { key: "" value: 3 }'), "A label must not be empty"),
        ("x" * 2**20 + "x", "at most 1,048,576 bytes"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


SHOP = ModelConfig(name="shop", directory=Path("shop"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ()}, "`models` must be at least one"),
        ({"models": (SHOP, SHOP)}, "with different names"),
        ({"rest_port": None, "grpc_port": None}, "would listen nowhere"),
        ({"rest_port": 65_536}, "`rest_port` must be in 0..65535"),
        ({"grpc_port": -1}, "`grpc_port` must be at least 0"),
        ({"max_batch_rows": 0}, "`max_batch_rows` must be at least 1"),
        ({"token": ""}, "`token` must be one line"),
        ({"token": "a\nb"}, "`token` must be one line"),
        ({"tls_key": Path("key.pem")}, "must be given together"),
        ({"poll_s": 0}, "`poll_s` must be a positive number"),
    ],
)
def test_an_impossible_server_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ServerConfig(**{"models": (SHOP,), **options})


@pytest.mark.parametrize(
    "options", [{"max_rows": 0}, {"max_queued": -1}, {"timeout_s": float("nan")}, {"idle_timeout_s": float("inf")}]
)
def test_impossible_limits_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Limits(**options)


def test_a_token_is_not_shown():
    assert "secret" not in repr(ServerConfig(models=(SHOP,), token="secret"))
