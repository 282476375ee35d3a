import json
import threading
from pathlib import Path

import pytest

from benchmarks import bench_recipe, kept
from benchmarks.bench_recipe import finished, folder_of
from benchmarks.kept import alone_in, code, other_code, sign, tell_of_other_code

SPEC = {"kind": "train", "recipe": {}}


@pytest.fixture(autouse=True)
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench_recipe, "BENCH", tmp_path)
    monkeypatch.setattr(kept, "_told", set())
    return tmp_path


def version(monkeypatch: pytest.MonkeyPatch, sources: str) -> None:
    monkeypatch.setattr(kept, "code", lambda: {"sources": sources, "commit": f"c-{sources}", "torch": "2.0"})


def test_who_comes_second_says_so_and_waits(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def say(sentence: str, flush: bool) -> None:
        order.append(sentence)
        waiting.set()

    def second() -> None:
        with alone_in(bench / "work"):
            order.append("second")

    monkeypatch.setattr(kept, "print", say, raising=False)
    thread = threading.Thread(target=second)
    with alone_in(bench / "work"):
        thread.start()
        assert waiting.wait(30)
        order.append("first")
    thread.join()
    assert order == ["  work: another process is at work there; waiting for it", "first", "second"]


def test_work_that_two_ask_for_at_once_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    together, done = threading.Barrier(2), []

    def work(spec: dict[str, object], folder: Path) -> dict[str, object]:
        done.append(folder)
        return {"event": "done", "n": len(done)}

    def ask() -> None:
        together.wait()
        found.append(finished(SPEC))

    found: list[dict[str, object]] = []
    monkeypatch.setattr(bench_recipe, "_work", work)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [folder_of(SPEC)]
    assert found == [{"event": "done", "n": 1}] * 2


def test_work_says_which_code_did_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_recipe, "_work", lambda spec, folder: {"event": "done"})
    finished(SPEC)
    assert json.loads((folder_of(SPEC) / "code.json").read_text()) == [code()]


def test_work_that_was_interrupted_names_all_code_that_did_it(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for sources, begun in (("a", False), ("b", True), ("b", True)):
        version(monkeypatch, sources)
        sign(bench, begun)
    assert [each["sources"] for each in json.loads((bench / "code.json").read_text())] == ["a", "b"]
    sign(bench)
    assert [each["sources"] for each in json.loads((bench / "code.json").read_text())] == ["b"]


def test_kept_work_of_other_code_is_told_in_one_line(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_recipe, "_work", lambda spec, folder: {"event": "done"})
    specs = [SPEC | {"seed": seed} for seed in range(2)]
    version(monkeypatch, "a")
    for spec in specs * 2:
        finished(spec)
    assert capsys.readouterr().out == ""
    version(monkeypatch, "b")
    for spec in specs:
        finished(spec)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Kept work of commit c-a (sources a, torch 2.0) is used, such as ")
    assert line.endswith("; this is commit c-b (sources b, torch 2.0)")


def test_work_from_before_code_was_recorded_is_of_unknown_code(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell_of_other_code(bench)
    assert "Kept work of commit unknown (sources unknown, torch unknown) is used" in capsys.readouterr().out


def test_only_work_that_other_code_had_a_hand_in_is_of_other_code(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for sources in ("a", "b"):
        version(monkeypatch, sources)
        sign(bench, begun=True)
    assert [each["sources"] for each in other_code(bench)] == ["unknown", "a"]
    sign(bench)
    assert other_code(bench) == []


def test_what_a_request_is_called_does_not_hang_on_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished runs stay usable: their folders were named when nothing was recorded."""
    monkeypatch.setattr(bench_recipe, "BENCH", Path("bench"))
    assert folder_of({"kind": "prepare", "data": {"kind": "arrays"}}) == Path("bench/bbb974ef8f3df3e5")
