"""The files that guides offer for Kubernetes, containers and GitHub Actions fit the library."""

import json
import shlex
import subprocess
from typing import Any

import typer
import yaml

from tests.docs.test_code_blocks import REPOSITORY
from tfrs_twotower.cli.app import app

FOLDER = REPOSITORY / "docs" / "guides" / "kubernetes"
CONTAINERS = REPOSITORY / "docs" / "guides" / "containers"


def test_each_worker_gets_the_cluster_and_its_own_index(tmp_path):
    service, job = yaml.safe_load_all((FOLDER / "training.yaml").read_text(encoding="utf-8"))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    count, port = job["spec"]["completions"], service["spec"]["ports"][0]["port"]
    assert job["spec"]["parallelism"] == count  # all workers must run at once
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    assert given["NUM_WORKERS"] == str(count)
    (script,) = container["args"]
    script = script.replace("exec python /scripts/train.py", 'printf %s "$TF_CONFIG"')
    assert "$TF_CONFIG" in script
    # Kubernetes names the pods of an Indexed Job after it, and a headless service resolves <pod>.<service>.
    hosts = [f"{job['metadata']['name']}-{index}.{service['metadata']['name']}:{port}" for index in range(count)]
    assert pod["subdomain"] == service["metadata"]["name"]
    for index in range(count):
        environment = {"PATH": "/usr/bin:/bin", "JOB_COMPLETION_INDEX": str(index), **given}
        output = subprocess.run(
            [*container["command"], script], env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert json.loads(output) == {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}


def commands(text: str) -> list[list[str]]:
    """Returns the arguments of each call of the command line in a script."""
    lines = (line.strip() for line in text.splitlines())
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("tfrs-twotower ")]


def parse(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Parses a call as the command line does, without running it, and returns the command's name and its values."""
    name, *rest = arguments
    return name, typer.main.get_command(app).commands[name].make_context(name, rest).params


def instructions(dockerfile: str) -> dict[str, str]:
    text = (CONTAINERS / dockerfile).read_text(encoding="utf-8")
    return dict(line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))


def test_the_image_for_training_is_the_command_line():
    image = instructions("training.Dockerfile")
    assert image["RUN"].endswith(" tfrs-twotower")
    assert json.loads(image["ENTRYPOINT"]) == ["tfrs-twotower"]


def test_the_image_for_serving_serves_what_it_holds_where_its_health_is_asked():
    image = instructions("serving.Dockerfile")
    assert "tfrs-twotower[server]" in image["RUN"]
    program, *arguments = [*json.loads(image["ENTRYPOINT"]), *json.loads(image["CMD"])]
    assert program == "tfrs-twotower"
    command, given = parse(arguments)
    assert command == "serve"
    assert arguments[-1].startswith(image["COPY"].split()[-1])
    assert image["EXPOSE"] == f"{given['grpc_port']} {given['rest_port']}"
    assert f"http://127.0.0.1:{given['rest_port']}/readyz" in image["HEALTHCHECK"]


def test_the_workflow_trains_on_from_the_last_version_before_it_publishes_the_image():
    workflow = yaml.safe_load((CONTAINERS / "nightly.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    calls = [arguments for script in scripts for arguments in commands(script)]
    assert [parse(arguments)[0] for arguments in calls] == ["train", "list", "recommend"]
    places = [
        next(place for place, script in enumerate(scripts) if text in script) for text in ("--from", "docker push")
    ]
    assert places == sorted(places)
    assert (CONTAINERS / "serving.Dockerfile").name in scripts[places[1]]
