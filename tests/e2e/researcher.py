"""A researcher's way from an empty database to a report, by clicks and typing alone: for the test and for the pictures.

    python -m tests.e2e.researcher [FOLDER]

saves a picture of every stop for docs/researchers.md. Needs Chromium. The installation is one of its own, as
`manage.py serve` starts it, and its account is the administrator that `serve` makes and names when there is none.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Locator, Page, expect

from study.processes import free_port
from tests.e2e.participant import Participant

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 60
JOB_MS: Final = 90_000
#: Of a session: one that takes a minute of a person.
PRACTICE, STRENGTHS, EACH, CONTROLS, CATCH = 2, 2, 2, 3, 4
TRIALS: Final = STRENGTHS * EACH + CONTROLS * EACH + CATCH
PEOPLE: Final = 3
#: Chooses the softer picture, as somebody who knows what a warp does to pixels would.
SOFTER: Final = """() => {
  const roughness = (canvas) => {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    let sum = 0;
    for (let i = 4; i < data.length; i += 4) sum += (data[i] - data[i - 4]) ** 2;
    return sum;
  };
  const [left, right] = [...document.querySelectorAll(".afc-stage canvas")].map(roughness);
  return left < right ? "left" : "right";
}"""

Stops = Iterator[tuple[str, Page]]


@dataclass(frozen=True)
class Installation:
    """A running one. `process` is the command that keeps it so."""

    address: str
    user: str
    password: str
    process: int


@contextmanager
def installed(var: Path) -> Iterator[Installation]:
    """`manage.py serve` with an empty database and files under `var`, while the block lasts."""
    environment = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL"}}
    environment |= {"BLINDSPOT_VAR": str(var), "DJANGO_SETTINGS_MODULE": "study.settings", "PYTHONUNBUFFERED": "1"}
    var.mkdir(parents=True, exist_ok=True)
    said = var / "serve.txt"
    with said.open("w") as output:
        serve = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(free_port())],
            cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield _introduced(serve, said)
    finally:
        serve.send_signal(signal.SIGINT)
        serve.wait(30)


def _introduced(serve: subprocess.Popen[bytes], said: Path) -> Installation:
    """What `serve` says of itself once everything is up."""
    deadline = time.monotonic() + START_S
    while "Ctrl-C" not in said.read_text():
        if serve.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"serve did not start: {said.read_text()}")
        time.sleep(0.1)
    found = re.search(r"is at (\S+)/admin/.*Sign in as (\S+) with the password (\S+)", said.read_text(), re.DOTALL)
    assert found is not None
    return Installation(*found.groups(), serve.pid)


class Researcher:
    """Somebody at the desk."""

    def __init__(self, page: Page, installation: Installation) -> None:
        self.page = page
        self.installation = installation

    # -- what a person does

    def sign_in(self) -> None:
        self.page.goto(f"{self.installation.address}/admin/")
        self.fill({"Username": self.installation.user, "Password": self.installation.password})
        self.press("Sign in")

    def follow(self, link: str) -> None:
        self.page.get_by_role("link", name=link, exact=True).click()

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def go(self, name: str) -> None:
        """By the navigation."""
        self.page.get_by_role("navigation", name="Lists").get_by_role("link", name=name).click()

    def tab(self, name: str) -> None:
        self.page.get_by_role("navigation", name="Pages of this study").get_by_role("link", name=name).click()

    def field(self, label: str) -> Locator:
        """With or without the colon that Django's labels end with."""
        return self.page.get_by_label(re.compile(f"^{re.escape(label)}:?$"))

    def fill(self, fields: dict[str, str | int]) -> None:
        """By their labels."""
        for label, value in fields.items():
            self.field(label).fill(str(value))

    def choose(self, fields: dict[str, str]) -> None:
        for label, value in fields.items():
            self.field(label).select_option(label=value)

    # -- what a person sees

    def sees(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.locator("main")).to_contain_text(text)

    def waits_for(self, text: str | re.Pattern[str]) -> None:
        """The page loads itself again when a job is over."""
        expect(self.page.locator("main")).to_contain_text(text, timeout=JOB_MS)
