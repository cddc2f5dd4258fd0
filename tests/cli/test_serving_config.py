"""`serving-config` writes the files, or nothing at all."""

import pytest
import yaml

from tests.publishing.test_tensorflow_serving import publish


def test_the_host_is_an_option(call, tmp_path):
    shop = publish(tmp_path / "shop", "exact")
    for options, host in ((["--host", "0.0.0.0"], "0.0.0.0"), ([], "127.0.0.1"), (["--host", "::1"], "[::1]")):
        result = call("serving-config", shop, *options, "--output", tmp_path / "serving")
        assert result.returncode == 0, result.stderr
        assert ("Anyone who can reach 0.0.0.0 can use" in result.stdout) == (host == "0.0.0.0")
        compose = yaml.safe_load((tmp_path / "serving" / "compose.yaml").read_text(encoding="utf-8"))
        assert compose["services"]["serving"]["ports"] == [f"{host}:8500:8500", f"{host}:8501:8501"]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\x85b", "a\u2028b", "a\u202eb", "a\udcffb"])
def test_a_name_with_control_characters_is_refused_before_anything_is_written(call, tmp_path, name):
    result = call("serving-config", publish(tmp_path / name, "exact"), "--output", tmp_path / "serving")
    place = len(str(tmp_path)) + 3
    assert f"with U+{ord(name[1]):04X} as character {place}." in result.error()
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize(
    "options", [["--image", ""], ["--image", "a\n- b"], ["--image", "a b"], ["--host", "localhost"]]
)
def test_an_impossible_option_is_refused_before_anything_is_written(call, tmp_path, options):
    result = call("serving-config", publish(tmp_path / "shop", "exact"), *options, "--output", tmp_path / "serving")
    assert f"`{options[0][2:]}` must" in result.error()
    assert not (tmp_path / "serving").exists()
