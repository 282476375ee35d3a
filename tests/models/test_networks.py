import hashlib

import pytest
import safetensors.torch
import torch

from models.networks import FiveLayerCNN, LeNet, NetworkSpec, load_weights, network_names

PUBLISHED = ["resnet18", "resnet50"]


@pytest.mark.parametrize("name", network_names())
@pytest.mark.parametrize(("channels", "image_size"), [(1, (36, 60)), (1, (16, 16)), (3, (64, 64)), (3, (224, 224))])
@pytest.mark.parametrize(("stem_stride", "outputs"), [(1, 2), (2, 9)])
def test_every_network_takes_grey_and_colour_square_or_not(name, channels, image_size, stem_stride, outputs):
    network = NetworkSpec(name, channels, image_size, 4, stem_stride, outputs).build().eval()
    with torch.no_grad():
        assert network(torch.rand(1, channels, *image_size)).shape == (1, outputs)


def test_the_first_convolution_keeps_full_resolution():
    network = FiveLayerCNN(3, (64, 64))
    assert network.features[0].stride == (1, 1)
    assert [layer.stride for layer in network.features if isinstance(layer, torch.nn.Conv2d)][1:] == [(2, 2)] * 4


def test_the_five_layer_network_has_the_stated_size():
    parameters = sum(p.numel() for p in FiveLayerCNN(3, (64, 64), width=16).parameters())
    assert 170_000 < parameters < 190_000


def test_lenet_has_the_published_shapes():
    shapes = {name: tuple(tensor.shape) for name, tensor in LeNet(1, (36, 60)).state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if name.endswith("weight")} == {
        "conv1.weight": (20, 1, 5, 5),
        "conv2.weight": (50, 20, 5, 5),
        "fc1.weight": (500, 3600),
        "fc2.weight": (2, 500),  # 502 with the head pose, which is not used here
    }


def published(name, **options):
    """torchvision's; it takes seconds to import."""
    import torchvision.models

    return getattr(torchvision.models, name)(**options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_resnet_of_width_64_is_torchvisions_weight_for_weight(name):
    ours = NetworkSpec(name, width=64, outputs=1000).build(seed=3).state_dict()
    torch.manual_seed(3)
    theirs = published(name).state_dict()
    assert list(ours) == list(theirs)
    assert sum(t.numel() for t in ours.values()) == sum(t.numel() for t in theirs.values())
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_resnet_gives_what_torchvisions_gives_for_the_standardised_image():
    ours = NetworkSpec("resnet18", width=64, outputs=7).build().eval()
    theirs = published("resnet18", num_classes=7).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs((images - 0.5) * 4), atol=1e-5)


def test_width_scales_every_layer_of_a_resnet():
    half = NetworkSpec("resnet50", width=32).build().state_dict()
    full = NetworkSpec("resnet50", width=64).build().state_dict()
    sides = {
        (a / b)
        for name in full
        if name != "conv1.weight" and not name.startswith("fc") and full[name].ndim
        for a, b in zip(full[name].shape[:2], half[name].shape[:2], strict=True)
    }
    assert sides == {2}
    assert half["fc.weight"].shape == (2, 1024)


def test_a_stem_of_stride_1_keeps_the_resolution_and_halves_it_at_the_max_pool():
    network = NetworkSpec("resnet18", width=8, stem_stride=1).build()
    stem = network.conv1(torch.rand(1, 3, 64, 64))
    assert stem.shape == (1, 8, 64, 64)
    assert network.maxpool(stem).shape == (1, 8, 32, 32)


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


def test_building_seeds_no_cuda_device(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    NetworkSpec().build(seed=3)
    assert seeded == []


def test_a_spec_survives_json():
    spec = NetworkSpec("resnet18", 1, (36, 60), 16, 1, 9)
    assert NetworkSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"name": "transformer"},
            "Unknown network 'transformer'; known: five_layer_cnn, five_layer_cnn_coarse, lenet, resnet18, resnet50",
        ),
        ({"channels": 2}, "1 channel .* or 3"),
        ({"image_size": (0, 64)}, "at least 16 x 16"),
        ({"width": 0}, "width must be at least 1"),
        ({"stem_stride": 3}, "stride is 1 or 2, not 3"),
        ({"outputs": 1}, "at least 2 outputs, not 1"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        NetworkSpec(**fields)


RESNET = NetworkSpec("resnet18", width=4)


def write(path, tensors):
    if path.suffix == ".safetensors":
        path.write_bytes(safetensors.torch.save(tensors))
    else:
        torch.save(tensors, path)
    return path


@pytest.fixture
def weights():
    """A state dict with an ImageNet head."""
    return {
        name: tensor.contiguous()
        for name, tensor in NetworkSpec("resnet18", width=4, outputs=1000).build(9).state_dict().items()
    }


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_a_network_starts_from_a_file_but_for_the_head_of_another_shape(tmp_path, weights, name):
    path = write(tmp_path / name, weights)
    network, fresh = RESNET.build(1), RESNET.build(1).state_dict()
    sha256 = load_weights(network, RESNET, path)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, fresh[key] if key.startswith("fc.") else weights[key])


def test_a_head_of_the_same_shape_is_taken_from_the_file(tmp_path):
    other = RESNET.build(2).state_dict()
    network = RESNET.build(1)
    load_weights(network, RESNET, write(tmp_path / "weights.pt", other))
    assert torch.equal(network.state_dict()["fc.weight"], other["fc.weight"])


def test_a_file_without_a_head_or_without_counters_is_enough(tmp_path, weights):
    needed = {
        name: tensor for name, tensor in weights.items() if not name.startswith("fc.") and "num_batches" not in name
    }
    network = RESNET.build(1)
    load_weights(network, RESNET, write(tmp_path / "weights.pt", needed))
    assert torch.equal(network.state_dict()["conv1.weight"], weights["conv1.weight"])


def test_everything_that_does_not_fit_is_named_in_one_sentence(tmp_path, weights):
    weights["surplus"] = weights.pop("layer1.0.conv1.weight")
    weights["conv1.weight"] = weights["conv1.weight"][:, :1]
    with pytest.raises(ValueError, match="does not fit the network resnet18 of width 4") as caught:
        load_weights(RESNET.build(), RESNET, write(tmp_path / "weights.pt", weights))
    sentence = str(caught.value)
    assert "1 missing (layer1.0.conv1.weight)" in sentence
    assert "1 unexpected (surplus)" in sentence
    assert "1 of another shape (conv1.weight is (4, 1, 7, 7), not (4, 3, 7, 7))" in sentence


def test_a_file_that_does_not_fit_leaves_the_network_as_it_was(tmp_path, weights):
    network = RESNET.build(1)
    del weights["bn1.weight"]
    with pytest.raises(ValueError, match="1 missing"):
        load_weights(network, RESNET, write(tmp_path / "weights.pt", weights))
    assert torch.equal(network.state_dict()["conv1.weight"], RESNET.build(1).state_dict()["conv1.weight"])


class Code:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("code.pt", {"conv1.weight": Code()}, "neither a safetensors file nor a torch file"),
        ("list.pt", [1, 2], "does not hold named tensors and nothing else"),
        ("number.pt", {"conv1.weight": 3}, "does not hold named tensors and nothing else"),
    ],
)
def test_a_torch_file_of_anything_but_tensors_is_refused(tmp_path, capsys, name, content, sentence):
    torch.save(content, tmp_path / name)
    with pytest.raises(ValueError, match=sentence):
        load_weights(RESNET.build(), RESNET, tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_truncated_weights_file_is_refused(tmp_path, weights, name):
    path = write(tmp_path / name, weights)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="neither a safetensors file nor a torch file of tensors alone"):
        load_weights(RESNET.build(), RESNET, path)


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.pt cannot be read \(No such file"):
        load_weights(RESNET.build(), RESNET, tmp_path / "nowhere.pt")
