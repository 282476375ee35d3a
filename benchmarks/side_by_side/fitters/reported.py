"""`manage.py analyze_study --csv FILE --out FOLDER`, which prints at its end how much memory it held at most."""

from __future__ import annotations

import json
import os
import runpy
import sys

from benchmarks.checkout import ROOT
from benchmarks.side_by_side.costs import peak_mb

if __name__ == "__main__":
    file, folder = sys.argv[1:]
    sys.argv = ["manage.py", "analyze_study", "--csv", file, "--out", folder]
    runpy.run_path(str(ROOT / "manage.py"), run_name="__main__")
    print(json.dumps({"peak_mb": peak_mb(os.getpid())}))
