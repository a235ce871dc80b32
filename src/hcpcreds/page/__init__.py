"""The page that shows where each credential is in its life, and the same as a JSON document.

It is one HTML document, written by the server and readable without JavaScript; its script only fetches it
again. What it shows is described by `model`, and knows neither files nor networks.
"""

from hcpcreds.page.events import EventLog, LogEvents
from hcpcreds.page.model import Certificate, Event, Fact, Overview, Problem, Role, State, Subject
from hcpcreds.page.routes import build_page_routes

__all__ = [
    "Certificate",
    "Event",
    "EventLog",
    "Fact",
    "LogEvents",
    "Overview",
    "Problem",
    "Role",
    "State",
    "Subject",
    "build_page_routes",
]
