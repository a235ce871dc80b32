"""Asks pods through the API server, from outside of their network.

Source: the API of Kubernetes, `GET /api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/{path}`.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote

from hcpcreds.errors import KubernetesError, KubernetesRefusedError, KubernetesUnavailableError
from hcpcreds.kubernetes.client import open_http_client, read_status

_LARGEST_STATUS: Final = 2**16
_PLAIN: Final = {"Accept-Encoding": "identity"}
"""Decompressed, a small answer of a pod could fill the memory before anybody has seen how large it is."""
_REFUSALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class PodProxy:
    """The proxy to pods, for one event loop; an async context manager.

    Args:
        client: An HTTP client of the API server; is closed at the end.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401 (of lightkube's HTTP library)
        self._client = client

    @classmethod
    def open(cls, *, context: str | None = None) -> Self:
        """Open it as the environment says; see `open_sync_client`.

        Raises:
            InputError: There is no way to a cluster.
        """
        return cls(open_http_client(context=context))

    async def get(
        self, namespace: str, pod: str, port: int, path: str, *, largest: int
    ) -> tuple[bytes, Mapping[str, str]]:
        """Get a page of a pod, for as long as it takes.

        Args:
            namespace: The pod's.
            pod: Its name.
            port: Its port.
            path: The path of the page.
            largest: At most so many bytes are read.

        Returns:
            The page, cut off after that many bytes, and the headers.

        Raises:
            KubernetesRefusedError: The API server refuses.
            KubernetesUnavailableError: It, or the pod, did not answer with a page.
        """
        within = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
        problem: KubernetesError
        try:
            async with self._client.stream("GET", f"{within}:{port}/proxy{path}", headers=_PLAIN) as answer:
                if answer.status_code == HTTPStatus.OK:
                    return await _read(answer, largest), answer.headers
                content = await _read(answer, _LARGEST_STATUS)
        except Exception as error:  # noqa: BLE001 (of the HTTP library's many kinds)
            problem = KubernetesUnavailableError(
                f"port {port} of the pod could not be asked through the API server: {type(error).__name__}"
            )
        else:
            problem = _explain(answer.status_code, content, port)
        raise problem

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


async def _read(answer: Any, largest: int) -> bytes:  # noqa: ANN401 (of lightkube's HTTP library)
    content = b""
    async for part in answer.aiter_raw():
        content += part
        if len(content) >= largest:
            break
    return content[:largest]


def _explain(status: int, content: bytes, port: int) -> KubernetesError:
    said = read_status(content)
    if said is None:
        return KubernetesUnavailableError(f"port {port} of the pod answered {status}")
    message = f"port {port} of the pod: the API server answered {status}: {said}"
    if status in _REFUSALS:
        hint = "It takes the verb get on pods/proxy." if status == HTTPStatus.FORBIDDEN else None
        return KubernetesRefusedError(message, hint=hint, status=status)
    return KubernetesUnavailableError(message)
