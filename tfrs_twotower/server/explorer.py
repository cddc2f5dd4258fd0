"""The explorer: a page at "/" on which people look at what the models do, and what the page asks beyond predictions."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from tfrs_twotower._json_values import JsonValue
from tfrs_twotower._look import ICON, STYLE
from tfrs_twotower.bundle.layout import REPORT_FILE
from tfrs_twotower.server.errors import Code, RequestError, invalid
from tfrs_twotower.server.http_app import NOTED
from tfrs_twotower.server.models import Models
from tfrs_twotower.server.served_versions import ServedModel, ServedVersion
from tfrs_twotower.server.tokens import is_authorized

_PAGE = "/"
_REPORT = "/explorer/report"
_FILES = (*sorted(Path(__file__).with_name("page").iterdir()), STYLE, ICON)
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_QUESTION = r"/explorer/models/{name}/versions/{version:[0-9]{1,19}}"

_MAX_TEXT = 200
_MAX_RESULTS = 50
_MAX_IDS = 1000
_MAX_ID = 1000
# A form with a token and the names of a model and a version.
_MAX_FORM = 16_384
_MAX_FIELDS = 10

# Nothing is loaded from anywhere else, no text of the data can become a script, and no other page can show this one.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
# The report has a style sheet and pictures in itself, and nothing that acts.
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; sandbox"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Pages(NamedTuple):
    """Routes for `build_app`.

    Attributes:
        routes: The routes.
        open_paths: Those of their paths that ask for no token: what has no secrets, or looks for the token itself.
    """

    routes: list[web.AbstractRouteDef]
    open_paths: list[str]


def explorer_pages(models: Models) -> Pages:
    """Makes the routes of the explorer.

    Args:
        models: The models that the server serves.
    """
    explorer = _Explorer(models)
    files = {_PAGE if path.name == "page.html" else f"/explorer/{path.name}": path for path in _FILES}
    routes: list[web.AbstractRouteDef] = [web.get(path, _file_handler(file)) for path, file in files.items()]
    routes += [
        web.get("/explorer/models", explorer.models),
        web.get(_QUESTION, explorer.describe),
        web.post(_QUESTION + "/{ask}", explorer.answer),
        web.post(_REPORT, explorer.report),
    ]
    return Pages(routes, [*files, _REPORT])


def _file_handler(path: Path) -> Callable[..., Any]:
    body = path.read_bytes()
    headers = {**_HEADERS, "Content-Security-Policy": _POLICY}

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=_TYPES[path.suffix], charset="utf-8", headers=headers)

    return handle


class _Explorer:
    """What the page's requests are answered with."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def models(self, request: web.Request) -> web.Response:
        """Lists the models, their versions that answer, and the limits of requests."""
        self._require_own_name(request)
        limits = self._models.config.limits
        listed = [
            {
                "name": name,
                "versions": [version.number for version in model.available],
                "labels": dict(model.model.labels),
            }
            for name, model in self._models.by_name.items()
        ]
        content = {
            "models": listed,
            "limits": {
                "rows": limits.max_rows,
                "list_length": limits.max_list_length,
                "values": limits.max_values,
                "bytes": limits.max_body_bytes,
            },
        }
        return _json(orjson.dumps(content))

    async def describe(self, request: web.Request) -> web.Response:
        """Describes a version."""
        return await self._ask(request, {"ask": "describe"})

    async def answer(self, request: web.Request) -> web.Response:
        """Answers a question about a version."""
        read = _READERS.get(request.match_info["ask"])
        if read is None:
            raise RequestError(Code.NOT_FOUND, "The explorer does not know this question.")
        arguments = read(_read_json(await request.read()))
        return await self._ask(request, {"ask": request.match_info["ask"], **arguments})

    async def report(self, request: web.Request) -> web.StreamResponse:
        """Returns the report of a version. The token comes in the form, since a link cannot send a header."""
        self._require_own_name(request)
        form = _read_form(await request.read())
        if not is_authorized(f"Bearer {form.get('token', '')}", self._models.config.token):
            raise RequestError(Code.UNAUTHENTICATED, "The form needs the token.")
        model, version = self._find(request, form.get("model", ""), form.get("version", ""))
        path = model.model.directory / str(version.number) / REPORT_FILE
        if not path.is_file():
            raise RequestError(Code.NOT_FOUND, f"Version {version.number} has no report.")
        return web.FileResponse(
            path, headers={**_HEADERS, "Content-Security-Policy": _REPORT_POLICY, "Content-Type": "text/html"}
        )

    async def _ask(self, request: web.Request, question: Mapping[str, Any]) -> web.Response:
        self._require_own_name(request)
        _, version = self._find(request, request.match_info["name"], request.match_info["version"])
        assert version.worker is not None
        return _json(await version.worker.ask(question))

    def _find(self, request: web.Request, name: str, version: str) -> tuple[ServedModel, ServedVersion]:
        if not (version.isascii() and version.isdecimal() and len(version) <= 19):
            raise invalid("A version must be a whole number.")
        model = self._models.model(name)
        found = model.find(int(version), None)
        noted = request[NOTED]
        noted.model, noted.version = name, found.number
        return model, found

    def _require_own_name(self, request: web.Request) -> None:
        """Refuses what a page on the internet can send by a name of its own that leads to this machine.

        A server that listens for this machine alone and asks for no token is called by an address or as localhost.
        """
        config = self._models.config
        if config.token is None and config.is_local and not _is_local_name(request.host):
            raise RequestError(Code.NOT_FOUND, "Open the explorer by the address that the server prints.")


def _is_local_name(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name.lower() == "localhost"
    return True


def _read_json(data: bytes) -> JsonValue:
    try:
        return JsonValue(orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error}") from error


def _read_form(data: bytes) -> dict[str, str]:
    if len(data) > _MAX_FORM:
        raise RequestError(Code.TOO_LARGE, f"The form must have at most {_MAX_FORM} bytes.")
    try:
        return dict(parse_qsl(data.decode("ascii"), max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise invalid(f"The form cannot be read: {error}") from error


def _reader(read: Callable[[JsonValue], dict[str, Any]]) -> Callable[[JsonValue], dict[str, Any]]:
    def checked(content: JsonValue) -> dict[str, Any]:
        try:
            return read(content)
        except ValueError as error:
            raise invalid(str(error)) from error

    return checked


def _read_search(content: JsonValue) -> dict[str, Any]:
    return {"text": _text(content["text"], _MAX_TEXT), "limit": content["limit"].whole_number(1, _MAX_RESULTS)}


def _read_ids(content: JsonValue) -> dict[str, Any]:
    ids = content["ids"].items()
    if len(ids) > _MAX_IDS:
        raise ValueError(f"`ids` must be at most {_MAX_IDS}. Received: {len(ids)}.")
    return {"ids": [_text(value, _MAX_ID) for value in ids]}


def _read_query(content: JsonValue) -> dict[str, Any]:
    return {"query_id": _text(content["query_id"], _MAX_ID)}


def _read_nothing(content: JsonValue) -> dict[str, Any]:
    content.entries()
    return {}


def _text(value: JsonValue, max_length: int) -> str:
    text = value.text()
    if len(text) > max_length:
        raise ValueError(f"`{value.path}` must have at most {max_length} characters. Received: {len(text)}.")
    return text


#: Question -> what reads its arguments; the names are those of methods of `Exploration`.
_READERS = {
    "find_candidates": _reader(_read_search),
    "name_candidates": _reader(_read_ids),
    "find_queries": _reader(_read_search),
    "draw_query": _reader(_read_nothing),
    "remember": _reader(_read_query),
}


def _json(body: bytes) -> web.Response:
    headers = {**_HEADERS, "Cache-Control": "no-store"}
    return web.Response(body=body, content_type="application/json", headers=headers)
