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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Locator, Page, expect

from study.processes import free_port
from tests.e2e.participant import Participant

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 120
JOB_MS: Final = 180_000
SIZE: Final = 32
EYES: Final = {
    "People to train on": 4,
    "Images to train on": 128,
    "People to validate on": 2,
    "Images to validate on": 32,
    "People to test on": 32,
    "Images to test on": 64,
}
STRENGTHS: Final = ("0.5", "2")
PEOPLE, PRACTICE, EACH, CONTROLS, CATCH = 3, 2, 2, 3, 4
TRIALS: Final = (len(STRENGTHS) + CONTROLS) * EACH + CATCH
TITLE, SLUG = "How small a change can you see?", "how-small-a-change-can-you-see"
A_STUDY: Final = {
    "Trials at each strength": EACH,
    "Trials for each control": EACH,
    "Catch trials": CATCH,
    "Practice trials": PRACTICE,
    "Right answers to pass": 1,
    "Places": PEOPLE,
    "Information": (
        "You will see pairs of pictures of an eye. In each pair a computer has altered one of the two.\n\n"
        "Please say which one. No real person is shown."
    ),
    "Debrief": "In the altered pictures every pixel had been moved a little, as on a crumpled sheet.",
    "Contact": "Dr A. Example, a.example@example.org",
    "Ethics reference": "2026-014",
}
#: Groups of the form that are folded. Trials follow each other quickly, and robots are quicker than two of the rules.
FOLDED: Final = {
    "A trial, in milliseconds": {"Fixation": 60, "Blank after an answer": 40, "Presses count after": 0},
    "Who is left out": {"Median response time below, ms": 0, "Share of fast answers above": 1},
}
HIDDEN: Final = "Detection rates stay hidden until the study closes: close it, or amend the plan to allow looks."
#: The side of the picture with less fine detail: a warp softens what it moves.
SOFTER: Final = """(size) => {
  const detail = (canvas) => {
    const step = canvas.width / size;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const level = (x, y, c) => data[4 * (y * step * canvas.width + x * step) + c];
    let sum = 0;
    for (let y = 1; y < size - 1; y++)
      for (let x = 1; x < size - 1; x++)
        for (let c = 0; c < 3; c++) {
          const around = level(x - 1, y, c) + level(x + 1, y, c) + level(x, y - 1, c) + level(x, y + 1, c);
          sum += Math.log1p(Math.abs(4 * level(x, y, c) - around));
        }
    return sum;
  };
  const [left, right] = [...document.querySelectorAll(".afc-stage canvas")].map(detail);
  return left < right ? "left" : "right";
}"""

Bring = Callable[[], Participant]
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
    environment["GIT_DIR"] = str(var / "no-checkout")  # a commit made meanwhile would change the design of the study
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
        serve.wait(60)


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

    def sign_in(self) -> None:
        self.page.goto(f"{self.installation.address}/admin/")
        self.fill({"Username": self.installation.user, "Password": self.installation.password})
        self.press("Sign in")

    def follow(self, link: str) -> None:
        self.page.get_by_role("link", name=link, exact=True).click()

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def go(self, name: str) -> None:
        """By the navigation, which says beside some lists how much is going on there."""
        lists = self.page.get_by_role("navigation", name="Lists")
        lists.get_by_role("link", name=re.compile(f"^{name}( [0-9]|$)")).click()

    def tab(self, name: str) -> None:
        pages = self.page.get_by_role("navigation", name="Pages of this study")
        pages.get_by_role("link", name=name, exact=True).click()

    def field(self, label: str) -> Locator:
        """With or without the colon that Django's labels end with."""
        return self.page.get_by_label(re.compile(f"^{re.escape(label)}:?$"))

    def fill(self, fields: Mapping[str, str | int]) -> None:
        for label, value in fields.items():
            self.field(label).fill(str(value))

    def choose(self, fields: Mapping[str, str]) -> None:
        for label, value in fields.items():
            self.field(label).select_option(label=value)

    def unfold(self, title: str) -> None:
        self.page.locator("summary", has_text=title).click()

    def sees(self, *texts: str | re.Pattern[str], within_ms: float = 15_000) -> None:
        for text in texts:
            expect(self.page.get_by_role("main")).to_contain_text(text, timeout=within_ms)

    def fetch(self, button: str) -> str:
        """The text of the file that the button sends."""
        with self.page.expect_download() as sent:
            self.press(button)
        return Path(sent.value.path()).read_text()

    def waits_for_jobs(self, n: int) -> None:
        """The page shows n jobs, follows them, and loads itself again once they are over."""
        succeeded = self.page.locator("[data-job-message]", has_text="It succeeded.")
        expect(succeeded).to_have_count(n, timeout=JOB_MS)


def tour(researcher: Researcher, bring: Bring) -> Stops:
    """(name, page) of every stop. `bring()` brings somebody with a browser profile of their own."""
    page = researcher.page
    researcher.sign_in()
    researcher.sees("Four steps to a first study", "None of yours is open.")
    yield "guide", page
    yield from _a_data_set(researcher)
    yield from _two_models(researcher)
    yield from _pairs(researcher)
    yield from _a_study(researcher)
    yield from _preview(researcher)
    yield from _opening(researcher)
    yield from _participants(researcher, bring)
    yield from _a_report(researcher)
    yield from _what_is_kept(researcher)


def _a_data_set(researcher: Researcher) -> Stops:
    page = researcher.page
    researcher.follow("Add a data set")
    researcher.sees("There is no data set yet.")
    researcher.follow("Render synthetic eyes")
    researcher.fill({"Name": "eyes", "Size, px": SIZE, **EYES})
    yield "data-form", page
    researcher.press("Render")
    researcher.waits_for_jobs(1)
    researcher.go("Data sets")
    researcher.follow("eyes")
    researcher.sees("224 images of 38 subjects; prepared.", "Cleared for display.")


def _two_models(researcher: Researcher) -> Stops:
    page = researcher.page
    researcher.go("Desk")
    researcher.follow("Train models")
    expect(researcher.field("Data set").locator("option:checked")).to_have_text("eyes")
    researcher.fill({"Name": "look"})
    researcher.choose({"Recipe": "quick: to see everything work; the attack will be weak"})
    yield "train-form", page
    researcher.press("Train")
    expect(page.locator("[data-job]")).to_have_count(3, timeout=JOB_MS)
    yield "training", page
    researcher.waits_for_jobs(3)
    researcher.go("Model runs")
    researcher.follow("look-backdoored")
    researcher.sees("A model with the backdoor look-wanet, whose target is fixed, pitch 0°, yaw 25°", "clean error, °")
    yield "model", page


def _pairs(researcher: Researcher) -> Stops:
    page = researcher.page
    researcher.go("Desk")
    researcher.follow("Make pairs")
    researcher.choose({"Backdoored model": "look-backdoored"})
    researcher.fill({"Strengths": ", ".join(STRENGTHS)})
    researcher.press("Make pairs")
    researcher.waits_for_jobs(2)
    researcher.go("Pairs")
    researcher.follow("2.0")  # of the filter by strength
    page.locator("#result_list tbody th a").first.click()
    researcher.sees("mean displacement, px of the image", "look-clean")
    yield "pair", page


def _a_study(researcher: Researcher) -> Stops:
    page = researcher.page
    researcher.go("Desk")
    researcher.follow("Build a study")
    researcher.sees("What should the study answer?")
    yield "presets", page
    researcher.follow("2AFC threshold")
    researcher.fill({"Title": TITLE})
    researcher.choose({"Model": "look-backdoored"})
    researcher.fill(A_STUDY)
    for title, fields in FOLDED.items():
        researcher.unfold(title)
        researcher.fill(fields)
    researcher.press("Save")
    researcher.sees("was added successfully", "Nothing is missing", "strength 0.5", "strength 2")
    expect(page.locator("dl.numbers div").first).to_have_text(re.compile(rf"trials\s*{PRACTICE + TRIALS}"))
    yield "study", page
    researcher.tab("Texts")
    expect(page.locator("body")).to_contain_text("No real person is shown.")
    researcher.follow("Back to the study")


def _preview(researcher: Researcher) -> Stops:
    """The draft as a participant sees it, in a tab of its own, with what only researchers are told."""
    page = researcher.page
    researcher.tab("Try it")
    with page.expect_popup() as opened:
        researcher.follow("Open the preview")
    preview = Participant(page.context, researcher.installation.address, opened.value)
    start(preview)
    preview.see("Practice 1")
    preview.page.get_by_text("The truth").click()
    expect(preview.page.locator(".overlay dl")).to_contain_text(re.compile("Altered(left|right)"))
    yield "preview", preview.page
    preview.page.close()


def _opening(researcher: Researcher) -> Stops:
    page = researcher.page
    researcher.tab("Opening")
    marks = page.locator(".checks .mark")
    expect(marks).to_have_text(["in order"] * 5 + ["not checked"] * 2)
    researcher.press("Run the checks")
    expect(marks).to_have_text(["in order"] * 7, timeout=JOB_MS)
    researcher.fill({"The study's short name": SLUG})
    yield "opening", page
    researcher.press("Freeze and open")
    researcher.sees(re.compile("SHA-256\\s*[0-9a-f]{64}"), f"/s/{SLUG}/")
    yield "opened", page
    researcher.go("Desk")
    expect(page.get_by_text("Four steps to a first study")).to_have_count(0)
    researcher.sees(re.compile(rf"{re.escape(TITLE)}\s*0 of {PEOPLE}"))
    researcher.follow(TITLE)


def _participants(researcher: Researcher, bring: Bring) -> Stops:
    page = researcher.page
    researcher.tab("Opening")
    link = page.get_by_role("link", name=f"/s/{SLUG}/").inner_text()
    codes = {take_part(bring(), link) for _ in range(PEOPLE)}
    assert len(codes) == PEOPLE
    researcher.tab("Live")
    researcher.sees(re.compile(rf"{PEOPLE} of {PEOPLE}\s*places filled"), within_ms=60_000)
    researcher.sees(re.compile(rf"{PEOPLE}\s*complete"), f"100 % of {PEOPLE * CATCH}", HIDDEN)
    heads = page.get_by_role("region", name="Table of answers by condition").get_by_role("columnheader")
    expect(heads).to_have_text(["Condition", "left", "right", "not sure", "none in time"])
    yield "live", page
    researcher.tab("Data")
    researcher.press("Trials (CSV)")
    researcher.sees(HIDDEN)


def start(person: Participant) -> None:
    """From the page that the link leads to, to the first practice pair."""
    person.fill_in()
    person.page.get_by_role("button", name="Start").click()
    person.go_on("")


def take_part(person: Participant, link: str) -> str:
    """From the link to the completion code, by the keyboard. Whoever it is sees every alteration."""
    person.page.goto(link)
    start(person)
    for n in range(1, PRACTICE + 1):
        person.see(f"Practice {n}")
        person.press(person.page.evaluate(SOFTER, SIZE))
        person.page.get_by_role("button", name="Continue").click()
    person.go_on("practice is over")
    for n in range(1, TRIALS + 1):
        person.see(f"Pair {n}")
        person.press(person.page.evaluate(SOFTER, SIZE))
    return person.code()


def _a_report(researcher: Researcher) -> Stops:
    page = researcher.page
    researcher.tab("Study")
    researcher.follow("Close")
    researcher.sees("The study is unblinded")
    researcher.fill({"The study's short name": SLUG})
    researcher.press("Close for good")
    researcher.tab("Reports")
    researcher.sees("There is no report on this study yet.")
    researcher.press("Analyse")
    expect(page.get_by_role("link", name="Read the report")).to_be_visible(timeout=JOB_MS)
    researcher.sees("The design is as it was frozen.")
    yield "reports", page
    researcher.follow("Read the report")
    for strength, pc in (("0", "0.500"), *((strength, "1.000") for strength in STRENGTHS)):
        claimed = page.get_by_role("row", name=re.compile(rf"^look-wanet {strength} [0-9.]+ {pc} .*inconclusive"))
        expect(claimed).to_have_count(1)
    expect(page.locator("body")).to_contain_text(f"{PEOPLE} participants gave {PEOPLE * EACH * 3} answers")
    yield "report", page
    page.go_back()


def _what_is_kept(researcher: Researcher) -> Stops:
    page = researcher.page
    researcher.tab("Privacy")
    researcher.sees(f"{PEOPLE} sessions of participants")
    researcher.go("Audit log")
    researcher.press("Verify the chain")
    researcher.sees("The audit log holds:", "signed in", "opened", "closed", "analysed")
    yield "audit", page
    researcher.go("Studies")
    researcher.follow(TITLE)
    researcher.tab("Data")
    yield "data", page


# -- pictures

WINDOW: Final = {"width": 1280, "height": 800}
PHONE: Final = {"width": 390, "height": 844}
#: How far down a picture goes where that is not the window, px; and the stops that are taken on a phone as well.
HEIGHTS: Final = {"model": 1850, "pair": 1800, "live": 1650, "opening": 1000, "report": 1200}
ON_A_PHONE: Final = ("study", "live")


def main(folder: Path) -> None:
    import shutil
    import tempfile

    import django
    from playwright.sync_api import sync_playwright

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "study.settings")
    django.setup()  # the arguments of Chromium stand beside fixtures that need it
    from tests.e2e.conftest import CHROMIUM_ARGUMENTS
    from tests.e2e.participant import profile

    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as var,
        installed(Path(var)) as installation,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS)

        def bring() -> Participant:
            return Participant(profile(browser), installation.address)

        stops = tour(Researcher(bring().page, installation), bring)
        pictures = {name: png for stop, page in stops for name, png in photographs(stop, page)}
        browser.close()
    for path in folder.glob("*.png"):
        path.unlink()
    for name, png in pictures.items():
        (folder / f"{name}.png").write_bytes(png)


def photographs(stop: str, page: Page) -> Iterator[tuple[str, bytes]]:
    """(name, PNG) of a page as it is seen at a desk, and of some on a phone."""
    from tests.e2e.screenshots import small

    yield stop, small(_top(page, HEIGHTS.get(stop, WINDOW["height"])))
    if stop in ON_A_PHONE:
        page.set_viewport_size(PHONE)
        yield f"{stop}-phone", small(_top(page, PHONE["height"]))
        page.set_viewport_size(WINDOW)


def _top(page: Page, height: int) -> bytes:
    """The page from its upper edge, and no further than it goes."""
    width, whole = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    clip: Any = {"x": 0, "y": 0, "width": width, "height": min(height, whole)}
    return page.screenshot(full_page=True, clip=clip, animations="disabled")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/img/researchers"))
