from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from providers.addresses import check_base_url


def checked(url: str, *, allow_private: bool = False, is_superuser: bool = True):
    return check_base_url(url, allow_private=allow_private, is_superuser=is_superuser)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://API.OpenAI.com/v1/", "https://api.openai.com/v1"),
        ("  https://host.example:8443/a/b  ", "https://host.example:8443/a/b"),
        ("https://host.example", "https://host.example"),
        ("https://[2606:4700::1111]/v1", "https://[2606:4700::1111]/v1"),
        ("https://api.fireworks.ai/inference/v1", "https://api.fireworks.ai/inference/v1"),
        (
            "https://R.openai.azure.com/openai/deployments/x/?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/x?api-version=2024-10-21",
        ),
    ],
)
def test_public_https_addresses_are_kept_in_canonical_form(typed, kept):
    address = checked(typed, is_superuser=False)
    assert (address.url, address.allow_private) == (kept, False)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434/v1",
        "http://localhost:8080/v1",
        "http://LOCALHOST/v1",
        "http://sim.localhost:1/v1",
        "http://10.1.2.3/v1",
        "http://192.168.0.10:8000/v1",
        "http://172.16.9.9/v1",
        "http://[::1]:8000/v1",
        "http://[fd12::1]/v1",
        "https://10.0.0.1/v1",
        "http://100.64.0.9/v1",
        "http://[::ffff:10.0.0.1]/v1",
    ],
)
def test_S06_a_private_address_is_a_superusers_and_switches_private_access_on(url):
    assert checked(url).allow_private
    with pytest.raises(ValidationError) as refusal:
        checked(url, is_superuser=False)
    assert "base_url" in refusal.value.message_dict


@pytest.mark.parametrize("url", ["http://ollama:11434/v1", "http://vllm.models.svc.cluster.local/v1", "http://gpu.lan:8000/v1"])
def test_S06_a_name_in_the_own_network_needs_the_switch_for_plain_http(url):
    with pytest.raises(ValidationError, match="https"):
        checked(url)
    assert checked(url, allow_private=True).url == url


def test_only_a_superuser_may_switch_private_access_on():
    with pytest.raises(ValidationError):
        checked("https://host.example/v1", allow_private=True, is_superuser=False)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.1.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "224.0.0.1", "255.255.255.255",
        "[fe80::1]", "[fd00:ec2::254]", "[::]", "[ff02::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]",
        "198.18.0.1", "192.0.2.1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_private", [True, False])
def test_S05_addresses_nobody_may_dial_are_refused_for_everybody(host, allow_private):
    with pytest.raises(ValidationError):
        checked(f"https://{host}/v1", allow_private=allow_private)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "1.2.3.4.", "1.2.3", "10.0.0.256", "127.0.0.1.", "[::1%eth0]"]
)
def test_S05_unusual_spellings_of_addresses_are_refused(host):
    with pytest.raises(ValidationError):
        checked(f"https://{host}/v1", allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "", "api.openai.com/v1", "//host/v1", "ftp://host.example/v1", "file:///etc/passwd", "javascript:alert(1)", "https:///v1", "https://",
        "https://user@host.example/v1", "https://user:pw@host.example/v1", "https://host.example@evil.example/v1", "https://host.example/v1?x=1",
        "https://host.example/v1#evil", "https://evil.org#.host.example/v1", "https://host.example/../v1", "https://host.example/v1/..",
        "https://host.example/%2f%2fevil", "https://host.example/v1%00", "https://host.example\\@evil.example/v1", "https://host.example/a\\b",
        "https://host.example/a b", "https://host.exam ple/v1", "https://höst.example/v1", "https://host.example:0/v1", "https://host.example:99999/v1",
        "https://host.example:abc/v1", "https://host.example//evil.example", "https://-host.example/v1", "https://host..example/v1",
        "https://host.example/v1\nX: y", "https://host.example/v1\x00", "https://[::1/v1", "https://host.example/v1;x",
    ],
)  # fmt: skip
def test_B16_nothing_that_could_change_the_host_or_carry_more_than_a_path_is_accepted(url):
    with pytest.raises(ValidationError) as refusal:
        checked(url)
    assert set(refusal.value.message_dict) == {"base_url"}


def test_plain_http_to_a_public_host_is_refused():
    with pytest.raises(ValidationError, match="https"):
        checked("http://api.example.org/v1")
