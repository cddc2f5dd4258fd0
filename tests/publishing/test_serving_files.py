"""Files for TensorFlow Serving hold names, paths, images and addresses that their own parsers read back unchanged."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.config import model_server_config_pb2

from tests.control_characters import CONTROLLED, PLAIN
from tests.publishing.test_tensorflow_serving import publish
from tfrs_twotower._control_characters import show_control_characters
from tfrs_twotower.publishing.tensorflow_serving import serving_config

MIB = 2**20

_LETTERS = st.one_of(
    st.characters(exclude_characters="/").filter(lambda letter: show_control_characters(letter) == letter),
    st.sampled_from("\"'\\$:#{}[]&*!|>%@`,?-~ 0e1.\u00a0\u200b\u05d0\u0627\U0001f3ac"),
)
NAMES = st.text(_LETTERS, min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 255
)
IMAGES = st.text(_LETTERS, min_size=1).filter(lambda image: not any(map(str.isspace, image)))
PORTS = st.integers(1, 65_535)


def parse_models(text: str) -> list[tuple[str, str, str]]:
    message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return [(model.name, model.base_path, model.model_platform) for model in message.model_config_list.config]


def read_yaml(text: str) -> list:
    """Reads YAML with libyaml where PyYAML has it: it is faster, and it is not the library that wrote the text."""
    return list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def parse_compose(text: str) -> dict:
    (document,) = read_yaml(text)
    assert document.keys() == {"services"}
    assert document["services"].keys() == {"serving"}
    return document["services"]["serving"]


def interpolated(text: str) -> str:
    """Does what Compose does with `$$`, and finds nothing else that it would replace."""
    assert "$" not in text.replace("$$", "")
    return text.replace("$$", "$")


@pytest.fixture(scope="module")
def stub(tmp_path_factory) -> Path:
    return publish(tmp_path_factory.mktemp("stub") / "bundle", "exact")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("saved_models")


# Twenty names in each of fifty examples.
@settings(max_examples=50, deadline=None)
@given(
    names=st.lists(NAMES, min_size=20, max_size=20, unique=True),
    image=IMAGES,
    host=st.ip_addresses(),
    ports=st.lists(PORTS, min_size=2, max_size=2, unique=True),
)
def test_a_thousand_names_are_read_back(stub, folder, names, image, host, ports):
    links = [folder / name for name in names]
    for link in links:
        os.symlink(stub, link)
    try:
        config = serving_config(links, image=image, host=str(host), grpc_port=ports[0], rest_port=ports[1])
    finally:
        for link in links:
            link.unlink()
    assert parse_models(config.files["models.config"]) == [(name, f"/models/{name}", "tensorflow") for name in names]
    compose = parse_compose(config.files["compose.yaml"])
    assert interpolated(compose["image"]) == image
    own, *mounts = compose["volumes"]
    assert own == {"type": "bind", "source": ".", "target": "/config", "read_only": True}
    assert [
        {**mount, "source": interpolated(mount["source"]), "target": interpolated(mount["target"])} for mount in mounts
    ] == [
        {"type": "bind", "source": f"{folder}/{name}", "target": f"/models/{name}", "read_only": True} for name in names
    ]
    address = f"[{host}]" if host.version == 6 else str(host)
    assert compose["ports"] == [f"{address}:{ports[0]}:8500", f"{address}:{ports[1]}:8501"]
    # Twenty bundles of a few bytes: 1 GiB and a little, in steps of 256 MiB.
    assert compose["mem_limit"] == "1280m"
    deployment, service = read_yaml(config.files["kubernetes.yaml"])
    label = deployment["metadata"]["name"]
    assert re.fullmatch("[a-z]([a-z0-9-]{0,61}[a-z0-9])?", label)
    pod = deployment["spec"]["template"]
    labels = [deployment["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"], service["spec"]["selector"]]
    assert labels == [{"app": label}] * 3
    assert service["metadata"] == {"name": label}
    (container,) = pod["spec"]["containers"]
    assert container["image"] == image
    assert container["args"] == compose["command"]
    assert container["resources"] == {"requests": {"memory": "1280Mi"}, "limits": {"memory": "1280Mi"}}
    assert unquote(container["readinessProbe"]["httpGet"]["path"]) == f"/v1/models/{names[0]}"


@pytest.mark.parametrize("name", [*(text.replace("/", "|") for text in PLAIN), "1e5", "yes", "0o7", "null", "-", "~"])
def test_only_values_depend_on_names(tmp_path, name):
    """Without comments and values, files of any name are those of a plain one."""
    ours, plain = (
        serving_config([publish(tmp_path / str(number) / text, "exact")]).files
        for number, text in enumerate((name, "shop"))
    )
    for file in ("compose.yaml", "kubernetes.yaml"):
        assert keys(ours[file]) == keys(plain[file])


def keys(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [re.match(r"[ -]*(\w+:)?", line)[0] for line in lines]


@pytest.mark.parametrize("name", CONTROLLED)
def test_control_characters_in_paths_are_refused_and_named(tmp_path, name):
    text, shown = (part.replace("\x00", "").replace(r"\x00", "").replace("/", "|") for part in CONTROLLED[name])
    for directory in (tmp_path / "models" / text, tmp_path / text / "shop"):
        with pytest.raises(ValueError, match="A path in `directories` must not contain control characters.") as raised:
            serving_config([publish(directory, "exact")])
        assert f"Received: '{directory.parent.parent}/" in str(raised.value)
        assert shown in str(raised.value)
        code, place = re.search(r"with U\+([0-9A-F]{4}) as character (\d+)\.$", str(raised.value)).groups()
        character = chr(int(code, 16))
        assert show_control_characters(character) != character == str(directory)[int(place) - 1]


@pytest.mark.parametrize(
    "image", ["", " ", "a b", "a\u00a0b", "a\u3000", *(text for text, _ in CONTROLLED.values()), "x\n- evil: true"]
)
def test_an_image_without_a_name_or_with_spaces_is_refused(stub, image):
    with pytest.raises(ValueError, match="`image` must"):
        serving_config([stub], image=image)


@pytest.mark.parametrize(
    "host", ["", "localhost", "0", "127.1", "127.0.0.1:80", "[::1]", "fe80::1%eth0", "::1%\n- x", "1.2.3.4\n", 1, None]
)
def test_a_host_that_is_no_address_is_refused(stub, host):
    with pytest.raises(ValueError, match="`host` must be an IP address, such as 127.0.0.1 or ::1. Received: "):
        serving_config([stub], host=host)


def test_ports_are_published_on_this_machine_alone_unless_the_user_says_otherwise(stub):
    config = serving_config([stub])
    assert parse_compose(config.files["compose.yaml"])["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert config.notes == ()


@pytest.mark.parametrize(
    ("host", "address", "reached"),
    [
        ("0.0.0.0", "0.0.0.0", "localhost"),
        ("2001:db8::1", "[2001:db8::1]", "[2001:db8::1]"),
        ("::", "[::]", "localhost"),
    ],
)
def test_an_address_of_the_network_comes_with_a_note(stub, host, address, reached):
    config = serving_config([stub], host=host)
    assert config.notes == (f"Anyone who can reach {host} can use the server, which has no authentication.",)
    text = config.files["compose.yaml"]
    assert parse_compose(text)["ports"] == [f"{address}:8500:8500", f"{address}:8501:8501"]
    assert f"# curl 'http://{reached}:8501/v1/models/bundle'\n" in text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"grpc_port": 0}, ValueError, "`grpc_port` must be at least 1. Received: 0."),
        ({"rest_port": 65_536}, ValueError, "`rest_port` must be at most 65535. Received: 65536."),
        ({"rest_port": "8501"}, TypeError, "`rest_port` must be a whole number. Received: '8501'."),
        ({"rest_port": 8500}, ValueError, "`grpc_port` and `rest_port` must differ. Received: 8500 for both."),
        ({"num_threads": 0}, ValueError, "`num_threads` must be at least 1. Received: 0."),
        ({"num_threads": "4 }\nx: {"}, TypeError, "`num_threads` must be a whole number."),
    ],
)
def test_impossible_numbers_are_refused(stub, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        serving_config([stub], **options)


# 1 GiB and 4 times the size, in steps of 256 MiB. A bundle has a few bytes more than the sizes here.
@pytest.mark.parametrize(
    ("sizes_mib", "limit_mib"),
    [((0,), 1280), ((63,), 1280), ((64,), 1536), ((100, 200), 2304), ((10_240,), 42_240)],
)
def test_the_limit_of_memory_follows_from_the_bundles_sizes(tmp_path, sizes_mib, limit_mib):
    paths = [publish(tmp_path / f"bundle{number}", "exact") for number in range(len(sizes_mib))]
    for path, size_mib in zip(paths, sizes_mib, strict=True):
        (path / "1" / "variables").mkdir()
        with (path / "1" / "variables" / "variables.data-00000-of-00001").open("wb") as file:
            file.truncate(size_mib * MIB)  # a sparse file
    config = serving_config(paths)
    assert parse_compose(config.files["compose.yaml"])["mem_limit"] == f"{limit_mib}m"
    for name in ("compose.yaml", "kubernetes.yaml"):
        comment = " ".join(line[2:] for line in config.files[name].splitlines() if line.startswith("# "))
        assert f"4 times the size of the bundles, which is {sum(sizes_mib) + 1:,} MiB, in steps of 256 MiB:" in comment
    deployment, _ = read_yaml(config.files["kubernetes.yaml"])
    resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"memory": f"{limit_mib}Mi"}


def test_only_the_served_version_counts_for_the_limit_of_memory(tmp_path):
    path = publish(tmp_path / "shop", "exact")
    (path / "1").rename(path / "2")
    publish(path, "exact")
    with (path / "1" / "variables").open("wb") as file:
        file.truncate(1024 * MIB)
    assert parse_compose(serving_config([path]).files["compose.yaml"])["mem_limit"] == "1280m"


def test_a_path_with_two_dots_gives_the_name_of_the_folder(tmp_path, monkeypatch):
    publish(tmp_path / "shop", "exact")
    monkeypatch.chdir(tmp_path / "shop" / "1")
    for path in ("..", "../../shop", "../1/.."):
        assert parse_models(serving_config([path]).files["models.config"]) == [("shop", "/models/shop", "tensorflow")]


def test_batching_is_read_back(stub):
    """The message is written down here by TensorFlow Serving's session_bundle_config.proto: the package lacks it."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="batching", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    field = descriptor_pb2.FieldDescriptorProto
    numbers = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(numbers, start=1):
        kind = ".google.protobuf.Int64Value"
        message.field.add(name=name, number=number, type=field.TYPE_MESSAGE, type_name=kind, label=field.LABEL_OPTIONAL)
    message.field.add(name="pad_variable_length_inputs", number=7, type=field.TYPE_BOOL, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    batching = message_factory.GetMessageClass(pool.FindMessageTypeByName("batching.BatchingParameters"))
    read = text_format.Parse(serving_config([stub], num_threads=6).files["batching.config"], batching())
    assert [getattr(read, name).value for name in numbers] == [64, 500, 100, 6]
    assert not read.pad_variable_length_inputs
