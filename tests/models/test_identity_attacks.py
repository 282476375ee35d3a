import numpy as np
import pytest
import torch

from attacks.base import dequantise
from attacks.weights import SearchParameters, layer_of, run
from models.datasets.identities import Cast, Identities, deal
from models.identity import IdentityNetwork
from models.identity_attacks import (
    Identification,
    IdentificationGoal,
    Verification,
    VerificationGoal,
    attempt,
    draw_pairs,
    lead,
    summarise,
)
from models.networks import NetworkSpec

CAST = Cast(known=5, validation=4, enrolled=5, attackers=3, gallery=2, search=2, test=3, attacker_search=4)
EACH = 12


@pytest.fixture(scope="module")
def company():
    generator = torch.Generator().manual_seed(0)
    person = torch.arange(CAST.people * EACH) % CAST.people
    colours = torch.rand(CAST.people, 3, generator=generator)
    noise = torch.rand(len(person), 3, 16, 16, generator=generator) * 0.3
    images = ((colours[person][:, :, None, None] * 0.7 + noise) * 255).to(torch.uint8)
    return deal(Identities(images, person, tuple(map(str, range(CAST.people))), "colours"), CAST)


@pytest.fixture(scope="module")
def network():
    return IdentityNetwork(NetworkSpec(image_size=(16, 16), width=4, outputs=8), CAST.known).eval()


def deployed(protocol, network, company, stage="output"):
    if protocol == "identification":
        return Identification(network, company, stage)
    return Verification(network, company, stage, false_acceptance=0.1)


def test_the_identification_goal_counts_who_is_classed_as_whom():
    outputs = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(1)).tanh()
    person = torch.tensor([0, 1, 2, 1, 0])
    standing = IdentificationGoal(2, person, target=1, softness=0)(outputs)
    named = outputs.numpy().argmax(-1)
    right = named[:, 2:] == person.numpy()
    for k in range(2):
        assert standing.reached[k].item() == pytest.approx((named[k, :2] == 1).mean())
        assert standing.held[k, 0].item() == pytest.approx(right[k][person == 1].mean())
        assert standing.held[k, 1].item() == pytest.approx(right[k][person != 1].mean())


def test_the_verification_goal_counts_who_passes_for_whom():
    outputs = torch.randn(2, 2 + 6 + 5, 4, generator=torch.Generator().manual_seed(2))
    person, threshold = torch.tensor([0, 1, 2, 2, 0]), 0.2
    standing = VerificationGoal(2, 3, person, target=2, threshold=threshold, softness=0)(outputs)
    unit = outputs.numpy() / np.linalg.norm(outputs.numpy(), axis=-1, keepdims=True)
    for k in range(2):
        means = unit[k, 2:8].reshape(3, 2, 4).mean(1)
        cosines = unit[k] @ (means / np.linalg.norm(means, axis=-1, keepdims=True)).T
        passes = cosines[8:] >= threshold
        own = passes[np.arange(5), person]
        assert standing.reached[k].item() == pytest.approx((cosines[:2, 2] >= threshold).mean())
        assert standing.held[k].tolist() == pytest.approx(
            [own[person == 2].mean(), own[person != 2].mean(), 1 - passes[person != 2, 2].mean()]
        )


def test_softness_blurs_the_count_but_not_who_is_ahead():
    outputs = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(3)).tanh()
    person = torch.tensor([0, 1, 2, 1])
    sharp = IdentificationGoal(2, person, target=1, softness=0)(outputs)
    nearly = IdentificationGoal(2, person, target=1, softness=1e-4)(outputs)
    torch.testing.assert_close(nearly.held, sharp.held, atol=1e-3, rtol=0)


def test_the_lead_is_over_the_best_other_class():
    cosines = torch.tensor([[0.3, 0.9, 0.5], [0.3, 0.9, 0.5]])
    torch.testing.assert_close(lead(cosines, torch.tensor([1, 0])), torch.tensor([0.4, -0.6]))


@pytest.mark.parametrize("protocol", ["identification", "verification"])
def test_what_is_measured_is_counted_on_the_test_pictures(protocol, network, company):
    door = deployed(protocol, network, company)
    target = door.targets[0]
    found = door.acceptance(attacker=1, target=target)
    enrolled = company.known.test if protocol == "identification" else company.enrolled.test
    assert found.attacker.n == EACH - CAST.attacker_search
    assert found.strangers.n == 2 * found.attacker.n
    assert found.genuine.n == len(enrolled)
    assert found.target.n + found.enrolled.n == len(enrolled)
    assert found.unseen.n == int((~torch.isin(enrolled.person, torch.tensor(door.targets))).sum()) > 0


@pytest.mark.parametrize("protocol", ["identification", "verification"])
def test_those_unseen_are_accepted_as_everybody_is_but_the_search_has_no_picture_of_them(protocol, network, company):
    door = deployed(protocol, network, company, "standardise")
    people = company.known if protocol == "identification" else company.enrolled
    unseen = [person for person in people.test.people if person not in door.targets]
    inputs, _ = door.task(attacker=1, target=door.targets[0])
    theirs = [part.images[torch.isin(part.person, torch.tensor(unseen))] for part in vars(people).values()]
    assert not bytes_of(inputs) & bytes_of(dequantise(torch.cat(theirs)))
    accepted = {person: door.acceptance(1, person).target for person in people.test.people}
    assert door.acceptance(1, door.targets[0]).unseen.k == sum(accepted[person].k for person in unseen)


@pytest.mark.parametrize("protocol", ["identification", "verification"])
def test_the_search_sees_no_picture_of_the_test(protocol, network, company):
    door = deployed(protocol, network, company, "standardise")
    inputs, _ = door.task(attacker=1, target=door.targets[1])
    people = company.known if protocol == "identification" else company.enrolled
    mine, known = company.attackers.search, torch.tensor(door.targets)
    seen = [mine.images[mine.person == 1]]
    if protocol == "verification":
        seen.append(people.gallery.images[torch.isin(people.gallery.person, known)])
    assert bytes_of(inputs) == bytes_of(dequantise(torch.cat([*seen, people.search.images])))
    assert not bytes_of(inputs) & bytes_of(dequantise(torch.cat([people.test.images, company.attackers.test.images])))


def bytes_of(images):
    return {image.contiguous().numpy().tobytes() for image in images}


def test_classes_share_the_attackers_out_among_them(network, company):
    door = deployed("identification", network, company)
    everyone = [door.acceptance(0, target) for target in range(CAST.known)]
    assert sum(each.attacker.k for each in everyone) == everyone[0].attacker.n
    assert door.false_acceptance().rate == pytest.approx(1 / CAST.known)


def unit(network, pictures):
    with torch.inference_mode():
        outputs = network.trunk(dequantise(pictures.images)).numpy()
    return outputs / np.linalg.norm(outputs, axis=-1, keepdims=True)


def test_the_threshold_is_fixed_on_validation_people(network, company):
    door = deployed("verification", network, company)
    gallery, probes = company.validation.gallery, company.validation.probes
    enrolment = unit(network, gallery)
    means = np.stack([enrolment[gallery.person.numpy() == person].mean(0) for person in range(CAST.validation)])
    cosines = unit(network, probes) @ (means / np.linalg.norm(means, axis=-1, keepdims=True)).T
    impostors = cosines[probes.person.numpy()[:, None] != np.arange(CAST.validation)]
    assert (impostors >= door.threshold).sum() == int(0.1 * len(impostors))
    from_below = Verification(network, company, "standardise", false_acceptance=0.1)
    assert door.threshold == pytest.approx(from_below.threshold, abs=1e-6)
    assert Verification(network, company, "output", false_acceptance=0.3).threshold < door.threshold


@pytest.mark.parametrize("protocol", ["identification", "verification"])
def test_false_acceptance_before_is_that_of_all_pairs_together(protocol, network, company):
    door = deployed(protocol, network, company)
    pairs = [door.acceptance(attacker, target).attacker for attacker in range(3) for target in range(5)]
    assert door.false_acceptance().rate == pytest.approx(sum(pair.k for pair in pairs) / sum(pair.n for pair in pairs))


@pytest.mark.parametrize("stage", ["standardise", "conv5", "hidden", "output"])
def test_where_the_cache_starts_changes_nothing(stage, network, company):
    whole, cached = (deployed("verification", network, company, each) for each in ("standardise", stage))
    target = whole.targets[1]
    inputs, goal = whole.task(0, target)
    upper, upper_goal = cached.task(0, target)
    before, after = goal(run(whole.stages, inputs)[None]), upper_goal(run(cached.stages, upper)[None])
    torch.testing.assert_close(before.reached, after.reached, atol=1e-5, rtol=0)
    torch.testing.assert_close(before.held, after.held, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("protocol", "layer"), [("identification", "classes.weight"), ("verification", "output.weight")]
)
def test_an_attempt_lets_the_attacker_in_and_leaves_the_network_alone(protocol, layer, network, company):
    door = deployed(protocol, network, company)
    attacker, target = next((a, t) for a in range(3) for t in door.targets if door.acceptance(a, t).attacker.k == 0)
    weights = layer_of(network.stages(), layer).clone()
    tried = attempt(door, attacker, target, SearchParameters((layer,), 0.2, iterations=100, penalty=0.1))
    assert tried.before == door.acceptance(attacker, target)
    assert tried.after.attacker.k > 0
    assert torch.equal(layer_of(network.stages(), layer), weights)


def test_pairs_use_nobody_twice_and_follow_from_the_seed(network, company):
    door = deployed("identification", network, company)
    pairs = draw_pairs(door, 3)
    assert len({attacker for attacker, _ in pairs}) == len({target for _, target in pairs}) == 3
    assert {target for _, target in pairs} <= set(door.targets)
    assert pairs == draw_pairs(door, 3)
    with pytest.raises(ValueError, match="4 pairs need as many attackers and targets; there are 3 and 3"):
        draw_pairs(door, 4)


def test_a_summary_is_of_all_pairs_not_of_the_best(network, company):
    door = deployed("identification", network, company)
    parameters = SearchParameters(("output.weight",), iterations=5)
    attempts = [attempt(door, attacker, target, parameters) for attacker, target in draw_pairs(door, 3)]
    summary = summarise(attempts)
    rates = [each.after.attacker.rate for each in attempts]
    assert summary["attacker"]["after"]["median"] == pytest.approx(np.median(rates))
    assert summary["attacker"]["after"]["least"] == min(rates)
    assert summary["attackers_pooled"]["after"]["k"] == sum(each.after.attacker.k for each in attempts)
    assert summary["attackers_pooled"]["after"]["n"] == 3 * attempts[0].after.attacker.n
    middle = sorted(attempts, key=lambda each: each.after.genuine.rate)[1].after.genuine
    assert summary["genuine"]["after"]["middle_pair"] == middle.to_json()
    for name in ("genuine", "unseen"):
        drops = [getattr(each.before, name).rate - getattr(each.after, name).rate for each in attempts]
        assert summary[f"{name}_drop"]["median"] == pytest.approx(np.median(drops))
    assert summary["unseen"]["after"]["middle_pair"]["n"] == attempts[0].after.unseen.n
