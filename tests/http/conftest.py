"""Fixtures: both credentials in the test's own network, with an empty environment."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.credential.files import issue, render_file
from tests.credential.subjects import AioSubject, Loop, Subject
from tests.http.network import Authority, Web
from tests.support.volume import Mount

import hcpcreds.aio
import hcpcreds.credential


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Remove the machine's network settings from the environment; HOME is the test's directory."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or "_CA_BUNDLE" in name or name.startswith("SSL_CERT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@dataclass
class Net:
    """A web server, its CA, and the environment of its clients."""

    web: Web
    authority: Authority
    home: Path
    environment: pytest.MonkeyPatch

    def make_other_authority(self) -> Authority:
        (self.home / "other").mkdir()
        return Authority(self.home / "other")


@pytest.fixture
def net(authority: Authority, tmp_path: Path, environment: pytest.MonkeyPatch) -> Iterator[Net]:
    web = Web(authority.make_tls())
    yield Net(web, authority, tmp_path, environment)
    web.close()


Make = Callable[..., Subject]


@pytest.fixture(params=["sync", "aio"])
def make(request: pytest.FixtureRequest, net: Net) -> Iterator[Make]:
    """Creates a credential that requests its tokens from the web server, by its name or address."""
    mount = Mount(net.home / "certs")
    mount.swap(render_file(issue()))
    loop = Loop() if request.param == "aio" else None
    made: list[Subject] = []

    def make(host: str = "127.0.0.1", **options: object) -> Subject:
        given = {"authority": f"https://{host}:{net.web.port}", "retry_backoff_factor": 0, **options}
        subject: Subject
        if loop is None:
            subject = hcpcreds.credential.UserAssignedIdentityCredential(mount.path, **given)  # type: ignore[arg-type]
        else:
            aio = hcpcreds.aio.UserAssignedIdentityCredential
            subject = AioSubject(loop, lambda: aio(mount.path, **given))  # type: ignore[arg-type]
        made.append(subject)
        return subject

    yield make
    for subject in made:
        subject.close()
    if loop is not None:
        loop.close()
