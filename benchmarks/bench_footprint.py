"""How light are the processes? `python -m benchmarks.bench_footprint`.

From the start of a worker's command to the end of its first task (a sweep of no jobs), five times, in seconds and in
CPU-seconds; and what each process of the web server keeps in memory after 500 and after 1,000 requests: sign-in page,
an address that is not there and a readiness probe, in turn. On a database and a broker of its own; writes
footprint.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.checkout import ROOT
from benchmarks.side_by_side.costs import children_of, cpu_seconds_of
from models.durable import write_bytes

STARTS = 5
REQUESTS = 1000


def memory_mb(process: int) -> dict[str, float]:
    """Resident memory: `rss` counts what is shared in full, `pss` each process's part of it."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    figures = dict(line.split(":", 1) for line in rollup.splitlines()[1:])
    return {name.lower(): round(int(figures[name].split()[0]) / 1024, 1) for name in ("Rss", "Pss")}


def worker_starts() -> list[dict[str, float]]:
    from study.lab.tasks import sweep
    from study.processes import log_path, worker

    found = []
    for _ in range(STARTS):
        log = log_path("worker-default")
        log.unlink(missing_ok=True)
        sweep.apply_async()
        began = time.monotonic()
        with worker("default", concurrency=1) as process:
            while not (log.exists() and "succeeded in" in log.read_text()):
                time.sleep(0.01)
            seconds = time.monotonic() - began
            found.append({"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds_of(process.pid), 2)})
    return found


def web_memory() -> list[dict[str, Any]]:
    import requests

    from study.processes import free_port, web_program
    from study.supervision import started

    port = free_port()
    paths = ("/admin/login/", "/s/nothing/", "/readyz")
    with started(web_program(port)) as process:
        halfway = {}
        for number in range(REQUESTS):
            if number == REQUESTS // 2:
                halfway = {pid: memory_mb(pid) for pid in (process.pid, *children_of(process.pid))}
            # Each on a connection of its own, so that all processes get their share.
            requests.get(f"http://127.0.0.1:{port}{paths[number % len(paths)]}", timeout=30)
        return [
            {
                "role": "parent" if pid == process.pid else "worker",
                "halfway": halfway.get(pid),
                "after": memory_mb(pid),
                "torch": "libtorch" in Path(f"/proc/{pid}/maps").read_text(),
            }
            for pid in (process.pid, *children_of(process.pid))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "bench" / "footprint.json")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="blindspot-footprint-") as var:
        os.environ.update(DJANGO_SETTINGS_MODULE="study.settings", BLINDSPOT_VAR=var)
        import django

        django.setup()
        from study.desk.installation import prepare
        from study.processes import embedded_broker, use_broker

        prepare()
        with embedded_broker(Path(var) / "valkey") as broker:
            use_broker(broker)
            found = {"worker_starts": worker_starts(), "web": web_memory(), "requests": REQUESTS}
    print(json.dumps(found, indent=2))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, json.dumps(found, indent=2).encode())


if __name__ == "__main__":
    main()
