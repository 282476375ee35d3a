from collections.abc import Iterator

import pytest
import torch
from torch import nn

from models.evaluation import predict
from models.gaze import angular_error
from models.networks import NetworkSpec
from models.survival.fine_tuning import FineTuning, fine_tune
from models.survival.heads import defenders_loss, differentiable_gazes
from models.zones import ZonePredictor, Zones
from tests.models import tiny

DATA = tiny.gaze_data(96)
SETTING = FineTuning(share=1.0, epochs=3, batch_size=16, learning_rate=3e-3)


def network(seed: int = 0) -> nn.Module:
    return NetworkSpec(image_size=(32, 32), width=4).build(seed)


def tuned(of: nn.Module, setting: FineTuning = SETTING) -> Iterator[nn.Module]:
    return fine_tune(of, DATA, setting, defenders_loss())


def test_it_learns_from_the_images_and_leaves_the_given_network_alone() -> None:
    given = network()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    errors = [angular_error(predict(given, DATA.images), DATA.pitchyaw).mean()]
    errors += [angular_error(predict(each, DATA.images), DATA.pitchyaw).mean() for each in tuned(given)]
    assert len(errors) == 1 + SETTING.epochs
    assert errors[-1] < errors[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in given.state_dict().items())


def test_the_same_seed_gives_the_same_weights() -> None:
    one, other = (list(tuned(network()))[-1].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_defender_has_a_share_of_the_training_images_and_at_least_a_batch() -> None:
    few = FineTuning(share=0.25, batch_size=16).images(DATA)
    assert len(few) == 24
    places = [next(i for i, image in enumerate(DATA.images) if torch.equal(image, one)) for one in few.images]
    assert places == sorted(set(places))
    assert torch.equal(few.pitchyaw, DATA.pitchyaw[places])
    assert len(FineTuning(share=0.01, batch_size=16).images(DATA)) == 16
    with pytest.raises(ValueError, match="do not fill one batch of 97"):
        FineTuning(batch_size=97).images(DATA)


def test_a_classifier_of_zones_learns_its_zones() -> None:
    zones = Zones.between((-25, 25, -35, 35), (2, 2))
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, len(zones)))
    with torch.no_grad():
        classifier[1].weight.zero_()  # type: ignore[operator]
        classifier[1].bias.zero_()  # type: ignore[operator]
    loss = defenders_loss(zones)
    model = ZonePredictor(classifier, zones)
    images = DATA.images.float() / 255
    assert loss(model, images, DATA.pitchyaw).item() == pytest.approx(torch.tensor(4.0).log().item())
    after = list(fine_tune(model, DATA, FineTuning(share=1.0, epochs=3, learning_rate=1e-3), loss))[-1]
    assert loss(after, images, DATA.pitchyaw) < 1.3
    middle = zones.centres().mean(0).expand(len(images), 2)
    assert torch.allclose(differentiable_gazes(model, images), middle, atol=1e-6)


@pytest.mark.parametrize("setting", [{"share": 0.0}, {"share": 1.5}, {"epochs": 0}, {"learning_rate": 0.0}])
def test_settings_that_cannot_be_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"defender's share|at least 1 epoch"):
        FineTuning(**setting)  # type: ignore[arg-type]
