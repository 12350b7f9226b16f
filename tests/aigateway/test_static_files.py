"""Static files reach the browser whole and unbuffered by warnings (the suite turns warnings into errors)."""

from __future__ import annotations

from tests.aigateway.conftest import LiveGateway


def test_a_static_file_is_served_with_its_length_and_type(gateway: LiveGateway) -> None:
    response = gateway.client.get("/static/admin/css/base.css")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/css")
    assert int(response.headers["content-length"]) == len(response.content)
    assert gateway.client.get("/static/admin/css/none.css").status_code == 404


def test_a_known_file_is_not_sent_again(gateway: LiveGateway) -> None:
    first = gateway.client.get("/static/admin/css/base.css")
    again = gateway.client.get("/static/admin/css/base.css", headers={"If-Modified-Since": first.headers["last-modified"]})
    assert (again.status_code, again.content) == (304, b"")
