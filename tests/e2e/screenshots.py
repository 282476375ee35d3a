"""Pictures of every page a participant sees, on a phone and on a desk, for the documentation.

    python -m tests.e2e.screenshots [FOLDER]

Needs Chromium. Uses a database and files of its own, synthetic eyes and a field drawn for the occasion.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from study.trials.models import Study

SIZE = 64
EYES = 16
DESK = {"viewport": {"width": 1280, "height": 800}}
INFORMATION = """We study how small a change in an image people can notice. Your answers help to judge how visible \
such changes are.

The images show eyes made by a computer: they are not photographs of people."""


def main(folder: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is missing: install it with `apt-get install chromium`.")
    with tempfile.TemporaryDirectory() as files:
        os.environ |= {
            "BLINDSPOT_VAR": files,
            "DATABASE_URL": f"sqlite:///{files}/database.sqlite3",
            "DJANGO_SETTINGS_MODULE": "study.settings",
            "DJANGO_ALLOW_ASYNC_UNSAFE": "true",  # Playwright runs an event loop in this thread
        }
        import django

        django.setup()
        from playwright.sync_api import sync_playwright

        from tests.e2e.conftest import CHROMIUM_ARGUMENTS
        from tests.e2e.participant import PHONE

        folder.mkdir(parents=True, exist_ok=True)
        with served_study(Path(files)) as (study, address), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
            for device, options in (("phone", PHONE), ("desktop", DESK)):
                photograph(browser, address, study, lambda name, d=device: folder / f"page-{name}-{d}.png", options)
            browser.close()


@contextmanager
def served_study(files: Path) -> Iterator[tuple[Study, str]]:
    """An open study on synthetic eyes and a live server for it."""
    from django.core.management import call_command
    from django.test.testcases import LiveServerThread

    from attacks.base import dequantise, quantise
    from attacks.wanet import WarpField
    from models.datasets.synthetic_eyes import EyesConfig, study_images
    from study.lab.models import Pair
    from tests.study import factories

    call_command("migrate", "-v0")
    call_command("collectstatic", "--noinput", "-v0", "-iadmin")
    eyes = study_images(EyesConfig(test_subjects=EYES, size=SIZE), files / "eyes").images
    field = WarpField.draw((SIZE, SIZE), control_size=4, strength=1.0, seed=7)

    def altered(pixels: Any, control: str, strength: float) -> Any:
        if control == Pair.Control.IDENTITY:
            return pixels
        image = dequantise(eyes.new_tensor(pixels).permute(2, 0, 1)[None])
        return quantise(field.at_strength(strength).apply(image))[0].permute(1, 2, 0).numpy()

    with (
        patch.object(factories, "_noise", lambda index, size: eyes[index].permute(1, 2, 0).numpy()),
        patch.object(factories, "_altered", altered),
    ):
        study = factories.make_study(
            base_images=EYES,
            size=SIZE,
            strengths=(2.0,),
            trials_per_strength=4,
            practice_trials=4,
            title="How small a change can you see?",
            information=INFORMATION,
            contact="Dr A. Example, a.example@example.org",
            ethics_reference="2026-014",
            completion_code="EYES-4F7Q",
            return_url="https://example.org/return",
            return_hosts=["example.org"],
        )
    server = LiveServerThread("localhost", static_handler=lambda application: application)
    server.daemon = True
    server.start()
    server.is_ready.wait()
    yield study, f"http://localhost:{server.port}"
    server.terminate()


def photograph(browser: Browser, address: str, study: Study, path: Any, options: dict[str, Any]) -> None:
    """One participant from the link to the code, a picture of each page on the way."""
    from tests.e2e.participant import Participant

    person = Participant(browser, address, **options)
    page = person.page

    def shoot(name: str, full: bool = False) -> None:
        page.wait_for_timeout(250)  # transitions
        page.screenshot(path=path(name), full_page=full, scale="css" if options is DESK else "device")

    person.open(study)
    shoot("information", full=True)
    person.consent(study)
    page.locator("[data-go]:enabled").wait_for()
    shoot("instructions")
    person.go_on("Which one?")
    page.locator('[data-state="fixation"]').wait_for()
    page.screenshot(path=path("fixation"))
    for i in range(1, 5):
        person.see(f"Practice {i}")
        page.wait_for_timeout(300)
        person.press("left")
        page.get_by_role("button", name="Continue").wait_for()
        if i == 3:
            shoot("feedback")
        page.get_by_role("button", name="Continue").click()
    shoot("practice-over")
    person.go_on("practice is over")
    person.see("Pair 1")
    shoot("pair")
    page.get_by_role("button", name="Stop", exact=True).click()
    shoot("withdraw")
    page.get_by_role("button", name="Go back").click()
    answer_slowly(person, range(1, 4))
    person.see("Pair 4")
    page.wait_for_timeout(300)
    person.context.set_offline(True)
    person.press("right")
    page.locator("#notice:not([hidden])").wait_for()
    person.see("Pair 5")
    shoot("offline")
    person.context.set_offline(False)
    page.locator("#notice").wait_for(state="hidden")
    page.reload()
    page.locator("[data-go]:enabled").wait_for()
    shoot("resume")
    second = person.open_tab()
    second.goto(page.url)
    page.locator("[data-reload]").wait_for()
    shoot("other-tab")
    second.close()
    page.get_by_role("button", name="Go on here").click()
    person.go_on("Welcome back")
    total = study.trials_per_strength + 3 * study.trials_per_control + study.catch_trials
    answer_slowly(person, range(5, total + 1))
    person.code()
    shoot("end")
    person.leave()


def answer_slowly(person: Any, pairs: range) -> None:
    """Later than the time in which presses do not count yet."""
    for i in pairs:
        person.see(f"Pair {i}")
        person.page.wait_for_timeout(300)
        person.press("left")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/img"))
