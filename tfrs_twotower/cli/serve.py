"""The command that serves published bundles."""

from __future__ import annotations

import functools
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfrs_twotower.cli.app import app
from tfrs_twotower.cli.screen import print_line

if TYPE_CHECKING:
    from tfrs_twotower.server.models_config import ModelConfig


@app.command()
def serve(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Folders of all versions; their names are the models'.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="A file models.config, as serving-config writes it, in place of folders.")
    ] = None,
    models_folder: Annotated[
        Path | None,
        typer.Option(help="Folder that holds the bundles of --models, in place of the folders that it names."),
    ] = None,
    watch_models: Annotated[
        bool, typer.Option("--watch-models", help="Read --models again whenever it has changed.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 opens the server to the whole network.")
    ] = "127.0.0.1",
    rest_port: Annotated[int, typer.Option(help="Port for REST.")] = 8501,
    grpc_port: Annotated[int, typer.Option(help="Port for gRPC.")] = 8500,
    max_batch_rows: Annotated[int, typer.Option(help="Rows of a call, to which waiting requests are joined.")] = 128,
    timeout_s: Annotated[float, typer.Option(help="Seconds in which a request is answered.")] = 30.0,
    token_file: Annotated[Path | None, typer.Option(help="File with a token that clients must send.")] = None,
    token_variable: Annotated[
        str | None, typer.Option(help="Environment variable with a token that clients must send.")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file with the server's certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file with its key.")] = None,
    num_versions: Annotated[int, typer.Option(help="Versions of each bundle that are served, the newest.")] = 1,
    explorer: Annotated[
        bool | None,
        typer.Option(
            "--explorer/--no-explorer",
            help="A page to look at the models. Default: if only this machine reaches the server, or with a token.",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open that page in a browser.")] = False,
    access_log: Annotated[bool, typer.Option(help="Write each request to the standard error, as JSON.")] = True,
) -> None:
    """Serves bundles: TensorFlow Serving's REST and gRPC, without TensorFlow Serving. Ctrl+C ends it."""
    from tfrs_twotower.server.access_log import JsonLog, log_nothing
    from tfrs_twotower.server.addresses import Addresses
    from tfrs_twotower.server.config import Limits, ServerConfig
    from tfrs_twotower.server.run import serve
    from tfrs_twotower.server.tokens import read_token

    config = ServerConfig(
        models=_models(bundles or [], models, models_folder, num_versions),
        read_models=_reader(models, models_folder) if watch_models else None,
        host=host,
        rest_port=rest_port,
        grpc_port=grpc_port,
        max_batch_rows=max_batch_rows,
        limits=Limits(timeout_s=timeout_s),
        token=read_token(file=token_file, variable=token_variable),
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        has_explorer=explorer,
    )
    if open_page and not config.serves_explorer:
        raise ValueError("`--open` needs the explorer: add `--explorer`, or a token.")

    def say(addresses: Addresses) -> None:
        scheme = "http" if config.tls_certificate is None else "https"
        shown = f"[{host}]" if ":" in host else host
        for model in config.models:
            print_line(f"{model.name}: {scheme}://{shown}:{addresses.rest_port}/v1/models/{model.name}")
        print_line(f"gRPC: {shown}:{addresses.grpc_port}")
        if config.token is None and not config.is_local:
            print_line(f"Anyone who can reach {host} can use the server. Ask for a token with --token-file.")
        if config.serves_explorer:
            url = f"{scheme}://{shown}:{addresses.rest_port}/"
            print_line(f"Explorer: {url}")
            if open_page:
                # A browser for the terminal returns only when it is closed.
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        sys.stdout.flush()

    serve(config, log=JsonLog(sys.stderr) if access_log else log_nothing, on_ready=say)


def _reader(file: Path | None, folder: Path | None) -> Callable[[], tuple[ModelConfig, ...]]:
    from tfrs_twotower.server.models_config import read_models_config

    if file is None:
        raise ValueError("`--watch-models` needs `--models`.")
    return functools.partial(read_models_config, file, models_folder=folder)


def _models(bundles: list[Path], file: Path | None, folder: Path | None, num_versions: int) -> tuple[ModelConfig, ...]:
    from tfrs_twotower.server.models_config import LatestVersions, ModelConfig, read_models_config

    if (file is None) == (not bundles):
        raise ValueError("Give folders of bundles, or `--models` with a file models.config.")
    if file is not None:
        if num_versions != 1:
            raise ValueError("`--num-versions` is for folders of bundles: `--models` has policies of its own.")
        return read_models_config(file, models_folder=folder)
    if folder is not None:
        raise ValueError("`--models-folder` needs `--models`.")
    policy = LatestVersions(num=num_versions)
    return tuple(ModelConfig(name=path.resolve().name, directory=path, policy=policy) for path in bundles)
