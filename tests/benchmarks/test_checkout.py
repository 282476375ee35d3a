import pytest

from benchmarks import checkout as bench
from study import checkout


@pytest.mark.parametrize(("found", "told"), [("1916061", "1916061"), (None, "unknown")])
def test_a_bench_is_signed_outside_a_checkout_as_well(
    found: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "commit", lambda digits: found)
    assert bench.commit() == told
