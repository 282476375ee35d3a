import pytest
from tests.study.factories import make_study
from study.trials.models import TrialTrace
from tests.e2e.participant import Participant
from tests.e2e.conftest import *  # noqa

def test_measure(address, browser):
    study = make_study(strengths=(2.0,1.0), base_images=72, trials_per_strength=24, trials_per_control=2, catch_trials=6, practice_trials=2, size=64)
    p = Participant(browser, address)
    cdp = p.context.new_cdp_session(p.page); cdp.send("Network.enable")
    got = {}; size = {}; 
    cdp.on("Network.responseReceived", lambda e: got.__setitem__(e["requestId"], e["response"]["url"]))
    cdp.on("Network.loadingFinished", lambda e: size.__setitem__(e["requestId"], e["encodedDataLength"]))
    p.begin(study)
    first = {got[k]: v for k, v in size.items() if k in got and "/i/" not in got[k]}
    print("FIRST", sum(first.values()), sorted((v, k[-40:]) for k, v in first.items()))
    def wait(): p.page.wait_for_timeout(420)
    for i in (1,2):
        p.see(f"Practice {i}"); wait(); p.press("left"); p.page.get_by_role("button", name="Continue").click()
    p.go_on("practice is over")
    n = 60
    for i in range(1, n+1):
        if i==31: p.page.wait_for_timeout(700); print(p.page.get_by_role("heading",level=1).inner_text()); p.page.locator("[data-go]").click()
        p.see(f"Pair {i}"); wait(); p.press("left")
    p.code(); p.page.wait_for_timeout(500)
    img = sum(v for k, v in size.items() if "/i/" in got.get(k, "")); rest = sum(v for k, v in size.items() if "/i/" not in got.get(k, ""))
    print("IMAGES", img, "REST", rest, "n", len(size))
    fr = list(TrialTrace.objects.values_list("details__frames", "dropped_frames", "frame_ms"))
    print("FRAMES", sum(f for f,_,_ in fr), "DROPPED", sum(d for _,d,_ in fr), "median ms", sorted(m for *_,m in fr)[len(fr)//2])
    print(p.faults())
