"""The packages import in one direction only: study.desk -> analysis -> trials -> lab -> models -> attacks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["attacks", "models", "study.lab", "study.trials", "study.analysis", "study.desk"]
TORCH_FREE = ["models.dose_response", "models.proportions", "models.tasks"]
PLAIN_ANALYSIS = {"management", "migrations", "models", "admin", "apps", "tables", "page"}


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package.replace(".", "/")).rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_nothing_above_it(layer: str) -> None:
    above = LAYERS[LAYERS.index(layer) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files_of(layer)
        for module in imported_modules(path)
        if any(within(module, package) for package in above)
    ]
    assert files_of(layer)
    assert wrong == []


@pytest.mark.parametrize("package", ["attacks", "models"])
def test_torch_code_does_not_know_django(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files_of(package)
        for module in imported_modules(path)
        if within(module, "django") or within(module, "study") or within(module, "celery")
    ]
    assert wrong == []


def test_the_numbers_of_the_analysis_know_neither_django_nor_torch() -> None:
    package = ROOT / "study" / "analysis"
    plain = [
        path
        for path in files_of("study.analysis")
        if path.relative_to(package).parts[0].removesuffix(".py") not in PLAIN_ANALYSIS
    ]
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in plain
        for module in imported_modules(path)
        if any(within(module, package) for package in ("django", "torch", "attacks", "models"))
        and not any(within(module, free) for free in TORCH_FREE)
    ]
    assert plain
    assert wrong == []


@pytest.mark.parametrize("module", TORCH_FREE)
def test_what_the_analysis_takes_from_the_models_knows_no_torch(module: str) -> None:
    imported = list(imported_modules(ROOT / f"{module.replace('.', '/')}.py"))
    assert not any(within(name, package) for name in imported for package in ("torch", "attacks", "models"))


def test_nothing_unpickles_or_evaluates() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for package in ("attacks", "models", "study")
        for path in files_of(package)
        for module in imported_modules(path)
        if module.split(".")[0] in {"pickle", "cloudpickle", "joblib", "dill", "shelve"}
    ]
    assert wrong == []
