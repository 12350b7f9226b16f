"""One run of the real gateway with a canary wherever a secret belongs, used in every way that goes well and that fails."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2 as httpx

from tests.aigateway.conftest import TRUSTS_NOBODY
from tests.canaries.kinds import new_canaries
from tests.providers.fake_provider import FakeProvider, fake_provider
from tests.servers import free_port
from tests.test_run_command import MANAGE, ROOT, ForeignState, Gateway, starting, until
from usage.ledger.spool import Spool
from usage.ledger.sql.rows import ClosingRow

KEY_ID = "canary000000"
PAGES = (
    "/admin/",
    "/admin/auditlog/logentry/",
    "/admin/auth/user/",
    "/admin/axes/accessattempt/",
    "/admin/axes/accesslog/",
    "/admin/django_celery_beat/periodictask/",
    "/admin/providers/provider/",
    "/admin/providers/provider/2/change/",
    "/admin/providers/provider/2/history/",
    "/admin/providers/provider/3/change/",
    "/admin/usage/apikey/",
    "/admin/usage/attempt/",
    "/admin/usage/ledgerentry/",
    "/admin/usage/export/",
)
API = "/api/v1/ai"


class Scenario:
    """``sinks`` is all that was found, by sink; ``canaries`` what to look for in it, by kind."""

    def __init__(self, folder: Path) -> None:
        self.canaries = new_canaries()
        self.sinks: defaultdict[str, list[bytes]] = defaultdict(list)
        self.state = ForeignState(folder, embedded=True)  # there everything it keeps is a file
        self.key = f"gw_{KEY_ID}_{self.canaries['gateway key']}"

    # ------------------------------------------------------------------ the world

    def run(self) -> None:
        with fake_provider() as provider, starting(self.state) as start:
            provider.script.before = lambda: self._answer(provider)
            self._plant(provider)
            self._wrong_database(start)
            gateway = start(**self._environment())
            said = gateway.wait_until_ready()
            base_url = re.search(r"ready at (\S+)", said)[1]
            self._look_at_processes(gateway)
            worker = gateway.pid_of(" worker ")
            os.kill(worker, signal.SIGSTOP)
            try:
                self._use(base_url)
                self._keep_folder("broker files", "celery")
            finally:
                os.kill(worker, signal.SIGCONT)
            self._export(base_url)
            gateway.stop()
            self._collect(gateway)
            self._without_redis(start)

    def _without_redis(self, start: Callable[..., Gateway]) -> None:
        """A server that is away: web processes say so in their logs, again and again."""
        url, port = f"redis://:{self.canaries['Redis password']}@127.0.0.1:{free_port()}/0", free_port()
        gateway = start(command=(*MANAGE, "run", "--web-only"), **{**self._environment(), "REDIS_URL": url, "PORT": str(port)})
        gateway.wait_until_it_serves(port)
        with self._client(f"http://127.0.0.1:{port}", key=True) as client:
            self._chat(client, "hello")
            self._note("health", client.get("/readyz"))
        self._look_at_processes(gateway)
        gateway.stop()
        self._collect(gateway)

    def _environment(self) -> dict[str, str]:
        kinds = self.canaries
        return {
            "AIGATEWAY_LOG_LEVEL": "DEBUG",
            "AIGATEWAY_SECRET_KEY": kinds["SECRET_KEY"],
            "AIGATEWAY_KEKS": f"k1:{kinds['key ring']}",
            "AIGATEWAY_ADMIN_PASSWORD": kinds["administrator's password"],
            "AIGATEWAY_BOOTSTRAP_KEY": self.key,
            "SUBSCRIPTION_WEBHOOK_SECRET": kinds["subscription webhook secret"],
            "SUBSCRIPTION_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}/subscriptions",
            "SUBSCRIPTION_ENDPOINT_TOKEN": kinds["subscription endpoint token"],
            "AIGATEWAY_ALERT_WEBHOOK_URL": f"http://127.0.0.1:{free_port()}/alerts",
            "AIGATEWAY_ALERT_WEBHOOK_SECRET": kinds["alert webhook secret"],
            "AIGATEWAY_EMAIL_URL": f"smtp://mailer:{kinds['mail password']}@127.0.0.1:{free_port()}",
            "GROQ_API_KEY": kinds["key in the environment"],
        }

    def _plant(self, provider: FakeProvider) -> None:
        planted = subprocess.run(
            [sys.executable, "-m", "tests.canaries.plant"],
            cwd=ROOT,
            env={**os.environ, **self.state.env, "AIGATEWAY_VAR": str(self.state.var), **self._environment()},
            input=json.dumps({**self.canaries, "base_url": provider.base_url}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert planted.returncode == 0, planted.stderr
        self.sinks["logs"].append((planted.stdout + planted.stderr).encode())

    def _wrong_database(self, start: Callable[..., Gateway]) -> None:
        url = f"postgres://gateway:{self.canaries['database password']}@127.0.0.1:{free_port()}/gateway"
        failed: Gateway = start(**{**self._environment(), "DATABASE_URL": url})
        assert failed.process.wait(60) != 0
        self.sinks["terminal"].append(failed.said().encode())

    def _answer(self, provider: FakeProvider) -> None:
        """The canary answer; to a prompt with ``fail`` an error that repeats the request, headers and all."""
        method, path, headers = provider.asked[-1]
        script = provider.script
        script.status = 200
        if method == "GET":
            script.body = json.dumps({"object": "list", "data": []}).encode()
            return
        asked = json.loads(provider.bodies[-1])
        words = " ".join(str(message["content"]) for message in asked["messages"])
        if "fail" in words:
            script.status = int(re.search(r"fail (\d+)", words)[1])
            script.body = json.dumps({"error": {"message": f"{words} {headers} {path}", "type": "invalid_request_error"}}).encode()
            return
        message = {"role": "assistant", "content": self.canaries["answer"]}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        script.body = json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage}).encode()

    # ------------------------------------------------------------------ what people and programs do

    def _use(self, base_url: str) -> None:
        with self._client(base_url, key=True) as client:
            self._calls(client)
        self._administration(base_url)

    @contextmanager
    def _client(self, base_url: str, *, key: bool = False) -> Iterator[httpx.Client]:
        headers = {"Authorization": f"Bearer {self.key}"} if key else {}
        with httpx.Client(base_url=base_url, headers=headers, timeout=120, verify=TRUSTS_NOBODY) as client:
            yield client

    def _chat(self, client: httpx.Client, words: str, model: str = "canary-model", **headers: str) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": f"{self.canaries['prompt']} {words}"}]}
        return client.post("/v1/chat/completions", json=body, headers=headers)

    def _calls(self, client: httpx.Client) -> None:
        prompt = self.canaries["prompt"]
        for model in ("canary-model", "product-model"):
            answer = self._chat(client, "hello", model)
            assert answer.status_code == 200, answer.text
            assert self.canaries["answer"] in answer.text
            self._note_headers(answer)
            for status in (400, 401, 404, 422, 429, 500):
                self._note("client errors", self._chat(client, f"fail {status}", model), without_prompt=True)
        assert self._chat(client, "hello", **{"Idempotency-Key": "again"}).status_code == 200
        assert self._chat(client, "hello", **{"Idempotency-Key": "again"}).status_code == 200
        self._note("client errors", self._chat(client, "other words", **{"Idempotency-Key": "again"}))
        self._note("client errors", self._chat(client, "hello", "no-such-model"))
        for length in range(0, 560, 20):
            body = {"model": "canary-model", "messages": [{"role": "user", "content": "fail 400 " + "x" * length}]}
            self._note("cut errors", client.post("/v1/chat/completions", json=body))
        for raw in (f'{{"model": "canary-model", "{prompt}', f'"{prompt}"', f'{{"messages": "{prompt}"}}', f"\0{prompt}"):
            self._note("client errors", client.post("/v1/chat/completions", content=raw, headers={"Content-Type": "application/json"}))
        secret = self.canaries["gateway key"]
        for sent in (f"gw_{KEY_ID}_{secret[:-1]}0", f"{self.key}x", secret, f"Basic {secret}"):
            headers = {"Authorization": f"Bearer {sent}"}
            for method, path in (("POST", "/v1/chat/completions"), ("GET", f"{API}/models"), ("GET", "/v1/models"), ("GET", "/nowhere")):
                self._note("client errors", client.request(method, path, headers=headers, json={}))
        self._note("client errors", client.get("/v1/nothing", params={"key": secret}))
        signed = {"Stripe-Signature": "t=1,v1=00"}
        self._note("client errors", client.post(f"{API}/webhooks/subscriptions", content=b"{}", headers=signed))
        for path in ("/healthz", "/readyz", "/api/health", "/metrics"):
            self._note("health", client.get(path))
        self._note("OpenAPI document", client.get("/api/schema/"))

    def _administration(self, base_url: str) -> None:
        with self._client(base_url) as client:
            token = self._token(client, "/admin/login/")
            wrong = {"username": self.canaries["administrator's password"], "password": self.canaries["user password"]}
            refused = client.post("/admin/login/", data={**wrong, "csrfmiddlewaretoken": token})
            assert refused.status_code == 200
            shown = f'value="{wrong["username"]}"'  # in its own field, to the one who has just typed it there
            self.sinks["client errors"].append(refused.text.replace(shown, "").encode())
            login = {"username": "root", "password": self.canaries["administrator's password"], "csrfmiddlewaretoken": token}
            entered = client.post("/admin/login/?next=/admin/", data=login)
            assert entered.status_code == 302, entered.text
            self._note_headers(entered)
            self.canaries["session"] = client.cookies["sessionid"]
            self.canaries["CSRF token"] = client.cookies["csrftoken"]
            password = self.canaries["user password"]
            self._post(client, "/admin/auth/user/add/", username="ursula", password1=password, password2=password, usable_password="true")
            self._post(client, "/admin/auth/user/add/", username="ursula", password1=password, password2="other", usable_password="true")
            made = self._post(client, "/admin/usage/apikey/add/", user="1", name="made here", scopes="inference")
            self.canaries["gateway key made in the admin"] = re.search(r"gw_\w{12}_([\w-]{43})", made.text)[1]
            self._pages(client)

    def _pages(self, client: httpx.Client) -> None:
        for path in PAGES:
            page = client.get(path)
            assert page.status_code in (200, 404), f"{path}: {page.status_code}"
            self._note("audit log" if "auditlog" in path else "admin pages", page)
        for provider in (2, 3):
            headers = {"X-CSRFToken": client.cookies["csrftoken"]}
            for what in ("test", "import", "health"):
                self._note("client errors", client.post(f"{API}/admin/providers/{provider}/{what}", json={}, headers=headers))
            self._note("admin pages", client.get(f"{API}/admin/providers/{provider}"))
        headers = {"X-CSRFToken": client.cookies["csrftoken"]}
        body = {"label": "Wrong", "kind": "openai_compatible", "base_url": "nonsense", "api_key": self.canaries["provider key"]}
        self._note("client errors", client.post(f"{API}/admin/providers", json=body, headers=headers))
        client.post(f"{API}/admin/providers/health-check", json={}, headers=headers)
        for path in ("costs", "usage", "usage/lines"):
            self._note("CSV", client.get(f"{API}/admin/{path}", params={"format": "csv"}))

    def _token(self, client: httpx.Client, path: str) -> str:
        return re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(path).text)[1]

    def _post(self, client: httpx.Client, path: str, **fields: str) -> httpx.Response:
        fields["csrfmiddlewaretoken"] = self._token(client, path)
        answer = client.post(path, data=fields)
        assert answer.status_code in (200, 302), answer.text
        self._note_headers(answer)
        return answer

    def _export(self, base_url: str) -> None:
        with self._client(base_url) as client:
            client.cookies.update({"sessionid": self.canaries["session"], "csrftoken": self.canaries["CSRF token"]})
            for kind in ("csv", "xlsx", "focus"):
                asked = client.post(f"{API}/admin/exports", json={"format": kind}, headers={"X-CSRFToken": client.cookies["csrftoken"]})
                self._note("client errors", asked) if asked.status_code >= 400 else None
            until(lambda: all(row["status"] in ("done", "failed") for row in client.get(f"{API}/admin/exports").json()["results"]), 120)
        self._keep_folder("export files", "exports")

    # ------------------------------------------------------------------ where it may have gone

    def _note(self, sink: str, answer: httpx.Response, *, without_prompt: bool = False) -> None:
        headers = [pair for pair in answer.headers.multi_items() if pair[0] != "set-cookie"]
        text = f"{answer.status_code} {headers} {answer.text}"
        if without_prompt and "is not understood" not in text:
            text = text.replace(self.canaries["prompt"], "(the client's own prompt)")
        self.sinks[sink].append(text.encode())
        self._note_headers(answer)

    def _note_headers(self, answer: httpx.Response) -> None:
        self.sinks["cookies"].append("\n".join(answer.headers.get_list("set-cookie")).encode())

    def _look_at_processes(self, gateway: Gateway) -> None:
        for pid, words in gateway.processes().items():
            self.sinks["process arguments"].append(words.encode())
            if pid != gateway.process.pid:
                self.sinks["environment of children"].append(Path(f"/proc/{pid}/environ").read_bytes())

    def _keep_folder(self, sink: str, name: str) -> None:
        files = [path for path in (self.state.var / name).rglob("*") if path.is_file()]
        assert files, f"nothing in {name}"
        self.sinks[sink] += [path.read_bytes() for path in files]

    def _collect(self, gateway: Gateway) -> None:
        self.sinks["terminal"].append(gateway.said().encode())
        logs = [*(self.state.var / "log").glob("*")]
        assert any(b"attempt_failed" in path.read_bytes() for path in logs)
        self.sinks["logs"] += [path.read_bytes() for path in logs]
        self._dump()

    def _dump(self) -> None:
        for path in self.state.var.glob("aigateway.sqlite3*"):
            self.sinks["database"].append(path.read_bytes())
        with closing(sqlite3.connect(self.state.var / "aigateway.sqlite3")) as database:
            for table, sink in (("auditlog_logentry", "audit log"), ("usage_idempotencyrecord", "idempotency store")):
                rows = database.execute(f"SELECT * FROM {table}").fetchall()
                assert rows, f"{table} is empty"
                self.sinks[sink] += [value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row]
            self._spool(database)

    def _spool(self, database: sqlite3.Connection) -> None:
        """What a file holds while the database is away: the closings of these calls, as they are written to it."""
        columns = ("attempt_id", "basis", "cost_nano", "upstream_id", "error_code", "note", "input_tokens", "output_tokens", "quota_tokens")
        rows = database.execute(f"SELECT {', '.join(columns)} FROM usage_ledgerentry").fetchall()
        spool = Spool(self.state.var / "spool", uuid.uuid4())
        spool.add(ClosingRow(status="settled", **dict(zip(columns, row, strict=True))) for row in rows)
        self._keep_folder("spool", "spool")
        spool.clear()
        spool.release()
