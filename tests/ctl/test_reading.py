from __future__ import annotations

import json

import pytest
import yaml

from ctl.conftest import DEFAULT
from ctl.fake_daemon import FakeDaemon
from ctl.running import Ctl
from vestry.v1 import common_pb2

EFFECTIVE = DEFAULT | {"server": {"host": "0.0.0.0", "port": 80}}


def test_get_prints_the_document(ctl: Ctl) -> None:
    """Without a path the whole effective document is printed, as JSON."""
    assert json.loads(ctl("config", "get").stdout) == EFFECTIVE


@pytest.mark.parametrize("path", ["providers.1.name", "/providers/1/name", 'providers."1".name'])
def test_get_takes_dotted_paths_and_pointers(ctl: Ctl, path: str) -> None:
    """Both spellings of a path lead to the same value."""
    assert ctl("config", "get", path).stdout == "b\n"


def test_get_prints_a_string_as_it_is_and_quotes_it_in_json(ctl: Ctl) -> None:
    """A string is bare for shells, and JSON for those who ask for JSON."""
    assert ctl("config", "get", "server.host").stdout == "0.0.0.0\n"
    assert ctl("config", "get", "server.host", "-o", "json").stdout == '"0.0.0.0"\n'


@pytest.mark.parametrize("style", ["table", "json", "yaml"])
def test_get_keeps_integers_beyond_what_floats_hold(ctl: Ctl, style: str) -> None:
    """2^64 + 1 comes out digit by digit."""
    assert ctl("config", "get", "big", "-o", style).stdout.splitlines()[0] == str(2**64 + 1)


def test_get_reads_an_earlier_version(ctl: Ctl) -> None:
    """--version reads history."""
    assert ctl("config", "get", "server.port", "--version", "1").stdout == "8080\n"


def test_get_with_provenance_names_layers(ctl: Ctl) -> None:
    """--provenance lists each leaf's layer, and in JSON is the whole answer."""
    assert "/server/port  environment\n" in ctl("config", "get", "server", "--provenance").stdout
    answer = ctl.json("config", "get", "server", "--provenance")
    assert answer["value"] == EFFECTIVE["server"]
    assert answer["provenance"][1] == {"pointer": "/server/port", "layer": "environment"}
    assert answer["revision"]["revision"] == 142


def test_explain_shows_what_was_overruled(ctl: Ctl) -> None:
    """Below the value in force stand the values that it overruled, with the names of their files."""
    lines = ctl("config", "explain", "server.port").stdout.splitlines()
    assert lines[1].split() == ["/server/port", "80", "environment", "production.json"]
    assert lines[2].split() == ["8080", "default", "default.json"]


def test_explain_in_json_holds_values(ctl: Ctl) -> None:
    """Documents inside an answer are JSON, not strings or base64."""
    leaf = ctl.json("config", "explain", "server.port")["leaves"][0]
    assert (leaf["value"], leaf["layer"]) == (80, "environment")
    assert [opinion["value"] for opinion in leaf["opinions"]] == [8080, 80]


def test_explain_says_that_a_leaf_is_hidden(ctl: Ctl, daemon: FakeDaemon) -> None:
    """A value that a later layer deletes is shown as hidden by that layer."""
    layers = daemon.documents["default"].current.layers
    daemon.put("default", {**layers, common_pb2.LAYER_RUNTIME: {"big": None}})
    assert ctl("config", "explain", "big").stdout.splitlines()[1].split() == ["/big", "(hidden)", "runtime"]


def test_schema_prints_the_schema(ctl: Ctl) -> None:
    """The schema is a document like any other."""
    assert json.loads(ctl("config", "schema").stdout)["properties"]


def test_yaml_is_what_json_is(ctl: Ctl) -> None:
    """-o yaml and -o json hold the same values."""
    assert yaml.safe_load(ctl("config", "get", "-o", "yaml").stdout) == EFFECTIVE


def test_the_output_option_may_stand_before_and_the_later_one_wins(ctl: Ctl) -> None:
    """A global option is taken anywhere on the line; the environment speaks only when none is there."""
    assert ctl("-o", "json", "config", "get", "server.host").stdout == '"0.0.0.0"\n'
    assert ctl("-o", "json", "config", "get", "server.host", "-o", "table").stdout == "0.0.0.0\n"
    assert ctl("config", "get", "server.host", env={"VESTRY_OUTPUT": "json"}).stdout == '"0.0.0.0"\n'
    assert ctl("-o", "table", "config", "get", "server.host", env={"VESTRY_OUTPUT": "json"}).stdout == "0.0.0.0\n"
