import pytest
import torch

from models.networks import FiveLayerCNN, NetworkSpec, network_names


@pytest.mark.parametrize("name", network_names())
@pytest.mark.parametrize(("channels", "image_size"), [(3, (64, 64)), (1, (36, 60))])
def test_every_network_takes_grey_and_colour_square_or_not(name, channels, image_size):
    network = NetworkSpec(name, channels, image_size).build()
    assert network(torch.rand(2, channels, *image_size)).shape == (2, 2)


def test_the_first_convolution_keeps_full_resolution():
    network = FiveLayerCNN(3, (64, 64))
    assert network.features[0].stride == (1, 1)
    assert [layer.stride for layer in network.features if isinstance(layer, torch.nn.Conv2d)][1:] == [(2, 2)] * 4


def test_the_five_layer_network_has_the_stated_size():
    parameters = sum(p.numel() for p in FiveLayerCNN(3, (64, 64), width=16).parameters())
    assert 170_000 < parameters < 190_000


def test_the_same_seed_builds_the_same_weights():
    first, again, other = (NetworkSpec().build(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.1.weight"], other["head.1.weight"])


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    NetworkSpec().build(seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_spec_survives_json():
    spec = NetworkSpec("resnet18", 1, (36, 60), 16)
    assert NetworkSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "transformer"}, "Unknown network 'transformer'; known: five_layer_cnn, resnet18"),
        ({"channels": 2}, "1 channel .* or 3"),
        ({"image_size": (0, 64)}, "at least 16 x 16"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        NetworkSpec(**fields)
