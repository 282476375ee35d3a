"""What a page fetches before anybody can do anything: `... ADDRESS [SELECTOR]`, in a Chromium that has nothing yet.

Prints a list of {"address", "kind": "document", "script", ..., "type": of the content, "sent": bytes of the body as it
crossed the wire, "plain": bytes that the page got}, of everything that came until what the selector names was there
and the network silent.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Request

#: What the trials show is not the page's.
PICTURES = "image/png"


@dataclass(frozen=True)
class Fetched:
    """One reply. sent, plain: bytes of its body, compressed as it came and as the page got it."""

    address: str
    kind: str
    type: str
    sent: int
    plain: int

    @classmethod
    def by(cls, request: Request) -> Fetched:
        """What came of a request that is finished; a redirect has no body."""
        reply = request.response()
        assert reply is not None
        plain = 0 if 300 <= reply.status < 400 else len(reply.body())
        sent = min(plain, request.sizes()["responseBodySize"])
        return cls(request.url, request.resource_type, reply.headers.get("content-type", ""), sent, plain)


@dataclass(frozen=True)
class FirstLoad:
    """All that a page fetched but the pictures of its trials."""

    fetched: Sequence[Fetched]

    @classmethod
    def read(cls, said: Sequence[Mapping[str, Any]]) -> FirstLoad:
        """As it was printed."""
        return cls([one for one in (Fetched(**each) for each in said) if not one.type.startswith(PICTURES)])

    @property
    def sent_kb(self) -> float:
        """As it crossed the wire, without headers: thousands of bytes."""
        return sum(one.sent for one in self.fetched) / 1000

    @property
    def plain_kb(self) -> float:
        """The same before it was compressed."""
        return sum(one.plain for one in self.fetched) / 1000


def fetched(address: str, selector: str | None) -> list[Fetched]:
    """Everything that the page at this address fetches, in order."""
    from study.desk.browsing import HEIGHT, WIDTH, chromium

    with chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        finished: list[Request] = []
        page.on("requestfinished", lambda request: finished.append(request))  # noqa: PLW0108  (it must be a function)
        page.goto(address)
        if selector:
            page.locator(selector).first.wait_for()
        page.wait_for_load_state("networkidle")
        return [Fetched.by(request) for request in finished]


def main() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "study.settings"
    django.setup()
    address, *selector = sys.argv[1:]
    print(json.dumps([asdict(one) for one in fetched(address, selector[0] if selector else None)]))


if __name__ == "__main__":
    main()
