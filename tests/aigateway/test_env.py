from __future__ import annotations

import base64
import socket
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from aigateway import env


@pytest.mark.parametrize(("value", "meant"), [("", False), ("0", False), ("no", False), ("1", True), ("TRUE", True), ("yes", True)])
def test_a_flag_is_on_or_off(monkeypatch, value: str, meant: bool) -> None:
    monkeypatch.setenv("SOME_FLAG", value)
    assert env.flag("SOME_FLAG") is meant


def test_a_flag_that_is_neither_is_refused_by_name(monkeypatch) -> None:
    monkeypatch.setenv("SOME_FLAG", "perhaps")
    with pytest.raises(ImproperlyConfigured, match="SOME_FLAG"):
        env.flag("SOME_FLAG")


@pytest.mark.parametrize(("value", "meant"), [("", 7), (" ", 7), ("3", 3), ("12", 12)])
def test_a_number_has_a_default(monkeypatch, value: str, meant: int) -> None:
    monkeypatch.setenv("SOME_NUMBER", value)
    assert env.integer("SOME_NUMBER", 7) == meant


@pytest.mark.parametrize("value", ["2", "-5", "1.5", "many"])
def test_a_number_that_is_none_or_too_small_is_refused_by_name(monkeypatch, value: str) -> None:
    monkeypatch.setenv("SOME_NUMBER", value)
    with pytest.raises(ImproperlyConfigured, match="SOME_NUMBER"):
        env.integer("SOME_NUMBER", 7, minimum=3)


def test_a_stored_secret_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret"
    assert env.stored_secret(path, "first") == "first"
    assert env.stored_secret(path, "second") == "first"
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert oct(path.parent.stat().st_mode)[-3:] == "700"


def test_a_new_key_ring_has_one_key_of_256_bits() -> None:
    key_id, _, encoded = env.new_key_ring().partition(":")
    assert key_id == "k1"
    assert len(base64.urlsafe_b64decode(encoded)) == 32


def test_hosts_are_loopback_the_bound_address_and_for_every_interface_this_machine(monkeypatch) -> None:
    monkeypatch.delenv("AIGATEWAY_ALLOWED_HOSTS", raising=False)
    assert env.allowed_hosts("127.0.0.1") == [*env.LOOPBACK_HOSTS]
    assert env.allowed_hosts("192.0.2.7") == [*env.LOOPBACK_HOSTS, "192.0.2.7"]
    assert socket.gethostname() in env.allowed_hosts("0.0.0.0")


@pytest.mark.parametrize("value", ["a, b", "a\nb", '["a", "b"]', ' [ "a","b" ] ', "a,\n b,"])
def test_C04_a_list_may_be_written_in_every_form(monkeypatch, value: str) -> None:
    monkeypatch.setenv("SOME_LIST", value)
    assert env.words("SOME_LIST") == ["a", "b"]


def test_C04_an_address_in_brackets_is_no_JSON_and_broken_JSON_is_refused_by_name(monkeypatch) -> None:
    monkeypatch.setenv("SOME_LIST", "[::1],localhost")
    assert env.words("SOME_LIST") == ["[::1]", "localhost"]
    monkeypatch.setenv("SOME_LIST", '["a", ')
    with pytest.raises(ImproperlyConfigured, match="SOME_LIST"):
        env.words("SOME_LIST")


def test_a_list_of_hosts_is_taken_as_it_is(monkeypatch) -> None:
    monkeypatch.setenv("AIGATEWAY_ALLOWED_HOSTS", "a.example.org, b.example.org,")
    assert env.allowed_hosts("0.0.0.0") == ["a.example.org", "b.example.org"]
