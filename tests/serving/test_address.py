"""Where servers listen."""

import contextlib
import re
import socket
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.servers import Client, running
from tests.support.processes import run_python

from hcpcreds.errors import InputError
from hcpcreds.serving import ListenAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":0", ListenAddress()),
        (":9090", ListenAddress("", 9090)),
        ("127.0.0.1:9090", ListenAddress("127.0.0.1", 9090)),
        ("localhost:0", ListenAddress("localhost", 0)),
        ("[::1]:65535", ListenAddress("::1", 65535)),
        ("/run/token.sock", ListenAddress(path="/run/token.sock")),
        ("./token.sock:1", ListenAddress(path="./token.sock:1")),
    ],
)
def test_address_is_parsed_and_rendered_alike_when_it_is_valid(text: str, address: ListenAddress):
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9090",
        "127.0.0.1",
        "::1:9090",
        "localhost:",
        ":70000",
        ":-1",
        ":٣",
        "localhost:http",
        "[::1]",
        "/\0",
    ],
)
def test_address_is_refused_when_it_is_malformed(text: str):
    with pytest.raises(
        InputError, match=r"listen address: .*is not HOST:PORT or the path of a Unix socket.*Examples: :9090"
    ):
        parse_address(text)


@given(st.text(max_size=30))
def test_address_is_parsed_or_refused_when_it_holds_anything(text: str):
    with contextlib.suppress(InputError):
        address = parse_address(text)
        assert parse_address(str(address)) == address


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", ":0"])
def test_server_listens_when_the_address_is_valid(address: str):
    with running(address=address) as server:
        assert server.port != 0
        assert server.ask("/hello") == (200, b"hello\n")
        if address == ":0" and socket.has_dualstack_ipv6():
            with closing(socket.create_connection(("::1", server.port), timeout=10)):
                pass


def test_server_listens_on_ipv6_when_the_address_is_in_brackets():
    refused = pytest.raises(InputError, match="cannot listen on")
    with nullcontext() if socket.has_dualstack_ipv6() else refused, running(address="[::1]:0") as server:
        assert str(server.server.address) == f"[::1]:{server.port}"
        with closing(socket.create_connection(("::1", server.port), timeout=10)):
            pass


def test_server_does_not_start_when_its_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = pytest.raises(
            InputError, match=f"listen address: cannot listen on {address}: Address already in use"
        )
        with refused, running(address=address):
            pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70 + ".invalid"])
def test_server_does_not_start_when_its_host_is_not_this_machine(host: str):
    with pytest.raises(InputError, match="cannot listen on"), running(address=f"{host}:0"):
        pass


def ask(path: Path) -> int:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        client = Client(connection)
        client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        return client.read().status


def test_unix_socket_is_for_its_own_user_when_a_server_listens_there(tmp_path: Path):
    path = tmp_path / "socket"
    with running(address=str(path)):
        assert ask(path) == 200
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_unix_socket_is_replaced_when_its_process_has_ended(tmp_path: Path):
    path = tmp_path / "socket"
    with closing(socket.socket(socket.AF_UNIX)) as abandoned:
        abandoned.bind(str(path))
    with running(address=str(path)):
        assert ask(path) == 200


def test_server_does_not_start_when_another_listens_at_its_unix_socket(tmp_path: Path):
    path = tmp_path / "socket"
    with running(address=str(path)):
        with pytest.raises(InputError, match="Address already in use"), running(address=str(path)):
            pass
        assert ask(path) == 200


def test_server_does_not_start_when_its_path_is_a_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(InputError, match=f"cannot listen on {path}: File exists"), running(address=str(path)):
        pass
    assert path.read_text() == "precious"


def test_server_does_not_start_when_its_path_is_too_long(tmp_path: Path):
    path = f"{tmp_path}/{'x' * 200}"
    with pytest.raises(InputError, match="the path is too long"), running(address=path):
        pass


def test_server_accepts_again_when_descriptors_ran_out_for_a_while():
    printed = run_python(
        """
        import asyncio, logging, os, resource, socket, sys
        from hcpcreds.serving import parse_address, serve
        warnings = []
        handler = logging.Handler()
        handler.emit = lambda record: warnings.append(record.getMessage())
        logging.getLogger("hcpcreds.serving").addHandler(handler)
        async def main():
            loop = asyncio.get_running_loop()
            async with serve(parse_address("127.0.0.1:0"), {}) as server:
                client = socket.socket()
                client.setblocking(False)
                resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
                held = []
                try:
                    while True:
                        held.append(os.dup(0))
                except OSError:
                    pass
                await loop.sock_connect(client, ("127.0.0.1", server.address.port))
                await loop.sock_sendall(client, b"GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                while not warnings:
                    await asyncio.sleep(0.01)
                for descriptor in held:
                    os.close(descriptor)
                print((await loop.sock_recv(client, 15)).decode(), len(warnings), warnings[0])
                client.close()
        asyncio.run(main())
        """
    )
    assert re.fullmatch(
        r"HTTP/1.1 200 OK 1 cannot accept connections on 127.0.0.1:\d+: Too many open files", printed
    )
