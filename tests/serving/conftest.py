"""Servers over HTTP and HTTPS, for the tests that both have to pass."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.serving.servers import Running, Start, mount_pair, running
from tests.support.volume import Mount

from hcpcreds.serving import ServingCertificate


@pytest.fixture
def secret(tmp_path: Path) -> Mount:
    """A mounted Secret of type kubernetes.io/tls."""
    return Mount(tmp_path / "secret", "tls.crt")


@pytest.fixture(params=["http", "https"])
def start(request: pytest.FixtureRequest, secret: Mount) -> Iterator[Start]:
    """Starts servers, over HTTP and over HTTPS, and stops them."""
    with ExitStack() as stack:
        certificate: ServingCertificate | None = None
        if request.param == "https":
            mount_pair(secret)
            certificate = ServingCertificate(secret.directory / "tls.crt", secret.directory / "tls.key")
            stack.enter_context(closing(certificate))

        def begin(*arguments: Any, **options: Any) -> Running:
            return stack.enter_context(running(*arguments, certificate=certificate, **options))

        yield begin
