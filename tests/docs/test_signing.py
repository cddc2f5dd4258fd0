"""The commands of the guide that sign a version, and verify it before it is published, do what the guide says."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.test_code_blocks import blocks

# Stand-ins: the signature of a text is the text itself.
GPG = '#!/bin/sh\ntest "$*" = "--local-user publisher@example.com --detach-sign $4" && cp "$4" "$4.sig"\n'
GPGV = '#!/bin/sh\ntest "$1 $2" = "--keyring ./publisher.gpg" && cmp -s "$3" "$4"\n'


@pytest.fixture
def host(tmp_path) -> Path:
    """A serving host, to which a signed version was copied."""
    (tmp_path / "bin").mkdir()
    for name, text in (("gpg", GPG), ("gpgv", GPGV)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    incoming, published = tmp_path / "incoming", tmp_path / "shop"
    (incoming / "shop" / "3" / "assets.extra").mkdir(parents=True)
    published.mkdir()
    (incoming / "shop" / "3" / "saved_model.pb").write_text("graph")
    (incoming / "shop" / "3" / "assets.extra" / "a name with spaces").write_text("titles")
    sign, _ = blocks("docs/guides/publishing.md", "bash")
    assert run(sign, incoming).returncode == 0
    return tmp_path


def run(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder.parent / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "-c", commands], cwd=folder, env=environment, capture_output=True, text=True)


def verify(host: Path) -> int:
    _, commands = blocks("docs/guides/publishing.md", "bash")
    return run(commands.replace("/models", str(host)), host / "incoming").returncode


def test_a_signed_version_is_published(host):
    assert verify(host) == 0
    assert (host / "shop" / "3" / "saved_model.pb").read_text() == "graph"
    assert not (host / "incoming" / "shop" / "3").exists()


def replace_by_link(folder: Path) -> None:
    (folder / "saved_model.pb").rename(folder.parent / "moved")
    (folder / "saved_model.pb").symlink_to("../moved")


CHANGES = {
    "another file": lambda folder: (folder / "saved_model.pb").write_text("another graph"),
    "a file more": lambda folder: (folder / "assets.extra" / "tf_serving_warmup_requests").touch(),
    "a file less": lambda folder: (folder / "saved_model.pb").unlink(),
    "a link more": lambda folder: (folder / "variables").symlink_to("/tmp"),
    "a link instead": replace_by_link,
    "a pipe more": lambda folder: os.mkfifo(folder / "pipe"),
    "another list": lambda folder: (folder.parents[1] / "shop-3.sha256").write_text(""),
    "no signature": lambda folder: (folder.parents[1] / "shop-3.sha256.sig").unlink(),
    "a version that is there": lambda folder: (folder.parents[2] / "shop" / "3" / "variables").mkdir(parents=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_version_that_was_changed_is_not_published(host, change):
    change(host / "incoming" / "shop" / "3")
    assert verify(host) != 0
    assert not (host / "shop" / "3" / "assets.extra").exists()
    assert (host / "incoming" / "shop" / "3").is_dir()


def test_an_older_version_does_not_pass_for_a_newer_one(host):
    incoming = host / "incoming"
    (incoming / "shop" / "3").rename(incoming / "shop" / "4")
    for name in ("shop-3.sha256", "shop-3.sha256.sig"):
        (incoming / name).rename(incoming / name.replace("3", "4", 1))
    _, commands = blocks("docs/guides/publishing.md", "bash")
    newer = commands.replace("shop/3", "shop/4").replace("shop-3", "shop-4").replace("/models", str(host))
    assert run(newer, incoming).returncode != 0
    assert [*(host / "shop").iterdir()] == []
