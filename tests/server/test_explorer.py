"""What the explorer's page asks: answers equal the bundle's files, and hostile requests are refused."""

import asyncio
import contextlib
import http.client
import json
import urllib.error
import urllib.request

import aiohttp
import numpy as np
import pytest

import tfrs_twotower as tt
from tests.server.conftest import HOSTILE, LONG, NAME, PLAIN
from tests.server.queries import query
from tfrs_twotower._look import STYLE
from tfrs_twotower.server.access_log import log_nothing
from tfrs_twotower.server.errors import Code
from tfrs_twotower.server.frames import pack
from tfrs_twotower.server.listeners import start_listeners
from tfrs_twotower.server.metrics import Metrics
from tfrs_twotower.server.models import Models
from tfrs_twotower.server.worker_client import WorkerClient

VERSION = f"/explorer/models/{NAME}/versions/1"


def ask(server, question: str, **content):
    status, answer = server.send(f"{VERSION}/{question}", content)
    assert status == 200, answer
    return answer


def response_to(server, path: str, data: bytes | None = None, **headers: str):
    request = urllib.request.Request(f"http://127.0.0.1:{server.addresses.rest_port}{path}", data, headers)
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        return error


def test_the_page_and_its_files_load_nothing_from_elsewhere(server):
    files = (
        "",
        "explorer/look.css",
        "explorer/style.css",
        "explorer/script.js",
        "explorer/picker.js",
        "explorer/icon.svg",
    )
    for path in files:
        with response_to(server, f"/{path}") as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            content = response.read()
            assert b"//cdn" not in content
            assert path != "explorer/look.css" or content == STYLE.read_bytes()


def test_models_and_their_versions_are_listed_with_the_limits(server):
    status, listed = server.send("/explorer/models")
    assert status == 200
    assert listed["models"] == [
        {"name": NAME, "versions": [1], "labels": {"stable": 1, "gone": 7}},
        {"name": PLAIN, "versions": [1], "labels": {}},
    ]
    assert listed["limits"] == {"rows": 300, "list_length": 50, "values": 2000, "bytes": 60_000}


def test_a_version_is_described_as_far_as_it_goes(server):
    described = server.send(VERSION)[1]
    assert (described["query_id"], described["remembers"], described["has_probabilities"]) == ("user_id", True, True)
    assert described["fields"] == [{"name": "age", "label": "age", "kind": "number", "size": None}]
    assert described["histories"] == [{"name": "history", "rating_name": "history_rating"}]
    assert described["filters"] == [
        {"name": "genres", "label": "genres", "values": ["Even", "Odd", "Rare"], "num_values": 3}
    ]
    assert (described["num_candidates"], described["num_queries"], described["k"]) == (24, 40, 10)
    assert (described["highest_rating"], described["has_report"]) == (5.0, False)

    plain = server.send(f"/explorer/models/{PLAIN}/versions/1")[1]
    assert [field["name"] for field in plain["fields"]] == ["age"]
    assert (plain["query_id"], plain["remembers"], plain["has_probabilities"]) == (None, False, False)
    assert (plain["histories"], plain["filters"], plain["highest_rating"]) == ([], [], None)


def test_candidates_are_found_by_title_or_id_and_named(server):
    found = ask(server, "find_candidates", text="ÉMILIE or", limit=5)
    assert [result["id"] for result in found["results"]] == ["m1"]
    assert found["results"][0]["name"] == LONG
    assert ask(server, "find_candidates", text="title 2", limit=3)["num_found"] == 6  # 2, 12, 20, 21, 22, 23
    assert ask(server, "find_candidates", text="<SCRIPT>", limit=3)["results"][0]["name"] == HOSTILE
    named = ask(server, "name_candidates", ids=["m3", "no such", ""])
    assert [candidate["name"] for candidate in named] == ["Title 3", "no such", ""]
    assert [candidate["is_served"] for candidate in named] == [True, False, False]
    assert named[0]["details"] == ["Odd, Rare"]
    plain = server.send(f"/explorer/models/{PLAIN}/versions/1/find_candidates", {"text": "M2", "limit": 3})[1]
    assert plain["results"][0] == {"id": "m2", "name": "m2", "details": [], "is_served": True}


def test_known_queries_are_found_and_drawn(server):
    assert ask(server, "find_queries", text="3", limit=50)["results"] == [
        "u3",
        "u13",
        "u23",
        *(f"u{n}" for n in range(30, 40)),
    ]
    assert ask(server, "find_queries", text="", limit=2) == {"results": ["u0", "u1"], "num_found": 40}
    (drawn,) = ask(server, "draw_query")["results"]
    assert drawn in {f"u{row}" for row in range(40)}
    path = f"/explorer/models/{PLAIN}/versions/1"
    assert server.send(f"{path}/find_queries", {"text": "u", "limit": 5}) == (200, {"results": [], "num_found": 0})
    assert server.send(f"{path}/draw_query", {}) == (200, {"results": [], "num_found": 0})


def test_a_history_is_that_of_the_events_with_their_ratings(server, planted):
    seen = planted.split.seen
    rows = np.flatnonzero(seen.query_rows == 7)[::-1]  # without times, the last row is the latest
    past = ask(server, "remember", query_id="u7")
    assert (past["is_known"], past["num_events"]) == (True, len(rows))
    assert [event["candidate"]["id"] for event in past["events"]] == [f"m{row}" for row in seen.candidate_rows[rows]]
    assert [event["rating"] for event in past["events"]] == seen.ratings[rows].tolist()
    for unknown in ("nobody", ""):
        assert ask(server, "remember", query_id=unknown) == {"is_known": False, "num_events": 0, "events": []}


def test_a_remembered_history_that_is_given_scores_as_the_stored_one(server):
    """The page explains what is recommended from a stored history by scores of given ones."""
    events = ask(server, "remember", query_id="u7")["events"][::-1]
    given = {
        "history": [event["candidate"]["id"] for event in events],
        "history_rating": [event["rating"] for event in events],
    }
    stored = {**query(0), "user_id": "u7", "history": [], "history_rating": []}
    body = {
        "signature_name": "score",
        "instances": [{**row, "candidate_id": "m5"} for row in (stored, {**stored, **given})],
    }
    # Rows of unequal histories are padded to one width, and added in another order.
    one, other = (prediction["scores"] for prediction in server.predict(body)["predictions"])
    assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/explorer/models/nothing/versions/1", None, 404),
        (f"/explorer/models/{NAME}/versions/2", None, 404),
        (f"/explorer/models/{NAME}/versions/{'9' * 19}", None, 404),
        (f"/explorer/models/{NAME}/versions/{'9' * 30}", None, 404),
        (f"/explorer/models/{NAME}/versions/..%2f1", None, 404),
        (f"/explorer/models/..%2f..%2f{NAME}/versions/1", None, 404),
        (f"/explorer/models/{NAME}/versions/1%2f..%2f..%2f..%2fetc%2fpasswd", None, 404),
        ("/explorer/..%2fexplorer.py", None, 404),
        ("/explorer/page.html", None, 404),
        (f"{VERSION}/reply", {}, 404),
        (f"{VERSION}/__init__", {}, 404),
        (f"{VERSION}/find_candidates", None, 405),
        (f"{VERSION}/find_candidates", b"", 400),
        (f"{VERSION}/find_candidates", b"nothing", 400),
        (f"{VERSION}/find_candidates", b"\xff\xfe", 400),
        (f"{VERSION}/find_candidates", b"[" * 50_000, 400),
        (f"{VERSION}/find_candidates", [1], 400),
        (f"{VERSION}/find_candidates", {"text": "a"}, 400),
        (f"{VERSION}/find_candidates", {"text": 1, "limit": 1}, 400),
        (f"{VERSION}/find_candidates", {"text": "a", "limit": 0}, 400),
        (f"{VERSION}/find_candidates", {"text": "a", "limit": 10**30}, 400),
        (f"{VERSION}/find_candidates", {"text": "a" * 201, "limit": 1}, 400),
        (f"{VERSION}/name_candidates", {"ids": "m1"}, 400),
        (f"{VERSION}/name_candidates", {"ids": [None]}, 400),
        (f"{VERSION}/name_candidates", {"ids": ["m"] * 1001}, 400),
        (f"{VERSION}/name_candidates", {"ids": ["m" * 1001]}, 400),
        (f"{VERSION}/remember", {"query_id": ["u1"]}, 400),
        (f"{VERSION}/draw_query", [], 400),
        (f"{VERSION}/remember", b'{"query_id": "' + b"u" * 60_000 + b'"}', 413),
        ("/explorer/report", b"model=shop&version=1", 404),
        ("/explorer/report", b"model=shop&version=..%2F1", 400),
        ("/explorer/report", b"model=..%2Fshop&version=1", 404),
        ("/explorer/report", b"model=shop&version=" + b"1" * 20_000, 413),
        ("/explorer/report", b"nothing", 400),
    ],
)
def test_hostile_requests_are_refused(server, path, body, status):
    got, content = server.send(path, body)
    assert (got, set(content)) == (status, {"error"})


def test_a_page_on_the_internet_cannot_ask_by_a_name_of_its_own(server):
    for name, status in (("evil.example", 404), ("localhost:8501", 200), ("[::1]:8501", 200), ("127.0.0.1", 200)):
        connection = http.client.HTTPConnection("127.0.0.1", server.addresses.rest_port)
        connection.request("GET", "/explorer/models", headers={"Host": name})
        assert connection.getresponse().status == status, name
        connection.close()


def test_the_report_of_a_version_is_shown_without_scripts(server, shop):
    path = shop / "1" / "assets.extra" / "report.html"
    path.write_text("<title>Report</title>")
    try:
        with response_to(server, "/explorer/report", b"model=shop&version=1") as response:
            assert response.status == 200
            assert response.read() == b"<title>Report</title>"
            assert response.headers["Content-Type"].startswith("text/html")
            policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
        assert "sandbox" in policy
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("options", "is_there"),
    [
        ({}, True),
        ({"has_explorer": False}, False),
        ({"host": "0.0.0.0"}, False),  # its users' histories would be open to the network
        ({"host": "0.0.0.0", "token": "secret"}, True),
        ({"host": "0.0.0.0", "has_explorer": True}, True),
    ],
)
def test_the_page_is_there_if_only_this_machine_or_those_with_a_token_see_it(options, is_there, tmp_path):
    model = tt.server.ModelConfig(name=NAME, directory=tmp_path)
    config = tt.server.ServerConfig(models=(model,), rest_port=0, grpc_port=None, **options)

    async def status_of_page() -> int:
        async with contextlib.AsyncExitStack() as stack:
            models = Models(config, metrics=Metrics(), log=log_nothing)
            addresses = await start_listeners(models, stack, log=log_nothing)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            async with session.get(f"http://127.0.0.1:{addresses.rest_port}/") as response:
                return response.status

    assert asyncio.run(status_of_page()) == (200 if is_there else 404)


def test_too_many_questions_are_refused_and_an_end_is_an_error_of_those_that_wait():
    class Pipe:
        def writelines(self, parts):
            self.written = b"".join(parts)

        def close(self):
            pass

        kill = close

    async def main():
        reader, pipe = asyncio.StreamReader(), Pipe()
        worker = WorkerClient(pipe, reader, pipe, call_timeout_s=60)
        questions = [worker.ask({"ask": "draw_query"}) for _ in range(40)]
        refused = [question for question in questions if question.done()]
        assert {question.exception().code for question in refused} == {Code.RESOURCE_EXHAUSTED}
        assert 0 < len(refused) < 40
        for part in pack({"id": 0}, [b"{}"]):
            reader.feed_data(part)
        for part in pack({"id": 1, "problem": "damaged"}, []):
            reader.feed_data(part)
        reader.feed_eof()
        await worker._read_replies()
        assert await questions[0] == b"{}"
        problems = [question.exception() for question in questions[1:3]]
        assert [problem.code for problem in problems] == [Code.INTERNAL, Code.UNAVAILABLE]
        assert worker.ask({}).exception().code is Code.UNAVAILABLE

    asyncio.run(main())


def test_questions_are_noted_without_what_they_are_about(server):
    ask(server, "remember", query_id="u7")
    event = server.events[-1]
    assert (event["event"], event["status"], event["model"], event["version"]) == ("request", 200, NAME, 1)
    assert "u7" not in json.dumps(event)
