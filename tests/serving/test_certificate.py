"""TLS that no torn, mismatched or missing pair takes down, over renames as the kubelet makes them."""

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.serving.servers import (
    CA,
    Running,
    get_serial,
    issue,
    make_client_context,
    mount_pair,
    running,
)
from tests.support.processes import run_python
from tests.support.volume import Mount
from tests.support.waiting import wait_until

from hcpcreds.errors import InputError
from hcpcreds.serving import ServingCertificate


def open_pair(secret: Mount) -> ServingCertificate:
    return ServingCertificate(secret.directory / "tls.crt", secret.directory / "tls.key")


def get_served(server: Running, context: ssl.SSLContext | None = None) -> str:
    """The serial number of the certificate that a new connection gets."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with (context or make_client_context()).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        certificate = connection.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"]).lstrip("0")


@pytest.fixture
def server(secret: Mount) -> Iterator[Running]:
    mount_pair(secret)
    with closing(open_pair(secret)) as certificate, running(certificate=certificate) as server:
        yield server


def test_new_pair_serves_new_connections_when_the_secret_changes(secret: Mount, server: Running):
    with server.open() as old:
        old.request("GET", "/hello")
        old.getresponse().read()
        for _ in range(3):
            pair = mount_pair(secret)
            wait_until(lambda pair=pair: get_served(server) == get_serial(pair))  # type: ignore[misc]
            old.request("GET", "/hello")
            assert old.getresponse().read() == b"hello\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_pair_serves_every_version_of_tls_when_the_secret_changes(
    secret: Mount, server: Running, version: ssl.TLSVersion
):
    context = make_client_context()
    context.minimum_version = context.maximum_version = version
    pair = mount_pair(secret)
    wait_until(lambda: get_served(server, context) == get_serial(pair))


def test_http_1_1_is_chosen_when_a_client_also_offers_http_2(server: Running):
    context = make_client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_client_is_refused_when_its_version_of_tls_is_old(server: Running):
    context = make_client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        get_served(server, context)


def encrypt(pair: Mapping[str, bytes]) -> dict[str, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    return {**pair, "tls.key": locked}


BAD: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "mismatch": lambda pair: {**pair, "tls.key": issue()["tls.key"]},
    "torn certificate": lambda pair: {**pair, "tls.crt": pair["tls.crt"][:300]},
    "torn key": lambda pair: {**pair, "tls.key": pair["tls.key"][:100]},
    "empty": lambda _: {"tls.crt": b"", "tls.key": b""},
    "swapped": lambda pair: {"tls.crt": pair["tls.key"], "tls.key": pair["tls.crt"]},
    "encrypted": encrypt,
    "der": lambda pair: {**pair, "tls.crt": ssl.PEM_cert_to_DER_cert(pair["tls.crt"].decode())},
}


@pytest.mark.parametrize("bad", BAD)
def test_last_good_pair_serves_when_the_next_one_is_bad(
    secret: Mount, caplog: pytest.LogCaptureFixture, bad: str
):
    first = mount_pair(secret)
    with closing(open_pair(secret)) as certificate, running(certificate=certificate) as server:
        mount_pair(secret, BAD[bad](issue()))
        wait_until(lambda: "the last valid pair stays in use" in caplog.text)
        assert get_served(server) == get_serial(first)
        mount_pair(secret, BAD[bad](issue()))
        good = mount_pair(secret)
        wait_until(lambda: get_served(server) == get_serial(good))
    assert "PRIVATE KEY" not in caplog.text


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
def test_last_good_pair_serves_when_a_file_is_gone(
    secret: Mount, caplog: pytest.LogCaptureFixture, name: str
):
    first = mount_pair(secret)
    with closing(open_pair(secret)) as certificate, running(certificate=certificate) as server:
        (secret.directory / name).unlink()
        wait_until(lambda: "cannot be read: No such file or directory" in caplog.text)
        assert get_served(server) == get_serial(first)
        (secret.directory / name).symlink_to(f"..data/{name}")
        good = mount_pair(secret)
        wait_until(lambda: get_served(server) == get_serial(good))


def test_new_pair_serves_when_its_files_are_written_one_after_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    places = (tmp_path / "tls.crt", tmp_path / "tls.key")
    first, second = issue(), issue()
    for place in places:
        place.write_bytes(first[place.name])
    with closing(ServingCertificate(*places)) as certificate, running(certificate=certificate) as server:
        places[0].write_bytes(second["tls.crt"])
        wait_until(lambda: "they do not match" in caplog.text)
        assert get_served(server) == get_serial(first)
        places[1].write_bytes(second["tls.key"])
        wait_until(lambda: get_served(server) == get_serial(second))
    assert sum("they do not match" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.unmeasured
def test_handshakes_succeed_when_pairs_are_swapped_in_a_storm(secret: Mount, server: Running):
    pairs = [issue() for _ in range(5)]
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for pair in pairs:
                secret.swap_all(pair)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(60):
            assert get_served(server)
    finally:
        stop.set()
        thread.join()
    last = mount_pair(secret)
    wait_until(lambda: get_served(server) == get_serial(last))


@pytest.mark.parametrize("bad", [*BAD, "missing"])
def test_bad_pair_is_refused_when_the_server_starts(secret: Mount, bad: str):
    if bad != "missing":
        mount_pair(secret, BAD[bad](issue()))
    place = secret.directory
    said = f"serving certificate: the certificate {place}/tls.crt with the key {place}/tls.key"
    with pytest.raises(InputError, match=said) as caught:
        open_pair(secret)
    assert "unencrypted key" in str(caught.value)
    assert "PRIVATE KEY" not in repr(caught.value)
    assert caught.value.__context__ is None, "the frames of a context hold the key"


def test_nobody_is_asked_for_a_password_when_the_key_is_encrypted(secret: Mount):
    mount_pair(secret, encrypt(issue()))
    printed = run_python(
        """
        import sys
        from hcpcreds.errors import InputError
        from hcpcreds.serving import ServingCertificate
        try:
            ServingCertificate(f"{sys.argv[1]}/tls.crt", f"{sys.argv[1]}/tls.key")
        except InputError as error:
            print(error.problems[0].rpartition(": ")[2])
        """,
        secret.directory,
    )
    assert printed == "expected a key that is not encrypted"


def test_warning_is_logged_when_the_pair_has_expired(secret: Mount, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    mount_pair(secret)
    open_pair(secret).close()
    later = datetime.now(UTC) + timedelta(days=1000 * 365)
    ServingCertificate(secret.directory / "tls.crt", secret.directory / "tls.key", now=lambda: later).close()
    levels = [record.levelname for record in caplog.records if "valid until" in record.getMessage()]
    assert levels == ["INFO", "WARNING"]


def test_client_is_dropped_when_it_does_not_speak_tls_or_stops(server: Running):
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as plain:
        plain.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(10)
        while plain.recv(1000):
            pass
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as plain:
        plain.sendall(b"\x16\x03\x01")
        wait_until(lambda: server.count_connections() == 1)
    wait_until(lambda: server.count_connections() == 0)
    assert server.ask("/hello")[0] == 200


def test_client_is_dropped_when_its_handshake_takes_too_long(secret: Mount):
    now = [0.0]
    mount_pair(secret)
    with (
        closing(open_pair(secret)) as certificate,
        running(certificate=certificate, monotonic=lambda: now[0]) as server,
        closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as plain,
    ):
        wait_until(server.count_connections)
        now[0] = 11.0
        assert plain.recv(1) == b""
        wait_until(lambda: server.count_connections() == 0)


def test_new_pair_serves_in_a_child_when_the_process_forks(secret: Mount, tmp_path: Path):
    mount_pair(secret)
    next_pair = issue()
    for name, content in next_pair.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "ca.pem").write_bytes(CA.cert_pem.bytes())
    printed = run_python(
        """
        import asyncio, os, shutil, ssl, sys
        from hcpcreds.serving import Response, Route, ServingCertificate, parse_address, serve
        secret, folder = sys.argv[1:]
        certificate = ServingCertificate(f"{secret}/tls.crt", f"{secret}/tls.key")
        first = certificate.context
        pid = os.fork()
        if pid:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        async def main():
            async with serve(parse_address("127.0.0.1:0"), {}, certificate=certificate) as server:
                for name in ("tls.crt", "tls.key"):
                    shutil.copy(f"{folder}/{name}", f"{secret}/..data/{name}")
                while certificate.context is first:
                    await asyncio.sleep(0.01)
                context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
                _, writer = await asyncio.open_connection("127.0.0.1", server.address.port, ssl=context)
                print(writer.get_extra_info("peercert")["serialNumber"].lstrip("0"))
                writer.close()
        asyncio.run(main())
        """,
        secret.directory,
        tmp_path,
    )
    assert printed == get_serial(next_pair)
