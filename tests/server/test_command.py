"""The command in a process of its own: with a token and TLS, within its limits, until it is told to end."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from tests.browser import open_browser
from tests.server.conftest import NAME
from tfrs_twotower.publishing.serving_files import write_models
from tfrs_twotower.server.config import ServerConfig
from tfrs_twotower.server.models_config import ModelConfig
from tfrs_twotower.server.protos import get_model_status_pb2
from tfrs_twotower.server.run import serve

TOKEN = "secret"
REQUEST = json.dumps({"signature_name": "similar", "instances": ["m0"]})

pytestmark = pytest.mark.openssl


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    pair = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(pair[0]), "-keyout", str(pair[1])]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return pair


@pytest.fixture(scope="module")
def process(shop, certificate, tmp_path_factory):
    """The command, on free ports, with the lines that it has printed."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "models.config").write_text(write_models([NAME]))
    (folder / "token").write_text(TOKEN)
    options = {
        "--models": folder / "models.config",
        "--models-folder": shop.parent,
        "--rest-port": 0,
        "--grpc-port": 0,
        "--timeout-s": 1.5,
        "--token-file": folder / "token",
        "--tls-certificate": certificate[0],
        "--tls-key": certificate[1],
    }
    arguments = [str(word) for option in options.items() for word in option]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "tfrs_twotower.cli", "serve", "--watch-models", *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as started,
    ):
        try:
            yield started, [started.stdout.readline() for _ in range(2)], folder / "log"
        finally:
            started.kill()


@pytest.fixture(scope="module")
def ports(process) -> tuple[int, int]:
    _, (rest, of_grpc), log = process
    assert rest, log.read_text()
    return int(re.search(r"https://127.0.0.1:(\d+)/v1/models/shop", rest)[1]), int(of_grpc.rsplit(":", 1)[1])


@pytest.fixture
def context(certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[0])


def ask(connection: http.client.HTTPSConnection, token=TOKEN) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    connection.request("POST", f"/v1/models/{NAME}:predict", REQUEST, headers)
    response = connection.getresponse()
    response.read()
    return response.status


def test_only_who_has_the_token_is_answered(ports, context):
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", ports[0], context=context)) as connection:
        assert [ask(connection, token) for token in (TOKEN, "other", None)] == [200, 401, 401]
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_grpc_takes_the_token_too(ports, certificate):
    credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = NAME
    with grpc.secure_channel(f"127.0.0.1:{ports[1]}", credentials) as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=get_model_status_pb2.GetModelStatusResponse.FromString,
        )
        assert call(request, metadata=[("authorization", f"Bearer {TOKEN}")]).model_version_status[0].version == 1
        for metadata in ([], [("authorization", "Bearer other")]):
            with pytest.raises(grpc.RpcError) as raised:
                call(request, metadata=metadata)
            assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_request_that_never_ends_is_cut(ports, context):
    head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    with context.wrap_socket(
        socket.create_connection(("127.0.0.1", ports[0])), server_hostname="127.0.0.1"
    ) as connection:
        connection.sendall(f"{head}Content-Length: 100\r\n\r\nslow".encode())
        received = b""
        while part := connection.recv(4096):
            received += part
    assert received.startswith(b"HTTP/1.1 504 ")
    assert json.loads(received.split(b"\r\n\r\n")[1])["error"] == "The request was not answered within 1.5 s."


@pytest.mark.browser
def test_the_page_asks_for_the_token_and_sends_it_in_no_address(ports, process):
    with open_browser() as browser, browser.new_context(ignore_https_errors=True) as context:
        page, addresses = context.new_page(), []
        page.set_default_timeout(20_000)
        page.on("request", lambda request: addresses.append(request.url))
        page.goto(f"https://127.0.0.1:{ports[0]}/")
        entered = page.get_by_role("textbox", name="Token")
        entered.fill("other")
        page.keyboard.press("Enter")
        page.get_by_text("The server does not accept this token.").wait_for()
        entered.fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator("#about", has_text="Recommends from 24 items").wait_for()
        page.reload()
        page.locator("#about", has_text="Recommends from 24 items").wait_for()
    assert not [address for address in addresses if TOKEN in address]


def test_a_form_for_the_report_needs_the_token(ports, context):
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", ports[0], context=context)) as connection:
        # There is no report, which only those learn who have the token.
        for token, status in ((TOKEN, 404), ("other", 401), ("", 401)):
            connection.request(
                "POST",
                "/explorer/report",
                f"model={NAME}&version=1&token={token}",
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
            response = connection.getresponse()
            assert (response.status, set(json.loads(response.read()))) == (status, {"error"})


def test_a_watched_file_that_becomes_wrong_changes_nothing(process, ports, context):
    log = process[2]
    (log.parent / "models.config").write_text("model_config_list {}")
    while "models_refused" not in log.read_text():
        assert process[0].poll() is None
        time.sleep(0.05)
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", ports[0], context=context)) as connection:
        assert ask(connection) == 200


@pytest.mark.linux
def test_the_server_itself_loads_no_tensorflow(process):
    maps = Path(f"/proc/{process[0].pid}/maps").read_text()
    assert "libtensorflow" not in maps
    assert "grpc" in maps


def test_it_ends_with_its_workers_when_it_is_told_to(process, ports, context):
    started, _, log = process
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", ports[0], context=context)) as connection:
        assert ask(connection) == 200
        started.send_signal(signal.SIGTERM)
        assert started.wait() == 0
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    (available,) = [event for event in events if event["event"] == "version_available"]
    with pytest.raises(ProcessLookupError):
        os.kill(available["pid"], 0)
    assert [event["event"] for event in events][-2:] == ["stopping", "version_retired"]
    assert {event.get("status") for event in events if event["event"] == "request"} == {200, 401, 404, 504, None}
    assert TOKEN not in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give folders of bundles, or `--models`"),
        (["saved_models/shop", "--models", "models.config"], "Give folders of bundles, or `--models`"),
        (["saved_models/shop", "--models-folder", "x"], "`--models-folder` needs `--models`"),
        (["saved_models/shop", "--watch-models"], "`--watch-models` needs `--models`"),
        (["saved_models/shop", "--token-variable", "UNSET"], "no token in the environment variable UNSET"),
        (["saved_models/shop", "--rest-port", "70000"], "`rest_port` must be in 0..65535"),
        (["a/shop", "b/shop"], "with different names"),
        (["a/shop", "--num-versions", "0"], "`num` must be"),
        (["--models", "models.config", "--num-versions", "2"], "`--models` has policies of its own"),
        (["a/shop", "--open", "--no-explorer"], "`--open` needs the explorer"),
    ],
)
def test_mistakes_are_one_line(arguments, message, monkeypatch, capsys):
    from tfrs_twotower.cli import main

    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setattr(sys, "argv", ["tfrs-twotower", "serve", *arguments])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("option", "other", "api"), [("--rest-port", "--grpc-port", "REST"), ("--grpc-port", "--rest-port", "gRPC")]
)
def test_a_port_that_another_program_has_is_named_with_its_option(option, other, api, monkeypatch, capsys):
    from tfrs_twotower.cli import main

    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        arguments = ["saved_models/shop", option, str(port), other, "0"]
        monkeypatch.setattr(sys, "argv", ["tfrs-twotower", "serve", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
    assert exited.value.code == 2
    in_python = option[2:].replace("-", "_")
    assert capsys.readouterr().err == (
        f"Error: {api} cannot listen at 127.0.0.1:{port}: another program listens there. Stop it, or choose another "
        f"port with `{option}` (in Python, `{in_python}`).\n"
    )


@pytest.mark.parametrize(("ports", "api"), [({"rest_port": 0}, "REST"), ({"rest_port": None}, "gRPC")])
def test_an_address_that_the_machine_does_not_have_is_named(ports, api):
    host = "192.0.2.1"  # for documentation: no machine has it
    config = ServerConfig(
        models=(ModelConfig(name="shop", directory="saved_models/shop"),), host=host, grpc_port=0, **ports
    )
    with pytest.raises(OSError, match=f"^{api} cannot listen at {host}:0: .*assign requested address.* `--host` and "):
        serve(config)
