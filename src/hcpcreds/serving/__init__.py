"""For every server of this project: where it listens, TLS, limits, health, metrics, and how it ends."""

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
