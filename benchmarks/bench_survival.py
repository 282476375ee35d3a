"""What is left of each attack? `python -m benchmarks.bench_survival [--attacks wanet patch ...]`.

Trains one backdoored model of each family and its clean twin on synthetic eyes, where there is none from an earlier
run, and has them go through every treatment of `models.survival`; prints the tables, writes them as
var/bench/survival-FAMILY.md and the figures as survival-FAMILY.json. About 230 CPU-seconds for a trained model, most of
them inversion; a training takes about 120. No bars: nobody promised that a backdoor survives.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from attacks import registry
from benchmarks.bench_recipe import BENCH, DATA, FIXED, Case, data_sha256, finished, folder_of
from models.checkpoints import write_bytes
from models.recipe import Recipe
from models.survival.tables import markdown, sentences, tables

NETWORK_SEED, FIELD_SEED = 0, 3


def survival(case: Case) -> dict[str, Any]:
    """What the treatments leave of this case's backdoor, from an earlier run or from now."""
    for training in (case.clean(), case.backdoored()):
        finished(training)
    spec = {
        "kind": "survive",
        "data": DATA,
        "data_sha256": case.data_sha256,
        "artifact": str(folder_of(case.backdoored()) / "model"),
        "clean_artifact": str(folder_of(case.clean()) / "model"),
    }
    found: dict[str, Any] = finished(spec)["survival"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="+", default=["wanet", "patch"], choices=sorted(registry.FAMILIES))
    families = parser.parse_args().attacks
    data = data_sha256()
    for name in families:
        recipe = Recipe.for_attack(registry.family(name), FIXED, seed=NETWORK_SEED)
        found = survival(Case(recipe, FIELD_SEED, FIXED, data, name))
        for table in tables(found).values():
            print(f"\n{table.title}\n\n{table.markdown()}", end="")
        print("\n" + "\n".join(sentences(found)))
        written = json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n"
        write_bytes(BENCH / f"survival-{name}.json", written.encode())
        write_bytes(BENCH / f"survival-{name}.md", markdown(found).encode())


if __name__ == "__main__":
    main()
