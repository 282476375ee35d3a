"""Pictures of every page a participant can meet, on a phone and on a desk, for the documentation.

    python -m tests.e2e.screenshots [FOLDER]

Needs Chromium. Uses a database and files of its own, synthetic eyes and a field drawn for the occasion.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from study.trials.models import Study

SIZE: Final = 64
EYES: Final = 24
COLOURS: Final = 96
LARGEST_FILE: Final = 60_000
DESK: Final = {"viewport": {"width": 1280, "height": 800}}
PHONE: Final = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
#: What the studies of the tour say, where the tour leaves it open.
TEXTS: Final[dict[str, Any]] = {
    "title": "How small a change can you see?",
    "information": (
        "We study how small a change in an image people can notice. Your answers help to judge how visible such "
        "changes are.\n\nThe images show eyes made by a computer: they are not photographs of people."
    ),
    "contact": "Dr A. Example, a.example@example.org",
    "ethics_reference": "2026-014",
    "completion_code": "EYES-4F7Q",
    "return_url": "https://example.org/return",
    "return_hosts": ["example.org"],
}


def main(folder: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Chromium is missing: install it with `apt-get install chromium`.")
    folder.mkdir(parents=True, exist_ok=True)
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

        with synthetic_eyes(Path(files)), served() as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
            pictures = {
                folder / f"page-{name}-{device}.png": png
                for device, options in (("phone", PHONE), ("desktop", DESK))
                for name, png in photographs(browser, address, options)
            }
            browser.close()
    for path in {*folder.glob("page-*.png")} - {*pictures}:
        path.unlink()
    for path, png in pictures.items():
        path.write_bytes(png)


@contextmanager
def synthetic_eyes(files: Path) -> Iterator[None]:
    """Studies that are made meanwhile show eyes, altered by a warp field, instead of noise."""
    from attacks.base import dequantise, quantise
    from attacks.wanet import WarpField
    from models.datasets.synthetic_eyes import EyesConfig, study_images
    from study.lab.models import Pair
    from tests.study import factories

    eyes = study_images(EyesConfig(test_subjects=EYES, size=SIZE), files / "eyes").images
    field = WarpField.draw((SIZE, SIZE), control_size=4, strength=1.0, seed=7)

    @cache
    def eye(index: int, size: int) -> Any:
        return eyes[index].permute(1, 2, 0).numpy()

    def altered(pixels: Any, control: str, strength: float) -> Any:
        if control == Pair.Control.IDENTITY:
            return pixels
        image = dequantise(eyes.new_tensor(pixels).permute(2, 0, 1)[None])
        return quantise(field.at_strength(strength).apply(image))[0].permute(1, 2, 0).numpy()

    with patch.object(factories, "_noise", eye), patch.object(factories, "_altered", altered):
        yield


@contextmanager
def served() -> Iterator[str]:
    """The address of a live server with a new database."""
    from django.core.management import call_command
    from django.test.testcases import LiveServerThread

    call_command("migrate", "-v0")
    call_command("collectstatic", "--noinput", "-v0", "-iadmin")
    server = LiveServerThread("localhost", static_handler=lambda application: application)
    server.daemon = True
    server.start()
    server.is_ready.wait()
    yield f"http://localhost:{server.port}"
    server.terminate()


def photographs(browser: Browser, address: str, options: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """(name, PNG) of every stop of the tour, with one device."""
    from tests.e2e.participant import Participant, profile
    from tests.e2e.tour import tour
    from tests.study import factories

    def make(**fields: Any) -> Study:
        return factories.make_study(base_images=EYES, size=SIZE, **{**TEXTS, **fields})

    for name, page in tour(lambda: Participant(profile(browser, **options), address), make):
        yield name, small(photograph(page))


def photograph(page: Page) -> bytes:
    """The window while images are on it, the whole page of a text."""
    return page.screenshot(full_page=not page.locator(".afc-stage").count())


def small(png: bytes) -> bytes:
    """The picture with few colours, and smaller where that is not enough for LARGEST_FILE."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    while True:
        file = io.BytesIO()
        few = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        few.save(file, "png", optimize=True)
        if file.tell() <= LARGEST_FILE:
            return file.getvalue()
        picture = picture.resize((picture.width * 4 // 5, picture.height * 4 // 5), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/img"))
