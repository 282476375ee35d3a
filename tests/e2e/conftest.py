"""A real Chromium against a live server as it is deployed: collected, hashed and compressed files, strict policy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from study.desk.browsing import executable
from study.trials.models import Study
from tests.e2e.bench import Bench
from tests.e2e.participant import Participant, profile
from tests.study.factories import make_study

#: Two pages of Chromium's own that every new window loads for its address bar, at half the cost of the window. And what
#: Playwright switches off on Linux: of several such arguments, Chromium heeds only the last.
WITHOUT = [
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup",
    "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled",
    "PreconnectToSearch",
]  # fmt: skip
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # tests may run as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(WITHOUT)}",
]
QUICK: dict[str, Any] = {"fixation_ms": 60, "blank_ms": 40, "enable_after_ms": 0}


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Browser]]:
    """Starts Chromium, with more arguments if wanted."""
    chromium = executable()
    # Playwright's synchronous face runs an event loop in this thread, in which Django would refuse its database.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        yield lambda *more: playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_ARGUMENTS, *more])
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files of all pages, collected as for production."""
    root = tmp_path_factory.mktemp("static")
    with override_settings(STATIC_ROOT=root):
        call_command("collectstatic", "--noinput", "-v0")
    return root


@pytest.fixture(scope="session")
def server(django_db_setup: None, collected: Path) -> Iterator[LiveServerThread]:
    """A live server in which whitenoise serves the static files."""
    server = LiveServerThread("localhost", static_handler=lambda application: application)
    server.daemon = True
    with override_settings(STATIC_ROOT=collected):
        server.start()
        server.is_ready.wait()
    if server.error:
        raise server.error
    yield server
    server.terminate()


@pytest.fixture
def address(transactional_db: None, settings: Any, server: LiveServerThread, collected: Path) -> str:
    """The live server's root, for one test with a database of its own."""
    settings.STATIC_ROOT = collected
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    return f"http://localhost:{server.port}"


@pytest.fixture
def study(address: str) -> Study:
    """An open study of 2 practice, 8 main and 2 catch trials that follow each other quickly."""
    return make_study(strengths=(2.0,), base_images=12, trials_per_strength=2, **QUICK)


@pytest.fixture
def arrive(browser: Browser, address: str) -> Iterator[Callable[..., Participant]]:
    """Brings participants, each in a browser profile of their own. Afterwards their pages must have been faultless."""
    participants: list[Participant] = []

    def bring(**options: Any) -> Participant:
        participants.append(Participant(profile(browser, **options), address))
        return participants[-1]

    yield bring
    for participant in participants:
        participant.leave()
    for participant in participants:
        assert participant.faults() == []


@pytest.fixture(scope="session")
def desk(browser: Browser) -> Iterator[BrowserContext]:
    """One profile for all pages that leave nothing behind in it: a window costs Chromium more than a trial."""
    desk = profile(browser)
    desk.new_page()  # keeps the window open from one test to the next
    yield desk
    desk.close()


@pytest.fixture
def bench(browser: Browser, desk: BrowserContext, server: LiveServerThread) -> Iterator[Callable[..., Bench]]:
    """Opens pages that hold the trial plugin alone. Afterwards they must have been faultless."""
    benches: list[Bench] = []

    def open_page(**options: Any) -> Bench:
        context = profile(browser, **options) if options else desk
        benches.append(Bench(context, f"http://localhost:{server.port}"))
        return benches[-1]

    yield open_page
    for page in benches:
        page.page.close()
        if page.context is not desk:
            page.leave()
    for page in benches:
        assert page.faults() == []
