from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.utils import timezone

from providers import actions, health, secrets, tasks
from providers.audit import SYSTEM
from providers.health import ProbeOutcome, probe, probe_all
from providers.models import ConfigChange, ConfigVersion, HealthCheck, HealthCheckJob, Provider
from providers.registry import provider_spec
from providers.upstream.types import HealthStatus
from tests.providers.conftest import CANARY, make_provider
from tests.providers.fake_provider import closed_port, dripping_server, fake_provider

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def spec_of(base_url: str, **fields):
    return provider_spec(make_provider(base_url, **fields))


# --------------------------------------------------------------------------- one probe


def test_R601_a_probe_asks_for_the_model_list_with_the_key_and_nothing_else(upstream):
    outcome = probe(spec_of(upstream.base_url))
    assert (outcome.status, outcome.http_status, outcome.error_code) == (HealthStatus.GREEN, 200, "")
    (method, path, headers) = upstream.asked[0]
    assert (method, path, len(upstream.asked)) == ("GET", "/v1/models", 1)
    assert headers["authorization"] == f"Bearer {CANARY}"
    assert headers["accept-encoding"] == "identity"


def test_a_slow_answer_is_yellow(upstream, monkeypatch):
    monkeypatch.setattr(health, "SLOW_MS", 0.0)
    assert probe(spec_of(upstream.base_url)).status is HealthStatus.YELLOW


@pytest.mark.parametrize(
    ("status", "colour", "code"),
    [
        (401, HealthStatus.RED, "upstream_auth_rejected"),
        (403, HealthStatus.RED, "upstream_permission_refused"),
        (402, HealthStatus.RED, "upstream_quota_exhausted"),
        (429, HealthStatus.YELLOW, "upstream_rate_limited"),
        (500, HealthStatus.YELLOW, "upstream_server_error"),
        (503, HealthStatus.YELLOW, "upstream_overloaded"),
        (404, HealthStatus.YELLOW, "upstream_model_not_found"),
    ],
)
def test_S08_an_error_answer_becomes_a_colour_and_our_own_sentence(upstream, status, colour, code):
    upstream.script.status = status
    upstream.script.body = json.dumps({"error": {"message": "INTERNAL-SECRET-TEXT", "type": "x", "code": "y"}}).encode()
    outcome = probe(spec_of(upstream.base_url))
    assert (outcome.status, outcome.http_status) == (colour, status)
    assert outcome.error_code == code
    assert "INTERNAL-SECRET-TEXT" not in repr(outcome)


def test_S08_a_page_of_another_service_is_not_green_and_not_shown(upstream):
    upstream.script.body = b"<html>router login INTERNAL-SECRET-TEXT</html>"
    upstream.script.headers = {"Content-Type": "text/html"}
    outcome = probe(spec_of(upstream.base_url))
    assert outcome.status is HealthStatus.YELLOW
    assert "INTERNAL-SECRET-TEXT" not in repr(outcome)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_U31_a_redirect_is_red_and_the_key_does_not_follow_it(upstream, status):
    with fake_provider() as elsewhere:
        upstream.script.status = status
        upstream.script.headers = {"Location": f"{elsewhere.base_url}/models"}
        outcome = probe(spec_of(upstream.base_url))
        assert (outcome.status, outcome.error_code) == (HealthStatus.RED, "upstream_redirect")
        assert elsewhere.asked == []


def test_U01_a_closed_port_is_red_at_once():
    started = time.monotonic()
    outcome = probe(spec_of(f"http://127.0.0.1:{closed_port()}/v1"))
    assert (outcome.status, outcome.error_code, outcome.latency_ms) == (HealthStatus.RED, "upstream_connect_failed", None)
    assert time.monotonic() - started < 1


def test_U03_an_unknown_name_is_told_from_a_refused_connection():
    assert probe(spec_of("https://no-such-host.invalid/v1")).error_code == "upstream_dns_failed"


def test_a_silent_server_is_red_when_the_time_is_over(upstream):
    released = threading.Event()
    upstream.script.before = lambda: released.wait(10) and None
    started = time.monotonic()
    outcome = probe(spec_of(upstream.base_url), timeout_s=0.3)
    released.set()
    assert (outcome.status, outcome.error_code) == (HealthStatus.RED, "upstream_first_byte_timeout")
    assert time.monotonic() - started < 2


def test_U08_a_server_that_drips_headers_is_given_up_and_holds_up_nobody_else(upstream):
    with dripping_server() as dripping:
        slow, good = spec_of(dripping), spec_of(upstream.base_url, label="Good")
        started = time.monotonic()
        outcomes = probe_all([slow, good], patience_s=0.5)
        assert time.monotonic() - started < 2
    assert outcomes[slow.id].error_code == "upstream_deadline_exceeded"
    assert outcomes[good.id].status is HealthStatus.GREEN


def test_S06_an_address_without_permission_is_not_dialled(upstream):
    provider = make_provider(upstream.base_url)
    Provider.objects.filter(pk=provider.pk).update(allow_private=False)
    provider.refresh_from_db()
    outcome = probe(provider_spec(provider))
    assert (outcome.status, outcome.error_code) == (HealthStatus.RED, "upstream_address_denied")
    assert upstream.asked == []


def test_a_provider_that_needs_a_key_and_has_none_sends_nothing(upstream):
    outcome = probe(spec_of(upstream.base_url, kind="groq", key=None))
    assert (outcome.status, outcome.error_code) == (HealthStatus.RED, "credential_locked")
    assert upstream.asked == []


def test_a_locked_key_is_red_and_sends_nothing(upstream, settings):
    provider = make_provider(upstream.base_url, kind="groq")
    settings.KEY_RING = secrets.new_ring_entry("other")
    assert probe(provider_spec(provider)).error_code == "credential_locked"
    assert upstream.asked == []


# --------------------------------------------------------------------------- the record

GREEN = ProbeOutcome(HealthStatus.GREEN, "The provider answers.", 12.0, 200)
RED = ProbeOutcome(HealthStatus.RED, "The provider fails.", error_code="x")


def test_the_version_moves_only_when_the_colour_does():
    provider = make_provider()
    versions = []
    for outcome in (GREEN, GREEN, RED, RED, GREEN):
        health.record(provider.pk, outcome)
        versions.append(ConfigVersion.current())
    assert [later - earlier for earlier, later in pairwise(versions)] == [0, 1, 0, 1]
    assert HealthCheck.objects.filter(provider=provider).count() == 5


def test_failures_are_counted_in_a_row():
    provider = make_provider()
    counts = []
    for outcome in (RED, RED, GREEN, RED):
        health.record(provider.pk, outcome)
        provider.refresh_from_db()
        counts.append(provider.consecutive_failures)
    assert counts == [1, 2, 0, 1]


def test_observations_stay_out_of_the_audit_log():
    provider = make_provider()
    before = LogEntry.objects.count()
    health.record(provider.pk, RED)
    assert LogEntry.objects.count() == before


def test_all_live_providers_are_checked_and_others_left_alone(upstream):
    good = make_provider(upstream.base_url, label="Good")
    bad = make_provider(f"http://127.0.0.1:{closed_port()}/v1", label="Bad")
    off, gone = make_provider(label="Off"), make_provider(label="Gone")
    actions.toggle_provider(off.pk, False, SYSTEM)
    actions.delete_provider(gone.pk, SYSTEM)
    assert tasks.check_providers() == 2
    statuses = dict(Provider.objects.values_list("pk", "health"))
    assert statuses == {good.pk: "green", bad.pk: "red", off.pk: "unknown", gone.pk: "unknown"}


@pytest.mark.parametrize(
    ("colours", "overall"),
    [
        ([], "unknown"), (["unknown"], "unknown"), (["green", "unknown"], "green"), (["green", "red"], "yellow"), (["red", "red"], "red"),
        (["yellow"], "yellow"), (["green", "yellow"], "yellow"),
    ],
)  # fmt: skip
def test_the_overall_status_sums_up(colours, overall):
    for number, colour in enumerate(colours):
        Provider.objects.filter(pk=make_provider(label=f"P{number}").pk).update(health=colour)
    assert health.overall_status().status == overall


# --------------------------------------------------------------------------- jobs


def test_a_job_is_done_once_however_often_it_is_woken(upstream):
    make_provider(upstream.base_url)
    job = health.queue_job(None)
    assert [tasks.run_health_check_job(str(job.pk)) for _ in range(3)] == [True, False, False]
    job.refresh_from_db()
    assert (job.state, job.checked_count) == (HealthCheckJob.State.DONE, 1)
    assert len(upstream.asked) == 1


def test_a_job_for_one_provider_checks_only_that(upstream):
    make_provider(label="Other")
    job = health.queue_job(None, make_provider(upstream.base_url).pk)
    tasks.run_health_check_job(str(job.pk))
    assert HealthCheck.objects.count() == 1


def test_I13_a_job_whose_wake_up_was_lost_is_done_by_the_sweeper(upstream):
    make_provider(upstream.base_url)
    fresh, lost = health.queue_job(None), health.queue_job(None)
    HealthCheckJob.objects.filter(pk=lost.pk).update(created_at=timezone.now() - timedelta(minutes=1))
    assert tasks.sweep_health_check_jobs() == 1
    states = dict(HealthCheckJob.objects.values_list("pk", "state"))
    assert states == {fresh.pk: "queued", lost.pk: "done"}


def test_I13_a_job_whose_worker_died_is_given_up():
    job = health.queue_job(None)
    HealthCheckJob.objects.filter(pk=job.pk).update(state="running", created_at=timezone.now() - timedelta(hours=1))
    assert tasks.sweep_health_check_jobs() == 0
    job.refresh_from_db()
    assert job.state == HealthCheckJob.State.FAILED


@pytest.mark.django_db(transaction=True)
def test_I14_two_workers_woken_at_once_do_the_job_once(upstream):
    make_provider(upstream.base_url)
    job, gate, done = HealthCheckJob.objects.create(), threading.Barrier(4), []

    def work() -> None:
        try:
            gate.wait()
            done.append(health.run_job(str(job.pk)))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]
    assert len(upstream.asked) == 1


def test_a_broker_that_is_away_does_not_refuse_the_job(django_capture_on_commit_callbacks, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise OSError("no broker")

    monkeypatch.setattr("celery.app.base.Celery.send_task", broken)
    with django_capture_on_commit_callbacks(execute=True):
        job = health.queue_job(None)
    assert HealthCheckJob.objects.filter(pk=job.pk, state="queued").exists()


def test_old_history_is_swept_and_recent_kept():
    provider = make_provider()
    health.record(provider.pk, GREEN)
    health.record(provider.pk, RED)
    old = HealthCheck.objects.order_by("pk").first()
    HealthCheck.objects.filter(pk=old.pk).update(checked_at=timezone.now() - timedelta(days=31))
    ConfigChange.objects.update(created_at=timezone.now() - timedelta(days=2))
    tasks.sweep_history()
    assert HealthCheck.objects.get().pk != old.pk
    assert not ConfigChange.objects.exists()
