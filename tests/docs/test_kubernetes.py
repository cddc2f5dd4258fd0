"""The Job of the guide to distribution tells each worker who the others are."""

import json
import subprocess

import pytest
import yaml

from tests.docs.test_code_blocks import REPOSITORY

FOLDER = REPOSITORY / "docs" / "guides" / "kubernetes"


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


@pytest.mark.parametrize("line", ["FROM python:3.11-slim", 'ENTRYPOINT ["tfrs-twotower"]'])
def test_the_image_has_the_command_line(line):
    assert line in (FOLDER / "training.Dockerfile").read_text(encoding="utf-8").splitlines()
