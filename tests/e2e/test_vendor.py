"""The one foreign script is the published one, with its licence, and calls nobody."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import study.trials

VENDORED = Path(study.trials.__file__).parent / "static/vendor/jspsych-8.3.0"


def test_the_vendored_script_has_its_recorded_hash() -> None:
    recorded = json.loads((VENDORED / "VENDOR.json").read_text())
    content = (VENDORED / recorded["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == recorded["sha256"]
    assert recorded["version"] == "8.3.0"
    assert recorded["source_sha256"].startswith("b58c69e6")


def test_the_vendored_script_names_no_source_map() -> None:
    assert b"sourceMappingURL" not in (VENDORED / "jspsych.min.js").read_bytes()


def test_the_licence_lies_beside_the_script() -> None:
    licence = (VENDORED / "LICENSE").read_text()
    assert licence.startswith("The MIT License (MIT)")
    assert "Joshua R. de Leeuw" in licence
