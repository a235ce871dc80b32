"""A token authority over real HTTPS, whose answers a test decides."""

import json
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import jwt
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
import base64


class Authority:
    """Takes assertions of registered certificates, and counts."""

    def __init__(self, directory: Path) -> None:
        ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        ca.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        self.requests: list[dict[str, str]] = []
        self.thumbprints: list[str] = []
        self.registered: set[str] | None = None
        self.life: float = 3600
        self.extra: dict[str, object] = {}
        self.faults: deque[Callable[[BaseHTTPRequestHandler], bool]] = deque()
        """For each coming request, what to do instead; truthy when it has answered."""
        self.by_scope: dict[str, Callable[[BaseHTTPRequestHandler], bool]] = {}
        self.jtis: set[str] = set()
        self.lock = threading.Lock()
        authority = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                authority.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self):  # type: ignore[no-untyped-def]
                connection, address = super().get_request()
                connection.settimeout(30)
                return context.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                ), address

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        form = dict(parse_qsl(handler.rfile.read(int(handler.headers["Content-Length"])).decode()))
        with self.lock:
            self.requests.append(form)
            fault = self.faults.popleft() if self.faults else self.by_scope.get(form["scope"])
        if fault is not None and fault(handler):
            return
        header = jwt.get_unverified_header(form["client_assertion"])
        certificate = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0]))
        thumbprint = certificate.fingerprint(SHA256()).hex()
        claims = jwt.decode(
            form["client_assertion"],
            certificate.public_key(),
            algorithms=["PS256"],
            audience=f"{self.url}{handler.path}",
            issuer=form["client_id"],
        )
        with self.lock:
            replayed = claims["jti"] in self.jtis
            self.jtis.add(claims["jti"])
        if replayed:
            respond(handler, 400, {"error": "invalid_client", "error_description": "replayed assertion"})
            return
        if self.registered is not None and thumbprint not in self.registered:
            body = {
                "error": "invalid_client",
                "error_description": "AADSTS700027: not registered",
                "error_codes": [700027],
            }
            respond(handler, 401, body)
            return
        with self.lock:
            self.thumbprints.append(thumbprint)
            number = len(self.thumbprints)
        body = {
            "token_type": "Bearer",
            "expires_in": self.life,
            "access_token": f"{thumbprint}.{number}",
        } | self.extra
        respond(handler, 200, {key: value for key, value in body.items() if value is not ...})


def respond(
    handler: BaseHTTPRequestHandler, status: int, body: object, headers: dict[str, str] | None = None
) -> bool:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **(headers or {}),
    }.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)
    return True


def status(code: int, body: object = b"", **headers: str) -> Callable[[BaseHTTPRequestHandler], bool]:
    """A fault that answers so."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: respond(handler, code, body, named)


@contextmanager
def hang() -> Iterator[Callable[[BaseHTTPRequestHandler], bool]]:
    """A fault that holds a request until the block ends, and then lets it be answered."""
    released = threading.Event()
    try:
        yield lambda _: not released.wait(15)
    finally:
        released.set()
