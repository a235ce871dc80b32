"""The transport for synchronous code: azure-core's with requests, with limits."""

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
    """Return the transport for azure-core's settings: the caller's own if there is one.

    Args:
        settings: azure-core's keyword arguments.
        max_answer: Maximum number of bytes in a response.
        network: The CA certificates and proxies; by default those of the settings.

    Raises:
        InputError: A setting is unusable.
    """
    if settings.get("transport") is not None:
        return settings["transport"]  # type: ignore[no-any-return] # the caller's own
    if settings.get("session") is not None:
        return RequestsTransport(**{**TIMEOUTS, **settings})  # type: ignore[no-any-return]
    return BoundedTransport(network or Network(settings), settings, max_answer=max_answer)


def build_pipeline_client(
    settings: dict[str, Any], *own_policies: Any, max_answer: int
) -> PipelineClient[HttpRequest, HttpResponse]:
    """Build a pipeline client; see `build_policies` and `make_transport` for the arguments."""
    policies = build_policies(BoundedRetryPolicy(**settings), *own_policies, **settings)
    transport = make_transport(settings, max_answer=max_answer)
    return PipelineClient("", policies=policies, **{**settings, "transport": transport})


class BoundedTransport(RequestsTransport):  # type: ignore[misc] # azure-core imports it lazily
    """Sends with the trust and proxies of its network, and limits the length of responses.

    Args:
        network: The CA certificates and proxies.
        settings: azure-core's keyword arguments.
        max_answer: Maximum number of bytes in a response, both compressed and decompressed.
    """

    def __init__(self, network: Network, settings: dict[str, Any], *, max_answer: int) -> None:
        self._network = network
        self._max_answer = max_answer
        self._adapter = _Adapter()
        session = _Session()
        session.trust_env = False  # otherwise it would add the login for a host in ~/.netrc
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.headers["Accept-Encoding"] = ACCEPT_ENCODING
        for scheme in ("https://", "http://"):
            session.mount(scheme, self._adapter)
        super().__init__(**{**strip_settings(settings), "session": session})

    @override
    def send(self, request: Any, *, proxies: Any = None, **kwargs: Any) -> Any:
        """Send a request and read its response."""
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
        # azure-core and requests read and decompress without a limit.
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
    """Does not read the bodies of redirects, which requests would read without a limit."""

    @override
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Adapter(HTTPAdapter):
    """Connects with a TLS context that is created once, not for each connection."""

    def __init__(self) -> None:
        self._context: Any = None
        self._logins: dict[str, str] = {}
        # As in azure-core, which has its own retries.
        super().__init__(max_retries=Retry(total=False, redirect=False, raise_on_status=False))

    def use(self, network: Network, proxy: Proxy | None) -> None:
        """Use a network from now on; connections with another TLS context are not reused."""
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
        # requests would load certifi's CA certificates into the context.
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"
