"""``restive serve`` with a certificate: all of it over TLS, and one line where that cannot be."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from clirun import APPS, COMMAND, WITHIN, environment, error_of, free_port

from restive.client import AsyncClient

OPENSSL = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=127.0.0.1"
PASSWORD = "open sesame"


@dataclass
class Certificate:
    """Files as an operator has them: the chain, its key, and the key under a password."""

    chain: str
    key: str
    locked: str

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.chain)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    found = Certificate(*(str(folder / name) for name in ("chain.pem", "key.pem", "locked.pem")))
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-nodes", "-keyout", found.key, "-out", found.chain]
    subprocess.run([*OPENSSL.split(), *names], check=True, capture_output=True)
    lock = ["-in", found.key, "-aes128", "-passout", f"pass:{PASSWORD}", "-out", found.locked]
    subprocess.run(["openssl", "pkey", *lock], check=True, capture_output=True)
    return found


Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path, certificate: Certificate) -> Iterator[Start]:
    """Serve the team's app; its origin."""
    processes: list[subprocess.Popen[bytes]] = []

    def serve(*options: str, **env: str) -> str:
        port = free_port()
        with (tmp_path / "served.log").open("wb") as log:
            process = subprocess.Popen(
                [*COMMAND, "serve", "team:app", "--app-dir", str(APPS), "--port", str(port), *options],
                cwd=tmp_path,
                env=environment(tmp_path, **env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        processes.append(process)
        return f"https://127.0.0.1:{port}"

    yield serve
    for process in processes:
        process.terminate()
        process.wait(WITHIN)


async def until_served(url: str, trusted: ssl.SSLContext) -> None:
    async with httpx2.AsyncClient(verify=trusted) as http, asyncio.timeout(WITHIN):
        while True:
            try:
                await http.get(f"{url}/-/health")
            except httpx2.HTTPError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("kind", ["websocket", "sse", "ndjson", "long-poll"])
async def test_watches_over_tls(start: Start, certificate: Certificate, kind: str, workers: str) -> None:
    files = ["--ssl-certfile", certificate.chain, "--ssl-keyfile", certificate.locked, "--workers", workers]
    url = start(*files, UVICORN_SSL_KEYFILE_PASSWORD=PASSWORD)
    trusted = certificate.trusted()
    await until_served(url, trusted)
    async with AsyncClient(url, transport=kind, verify=trusted) as client, asyncio.timeout(WITHIN):
        watch = client.watch("/seen")
        assert (await anext(watch)).data == 0
        (await client.put("/seen", json=5)).raise_for_status()
        assert (await anext(watch)).data == 5


async def test_a_connection_over_tls_is_taken_over(start: Start, certificate: Certificate) -> None:
    """Its response ends with the watch, as only that of the fast path says."""
    url = start("--ssl-certfile", certificate.chain, "--ssl-keyfile", certificate.key)
    trusted = certificate.trusted()
    await until_served(url, trusted)
    async with (
        httpx2.AsyncClient(verify=trusted) as http,
        http.stream("GET", f"{url}/seen?live=sse") as answer,
    ):
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("chain", "key", "said"),
    [
        ("nowhere.pem", None, "No such file or directory"),
        ("chain", "nowhere.pem", "No such file or directory"),
        ("chain", None, "no certificate, no key"),
        ("chain", "locked", "wrong password"),
        ("key", "key", "cannot be used for TLS"),
    ],
)
def test_files_that_cannot_be_used_end_it_with_status_3(
    restive: Callable[..., subprocess.CompletedProcess[str]],
    certificate: Certificate,
    chain: str,
    key: str | None,
    said: str,
) -> None:
    names = {name: getattr(certificate, name, name) for name in (chain, key or "")}
    options = ["--ssl-certfile", names[chain], *(["--ssl-keyfile", names[key]] if key else [])]
    done = restive("serve", "team:app", "--app-dir", str(APPS), *options)
    assert done.returncode == 3
    assert said in error_of(done)


def test_a_key_without_a_certificate_is_a_mistake(
    restive: Callable[..., subprocess.CompletedProcess[str]], certificate: Certificate
) -> None:
    assert restive("serve", "team:app", "--ssl-keyfile", certificate.key).returncode == 2
