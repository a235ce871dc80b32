"""The transport of synchronous code: azure-core's with requests, kept within bounds."""

from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from azure.core import PipelineClient
from azure.core.exceptions import AzureError, ServiceResponseError, ServiceResponseTimeoutError
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util.retry import Retry

from hcpcreds.http.answers import ACCEPT_ENCODING, CHUNK, Unpacker
from hcpcreds.http.network import TIMEOUTS, Network, strip_settings
from hcpcreds.http.policies import build_policies
from hcpcreds.http.proxies import Proxy
from hcpcreds.http.retries import BoundedRetryPolicy


def make_transport(
    settings: dict[str, Any], *, max_answer: int, network: Network | None = None
) -> HttpTransport[Any, Any]:
    """Make the transport that azure-core's settings ask for: the caller's own if there is one.

    Args:
        settings: azure-core's.
        max_answer: Bytes that an answer may have.
        network: What is trusted, and which proxies are taken; made from the settings unless it is given.

    Raises:
        InputError: A setting cannot be used.
    """
    if settings.get("transport") is not None:
        return settings["transport"]  # type: ignore[no-any-return] # as the caller promises
    if settings.get("session") is not None:
        return RequestsTransport(**{**TIMEOUTS, **settings})  # type: ignore[no-any-return]
    return BoundedTransport(network or Network(settings), settings, max_answer=max_answer)


def build_pipeline_client(
    settings: dict[str, Any], *own_policies: Any, max_answer: int
) -> PipelineClient[HttpRequest, HttpResponse]:
    """Build a client of this package: see `build_policies`, which gets the policies, and `make_transport`."""
    policies = build_policies(BoundedRetryPolicy(**settings), *own_policies, **settings)
    transport = make_transport(settings, max_answer=max_answer)
    return PipelineClient("", policies=policies, **{**settings, "transport": transport})


class BoundedTransport(RequestsTransport):  # type: ignore[misc] # azure-core imports it when it is asked for
    """Sends as its network says, and reads no more than an answer may have.

    Args:
        network: What is trusted, and which proxies are taken.
        settings: azure-core's.
        max_answer: Bytes that an answer may have, packed and unpacked.
    """

    def __init__(self, network: Network, settings: dict[str, Any], *, max_answer: int) -> None:
        self._network = network
        self._max_answer = max_answer
        self._adapter = _Adapter()
        session = _Session()
        session.trust_env = False  # it would add what ~/.netrc has for a host
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.headers["Accept-Encoding"] = ACCEPT_ENCODING
        for scheme in ("https://", "http://"):
            session.mount(scheme, self._adapter)
        super().__init__(**{**strip_settings(settings), "session": session})

    @override
    def send(self, request: Any, *, proxies: Any = None, **kwargs: Any) -> Any:
        """Send a request, and read its answer."""
        proxy = self._network.proxies.find(request.url)
        self._adapter.use(self._network, proxy)
        kwargs["connection_verify"] = self._network.trust.verifies
        kwargs["stream"] = True
        try:
            response = super().send(request, proxies={"all": proxy.url} if proxy else {}, **kwargs)
            response._content = self._read(response.internal_response)  # noqa: SLF001 (see there)
        except AzureError as error:
            raise self._network.explain(error, request.url) from error
        return response

    def _read(self, response: requests.Response) -> bytes:
        # azure-core and requests have no reading with a bound: they read and unpack all that comes.
        try:
            unpacker = Unpacker(response.headers.get("Content-Encoding"), limit=self._max_answer)
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                unpacker.feed(chunk)
            return unpacker.finish()
        except ReadTimeoutError as error:
            raise ServiceResponseTimeoutError(error, error=error) from error
        except HTTPError as error:
            raise ServiceResponseError(error, error=error) from error
        finally:
            response.close()


class _Session(requests.Session):
    """Leaves the answers of redirects unread too, which requests reads to their end."""

    @override
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Adapter(HTTPAdapter):
    """Connects with TLS settings that are made once, and not anew for each connection."""

    def __init__(self) -> None:
        self._context: Any = None
        self._logins: dict[str, str] = {}
        # As azure-core has it: it retries by itself.
        super().__init__(max_retries=Retry(total=False, redirect=False, raise_on_status=False))

    def use(self, network: Network, proxy: Proxy | None) -> None:
        """Connect as a network says from now on; connections with other TLS settings are not used again."""
        context = network.trust.get_context()
        if context is not self._context:
            self._context = context
            self.proxy_manager = {}
            self.init_poolmanager(self._pool_connections, self._pool_maxsize, block=self._pool_block)
        if proxy is not None and proxy.authorization is not None:
            self._logins[proxy.url] = proxy.authorization

    @override
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    @override
    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        context = self._context
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=context, proxy_ssl_context=context)

    @override
    def proxy_headers(self, proxy: str) -> dict[str, str]:
        login = self._logins.get(proxy)
        return {} if login is None else {"Proxy-Authorization": login}

    @override
    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # requests would load certifi's authorities into the settings.
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"
