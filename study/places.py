"""Where this installation lies and where it writes: for the settings, and for what may not load them."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = BASE_DIR / os.environ.get("BLINDSPOT_VAR", "var")  # an absolute path stays as it is
