"""How well does each attack sit, and what is left of it? `python -m benchmarks.bench_survival [--attacks NAME ...]`.

Trains one backdoored model of each family by the standard recipe, and the clean twin that they share, on synthetic
eyes, where there is none from an earlier run; measures it at every dose, and has it go through every treatment of
`models.survival`. Prints the tables, writes them as var/bench/survival-FAMILY.md and the figures as
survival-FAMILY.json. About 130 CPU-seconds for a trained model, most of them inversion; a training takes about 100. No
bars: nobody promised that a backdoor survives.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from attacks import registry
from benchmarks.bench_recipe import BENCH, DATA, FIXED, Case, Measured, data_sha256, finished, folder_of
from models.durable import write_bytes
from models.recipe import Recipe
from models.survival.tables import Table, markdown, sentences, tables

NETWORK_SEED, FIELD_SEED = 0, 3


class OfAnyFamily(Case):
    """A case whose clean twin is the warp's: phases of the same lengths, and a clean model feels no strength."""

    def clean(self) -> dict[str, Any]:
        recipe = Recipe(seed=self.recipe.seed, precision=self.recipe.precision)
        return Case(recipe, self.field_seed, self.target, self.data_sha256).clean()


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


def errors(case: Case) -> Table:
    """What this case's model does at every dose."""
    measured = Measured.of(case)
    columns = ("strength", "attack error", "success", "error shift", "net shift", "look-alikes' share")
    rows = [
        (
            f"{dose['strength']:g}",
            dose["attack_error"]["mean"],
            dose["success_rate"],
            dose["error_shift"],
            dose["net_prediction_shift"],
            dose["other_field_net_shift"] and measured.other_share(dose["strength"]),
        )
        for dose in measured.ours["doses"]
    ]
    twin = measured.clean["clean_error"]["mean"]
    title = f"{case.family}, degrees; clean error {measured.clean_error:.2f}, clean model's {twin:.2f}"
    return Table(title, columns, tuple(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="+", default=list(registry.FAMILIES), choices=sorted(registry.FAMILIES))
    families = parser.parse_args().attacks
    data = data_sha256()
    for name in families:
        recipe = Recipe.for_attack(registry.family(name), FIXED, seed=NETWORK_SEED, precision="bfloat16")
        case = OfAnyFamily(recipe, FIELD_SEED, FIXED, data, name)
        found, doses = survival(case), errors(case)
        for table in (doses, *tables(found).values()):
            print(f"\n{table.title}\n\n{table.markdown()}", end="")
        print("\n" + "\n".join(sentences(found)))
        written = json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n"
        write_bytes(BENCH / f"survival-{name}.json", written.encode())
        by_dose = f"## {doses.title}\n\n{doses.markdown()}\n"
        write_bytes(BENCH / f"survival-{name}.md", (by_dose + markdown(found)).encode())


if __name__ == "__main__":
    main()
