import pytest
import torch
from torch import nn

from models.evaluation import predict
from models.networks import NetworkSpec
from models.survival.fine_tuning import FineTuning, fine_tune
from models.survival.heads import defenders_loss
from models.survival.pruning import activity, last_map, prune, prunings
from tests.models import tiny

DATA = tiny.gaze_data(48)


def five_layers() -> nn.Module:
    return NetworkSpec(image_size=(32, 32), width=4).build()


def map_of(network: nn.Module) -> torch.Tensor:
    """(N, K, h, w): the last feature map of the data."""
    seen: list[torch.Tensor] = []
    handle = network.get_submodule(last_map(network, DATA.images)).register_forward_hook(
        lambda module, inputs, output: seen.append(output.detach())
    )
    network.eval()(DATA.images.float() / 255)
    handle.remove()
    return seen[0]


def test_the_last_map_lies_behind_the_activation_and_before_the_pooling() -> None:
    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3), nn.ReLU()
            self.pool, self.head = nn.AvgPool2d(28), nn.Linear(6, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.pool(self.relu(self.last(self.first(images)))).flatten(1))

    assert last_map(Bent(), DATA.images) == "relu"
    assert last_map(five_layers(), DATA.images) == "features"


def test_activity_is_the_mean_over_images_and_places() -> None:
    network = five_layers()
    assert torch.allclose(activity(network, DATA.images), map_of(network).mean(dim=(0, 2, 3)), atol=1e-6)


def test_the_least_active_channels_fall_silent_and_the_others_stay_as_they_were() -> None:
    network = five_layers()
    level = activity(network, DATA.images)
    pruned = prune(network, DATA.images, 0.25)
    silent = level.argsort()[:4]
    kept = level.argsort()[4:]
    assert len(level) == 16
    assert (map_of(pruned)[:, silent] == 0).all()
    assert torch.equal(map_of(pruned)[:, kept], map_of(network)[:, kept])


def test_nothing_pruned_changes_nothing_and_the_given_network_is_left_alone() -> None:
    network = five_layers()
    before = predict(network, DATA.images)
    assert torch.equal(predict(prune(network, DATA.images, 0.0), DATA.images), before)
    prune(network, DATA.images, 0.9)
    assert torch.equal(predict(network, DATA.images), before)


def test_a_curve_of_shares_looks_at_the_images_once_and_gives_what_each_share_alone_gives() -> None:
    network, passes = five_layers(), []
    network.register_forward_hook(lambda *_: passes.append(1))
    shares = (0.0, 0.25, 0.5)
    curve = list(prunings(network, DATA.images, shares))
    once = len(passes)
    for share, pruned in zip(shares, curve, strict=True):
        assert torch.equal(predict(pruned, DATA.images), predict(prune(network, DATA.images, share), DATA.images))
    passes.clear()
    list(prunings(network, DATA.images, shares[:1]))
    assert len(passes) == once


def test_one_channel_is_always_kept() -> None:
    alive = map_of(prune(five_layers(), DATA.images, 1.0)).abs().amax(dim=(0, 2, 3)) > 0
    assert alive.sum() == 1


def test_silent_channels_stay_silent_when_trained_further() -> None:
    pruned = prune(five_layers(), DATA.images, 0.5)
    (tuned,) = fine_tune(pruned, DATA, FineTuning(share=1.0, epochs=1, batch_size=16), defenders_loss())
    silent = activity(five_layers(), DATA.images).argsort()[:8]
    assert (map_of(tuned)[:, silent] == 0).all()
    assert not torch.equal(map_of(tuned), map_of(pruned))


def test_what_cannot_be_pruned_is_refused() -> None:
    with pytest.raises(ValueError, match="no convolution"):
        prune(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), DATA.images, 0.5)
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.2"):
        prune(five_layers(), DATA.images, 1.2)
