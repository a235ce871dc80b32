"""A process with one credential, which does as it is told: `benchmarks.beside` measures ours and its peers in it.

Run as `python -m benchmarks.subject ours|azure-identity CA_FILE`. Each line of standard input is one order in JSON,
each line of standard output its answer. `benchmarks/go/main.go` is the same with HyperShift's library for Go.
"""

import base64
import gc
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
from azure.core.exceptions import AzureError
from azure.identity import CertificateCredential

from hcpcreds import UserAssignedIdentityCredential
from hcpcreds.credential.source import CredentialSource
from hcpcreds.credential_file.content import MANAGED_IDENTITY
from hcpcreds.errors import SourceClosedError
from hcpcreds.local.azure.entra_tokens import CERTIFICATE_CLAIM
from hcpcreds.watch import Watcher

ARM_SCOPE: Final = "https://management.azure.com/.default"
PAUSE: Final = 0.010
"""Seconds between the calls of a caller while another scope hangs."""

Credential = UserAssignedIdentityCredential | CertificateCredential


def main() -> None:
    """Do each order until standard input ends."""
    subject = Subject(*sys.argv[1:])
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(subject, f"do_{order.pop('do')}")(**order)
        print(json.dumps({} if answer is None else answer), flush=True)
    os._exit(0)  # whatever still hangs


class Subject:
    """One credential; each method is an order."""

    def __init__(self, kind: str, ca_file: str) -> None:
        self._kind = kind
        self._ca_file = ca_file
        self._credential: Credential | None = None
        self._signer = ""
        self._asked = 0

    def do_open(self, path: str) -> None:
        """Open the credential, and get its first token."""
        self._credential = self._open(path)
        self._signer = _get_signer(self._credential.get_token(ARM_SCOPE).token)

    def do_cached(self, callers: int, calls: int, *, info: bool = False) -> dict[str, float]:
        """Tell the seconds that each call takes of the whole, and what of that is the loop's."""
        credential = self._get_credential()
        get: Callable[[str], object] = credential.get_token_info if info else credential.get_token
        return {
            "seconds": _time(lambda: get(ARM_SCOPE), callers, calls),
            "loop": _time(lambda: None, callers, calls),
        }

    def do_start(self, scope: str) -> None:
        """Ask for a token in the background."""
        credential = self._get_credential()

        def ask() -> None:
            with suppress(SourceClosedError, AzureError):  # it ends with the measurement
                credential.get_token(scope)

        threading.Thread(target=ask, daemon=True).start()

    def do_meanwhile(self, callers: int, seconds: float) -> dict[str, list[float]]:
        """Have callers ask for a time, and tell how long each call took."""
        credential = self._get_credential()
        until = time.monotonic() + seconds
        taken: list[float] = []

        def work() -> None:
            while time.monotonic() < until:
                started = time.perf_counter()
                credential.get_token(ARM_SCOPE)
                taken.append(time.perf_counter() - started)
                time.sleep(PAUSE)

        _run(work, callers)
        return {"seconds": taken}

    def do_renewed(self, seconds: float) -> dict[str, float | None]:
        """Ask for one token after another, past the cache, until another certificate has signed a request."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (found := _get_signer(self._request())) != self._signer:
                self._signer = found
                return {"at": time.time()}
        return {"at": None}

    def do_requests(self, calls: int) -> dict[str, float]:
        """Tell the seconds of a request to the authority."""
        taken = []
        for _ in range(calls):
            started = time.perf_counter()
            self._request()
            taken.append(time.perf_counter() - started)
        return {"seconds": statistics.median(taken)}

    def do_take(self, paths: Sequence[str]) -> dict[str, float]:
        """Take each of some ever later files; the peer cannot, so it builds a credential from each."""
        target = Path(paths[0]).with_name("taken")
        source = CredentialSource(
            str(target), MANAGED_IDENTITY, backstop=timedelta(hours=6), clock=time.time, watcher=Watcher()
        )
        taken = []
        for path in paths:
            target.write_bytes(Path(path).read_bytes())
            started = time.perf_counter()
            if self._kind == "ours":
                source.reload()
            else:
                self._open(str(target))
            taken.append(time.perf_counter() - started)
        return {"seconds": statistics.median(taken[1:])}

    def do_many(self, paths: Sequence[str], tokens: int) -> dict[str, Any]:
        """Open credentials until one fails; the memory of each is that of the first ones, which have a token."""
        opened: list[Credential] = []
        memory, each = 0.0, 0.0
        failed = None
        for path in paths:
            try:
                opened.append(self._open(path))
            except (OSError, AzureError) as error:
                failed = str(error)
                break
            if len(opened) <= tokens + 1:
                opened[-1].get_token(ARM_SCOPE)
            if len(opened) == 1:  # what it loads is not the cost of each
                memory = _get_resident_kib()
            if len(opened) == tokens + 1:
                each = (_get_resident_kib() - memory) / tokens
        return {"opened": len(opened), "failed": failed, "kib_each": each}

    def _request(self) -> str:
        self._asked += 1
        claims = json.dumps({"access_token": {"nbf": {"value": str(self._asked)}}})  # past every cache
        return str(self._get_credential().get_token(ARM_SCOPE, claims=claims).token)

    def _open(self, path: str) -> Credential:
        if self._kind == "ours":
            return UserAssignedIdentityCredential(path, connection_verify=self._ca_file)
        content = json.loads(Path(path).read_bytes())
        authority = urlsplit(content["authentication_endpoint"])
        return CertificateCredential(
            content["tenant_id"],
            content["client_id"],
            certificate_data=base64.b64decode(content["client_secret"]),
            authority=f"{authority.scheme}://{authority.netloc}",
            disable_instance_discovery=True,
            connection_verify=self._ca_file,
        )

    def _get_credential(self) -> Credential:
        assert self._credential is not None
        return self._credential


def _time(call: Callable[[], object], callers: int, calls: int) -> float:
    def work() -> None:
        for _ in range(calls):
            call()

    started = time.perf_counter()
    if callers == 1:
        work()
    else:
        _run(work, callers)
    return (time.perf_counter() - started) / callers / calls


def _run(work: Callable[[], None], callers: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _get_signer(token: str) -> str:
    """Tell which certificate a token was got with, as the local Azure has written into it."""
    return str(jwt.decode(token, options={"verify_signature": False})[CERTIFICATE_CLAIM])


def _get_resident_kib() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


if __name__ == "__main__":
    main()
