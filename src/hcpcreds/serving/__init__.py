"""The HTTP server of this project: listen address, TLS, limits, health, metrics and draining."""

from hcpcreds.serving.address import ListenAddress, parse_address
from hcpcreds.serving.certificate import ServingCertificate
from hcpcreds.serving.limits import Limits
from hcpcreds.serving.messages import Request, Response
from hcpcreds.serving.server import Handler, Route, Server, serve

__all__ = [
    "Handler",
    "Limits",
    "ListenAddress",
    "Request",
    "Response",
    "Route",
    "Server",
    "ServingCertificate",
    "parse_address",
    "serve",
]
