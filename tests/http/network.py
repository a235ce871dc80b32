"""A network for tests: a web server with TLS, a proxy for CONNECT, and a CA."""

import hashlib
import http.server
import json
import select
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typing_extensions import override

HOST = "login.example.test"
"""A host name that only the proxy knows, so that no direct connection reaches it."""
TOKEN = {"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600}


class Authority:
    """An unknown CA, and TLS contexts for servers with its certificates."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA(organization_name="Tests", organization_unit_name="Network")
        self.file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)
        self.directory = directory / "hashed"
        self.directory.mkdir()
        certificate = x509.load_pem_x509_certificate(self.file.read_bytes())
        name = f"{_hash_subject(certificate):08x}.0"
        (self.directory / name).write_bytes(certificate.public_bytes(Encoding.PEM))

    def make_tls(self, *hosts: str) -> ssl.SSLContext:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*(hosts or ("127.0.0.1", "localhost", HOST))).configure_cert(tls)
        return tls


def _hash_subject(certificate: x509.Certificate) -> int:
    """Return the file name of a certificate in a directory, as `openssl rehash` creates it."""
    entries = b""
    for attribute in certificate.subject:
        text = " ".join(str(attribute.value).lower().split()).encode()
        oid = attribute.oid.dotted_string
        assert oid.startswith("2.5.4.")
        pair = b"\x06\x03\x55\x04" + bytes([int(oid[6:])]) + b"\x0c" + bytes([len(text)]) + text
        sequence = b"\x30" + bytes([len(pair)]) + pair
        entries += b"\x31" + bytes([len(sequence)]) + sequence
    return int.from_bytes(hashlib.sha1(entries, usedforsecurity=False).digest()[:4], "little")


class Web:
    """Answers every request alike, and records the requests."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = json.dumps(TOKEN).encode()
        self.requests: list[dict[str, str]] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                web.requests.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(web.status)
                for name, value in {**web.headers, "Content-Length": str(len(web.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # the client stopped reading
                    self.wfile.write(web.body)

            @override
            def log_message(self, format: str, *args: Any) -> None: ...

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            @override
            def handle_error(self, request: Any, client_address: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.socket = tls.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class ConnectProxy:
    """Accepts CONNECT and connects every name to this machine; with a TLS context, an https:// proxy."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, answer: str = "200 OK") -> None:
        self.asked: list[str] = []
        self.logins: list[str | None] = []
        self._tls = tls
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                accepted = self._tls.wrap_socket(accepted, server_side=True)
            self._lead(accepted)

    def _lead(self, accepted: socket.socket) -> None:
        with accepted as client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            first, *lines = head.decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines if line)
            self.asked.append(first)
            self.logins.append(fields.get("proxy-authorization"))
            client.sendall(f"HTTP/1.1 {self._answer}\r\n\r\n".encode())
            if self._answer.startswith("200"):
                port = int(first.split()[1].rpartition(":")[2])
                with socket.create_connection(("127.0.0.1", port)) as server:
                    _pump(client, server)


def _pump(one: socket.socket, other: socket.socket) -> None:
    while True:
        waiting = isinstance(one, ssl.SSLSocket) and one.pending()
        ready = [one] if waiting else select.select([one, other], [], [])[0]
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)
