"""Files that start TensorFlow Serving."""

import re
from urllib.parse import unquote

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.bundle.manifests import make_index_entry, make_manifest
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, MANIFEST_FILE, MODEL_FILE
from tfrs_twotower.publishing.tensorflow_serving import serving_config


def publish(directory, kind):
    folder = directory / "1"
    (folder / EXTRA_FOLDER).mkdir(parents=True)
    versions = {"tensorflow": "2.20.0"} | ({"scann": "1.4.2"} if kind == "scann" else {})
    make_manifest(versions=versions, index=make_index_entry(kind=kind)).write(folder)
    (folder / MODEL_FILE).touch()
    return directory


def served(config) -> dict[str, str]:
    """Name of a model -> its base path."""
    parsed = text_format.Parse(config.files["models.config"], model_server_config_pb2.ModelServerConfig())
    return {model.name: model.base_path for model in parsed.model_config_list.config}


def test_a_bundle_of_stock_operations_is_served_directly(tmp_path):
    config = serving_config([publish(tmp_path / "shop", "portable"), publish(tmp_path / "films", "exact")])
    assert served(config) == {"shop": "/models/shop", "films": "/models/films"}
    assert config.notes == ()
    compose = yaml.safe_load(config.files["compose.yaml"])["services"]["serving"]
    assert compose["image"] == "tensorflow/serving:2.19.1"
    volume = {"type": "bind", "source": f"{tmp_path}/shop", "target": "/models/shop", "read_only": True}
    assert volume in compose["volumes"]
    assert not any("batching" in argument for argument in compose["command"])
    deployment, service = yaml.safe_load_all(config.files["kubernetes.yaml"])
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == compose["command"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/shop"
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


def test_the_stock_image_serves_the_portable_twin_of_a_bundle_with_scann(tmp_path):
    shop = publish(tmp_path / "shop", "scann")
    with pytest.raises(ValueError, match="no bundle that .* can serve. shop needs ScaNN's operations.*Export it with"):
        serving_config([shop])
    publish(tmp_path / "shop-portable", "portable")
    config = serving_config([shop])
    assert served(config) == {"shop-portable": "/models/shop-portable"}
    assert "An image of a server built with them" in " ".join(config.notes)
    config = serving_config([shop], image="example/serving-with-scann:1")
    assert served(config) == {"shop": "/models/shop"}
    assert "example/serving-with-scann:1 must be built with them" in config.notes[0]


def test_batching_needs_lists_of_one_length(tmp_path):
    config = serving_config([publish(tmp_path / "shop", "exact")], batching=True)
    command = yaml.safe_load(config.files["compose.yaml"])["services"]["serving"]["command"]
    assert "--batching_parameters_file=/config/batching.config" in command
    assert "pad_variable_length_inputs: false" in config.files["batching.config"]
    assert "lists of one agreed length" in config.notes[0]


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="shop holds no version of a bundle"):
        serving_config([tmp_path / "shop"])
    one, two = publish(tmp_path / "a" / "shop", "exact"), publish(tmp_path / "b" / "shop", "exact")
    with pytest.raises(ValueError, match="`directories` must have different names"):
        serving_config([one, two])


@pytest.mark.parametrize("name", ["shop: new", "shop #1", "é$x", "100k_Films.v2", "s" * 100, 'a"b', "_x"])
def test_any_name_is_quoted_and_turned_into_a_label(tmp_path, name):
    config = serving_config([publish(tmp_path / name, "exact")])
    assert served(config) == {name: f"/models/{name}"}
    (volume,) = yaml.safe_load(config.files["compose.yaml"])["services"]["serving"]["volumes"][1:]
    assert volume["source"] == f"{tmp_path}/{name}".replace("$", "$$")
    deployment, service = yaml.safe_load_all(config.files["kubernetes.yaml"])
    assert re.fullmatch("[a-z]([a-z0-9-]{0,61}[a-z0-9])?", service["metadata"]["name"])
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert unquote(container["readinessProbe"]["httpGet"]["path"]) == f"/v1/models/{name}"


def test_a_link_names_the_model_and_a_damaged_manifest_is_named(tmp_path):
    publish(tmp_path / "real", "exact")
    (tmp_path / "shop").symlink_to(tmp_path / "real")
    assert served(serving_config([tmp_path / "shop"])) == {"shop": "/models/shop"}
    (tmp_path / "real" / "1" / MANIFEST_FILE).write_text('{"index": null}')
    with pytest.raises(
        ValueError, match="manifest .*1.assets.extra.manifest.json is damaged: `num_candidates` is missing"
    ):
        serving_config([tmp_path / "shop"])
    scann, other = publish(tmp_path / "x" / "sc", "scann"), publish(tmp_path / "y" / "sc-portable", "exact")
    with pytest.raises(ValueError, match="names another sc-portable than the portable twin"):
        serving_config([scann, other])
