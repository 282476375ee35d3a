import math

import pytest
import torch

from models.datasets.identities import Identities
from models.identity import (
    CosineClasses,
    IdentityModel,
    IdentityRecipe,
    margin_loss,
    outputs_of,
    similarity,
    templates,
    threshold_at,
    train_identity,
)

RECIPE = IdentityRecipe(width=4, embedding=8, epochs=15, batch_size=8, precision="float32")


def people(count=4, each=12):
    """Everybody has a colour of their own."""
    generator = torch.Generator().manual_seed(0)
    person = torch.arange(count * each) % count
    colours = torch.rand(count, 3, generator=generator)
    noise = torch.rand(len(person), 3, 16, 16, generator=generator) * 0.2
    images = ((colours[person][:, :, None, None] * 0.8 + noise) * 255).to(torch.uint8)
    return Identities(images, person, tuple(str(number) for number in range(count)), "colours")


@pytest.fixture(scope="module")
def model():
    return train_identity(RECIPE, people())


def test_training_tells_people_apart(model):
    assert model.losses[-1] < model.losses[0]
    assert not model.network.training
    named = outputs_of(model.network.stages(), people()).argmax(-1)
    assert (named == people().person).float().mean() > 0.5


def test_training_again_gives_the_same_weights(model):
    again = train_identity(RECIPE, people())
    weights, others = model.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_the_stages_are_the_network(model):
    images = people().images[:5].float() / 255
    with torch.inference_mode():
        whole = model.network(images)
    torch.testing.assert_close(outputs_of(model.network.stages(), people())[:5], whole, rtol=0, atol=1e-6)


def test_a_saved_network_comes_back(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    back = IdentityModel.load(tmp_path / "model.safetensors")
    assert (back.recipe, back.spec, back.losses) == (model.recipe, model.spec, model.losses)
    assert torch.equal(outputs_of(back.network.stages(), people()), outputs_of(model.network.stages(), people()))


def test_the_margin_is_taken_from_the_true_class_alone():
    cosines, person = torch.tensor([[0.5, 0.1, -0.3]]), torch.tensor([1])
    logits = [8 * 0.5, 8 * (0.1 - 0.2), 8 * -0.3]
    expected = math.log(sum(math.exp(x) for x in logits)) - logits[1]
    assert margin_loss(cosines, person, scale=8, margin=0.2).item() == pytest.approx(expected, abs=1e-6)


def test_cosine_classes_do_not_mind_lengths():
    classes = CosineClasses(4, 3)
    embeddings = torch.randn(5, 4)
    torch.testing.assert_close(classes(embeddings), classes(embeddings * 7))
    torch.testing.assert_close(classes(classes.weight).diagonal(), torch.ones(3))


def test_a_template_is_the_direction_of_the_mean_direction():
    enrolment = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [-3.0, 0.0]])
    half = math.sqrt(0.5)
    torch.testing.assert_close(templates(enrolment, 2), torch.tensor([[half, half], [-1.0, 0.0]]))
    torch.testing.assert_close(templates(enrolment[None].expand(3, -1, -1), 2)[2], templates(enrolment, 2))
    cosines = similarity(torch.tensor([[3.0, 0.0]]), templates(enrolment, 2))
    torch.testing.assert_close(cosines, torch.tensor([[half, -1.0]]))


@pytest.mark.parametrize("rate", [0.01, 0.013, 0.1])
def test_the_threshold_lets_no_more_than_its_share_of_impostors_pass(rate):
    impostors = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    threshold = threshold_at(impostors, rate)
    passed = (impostors >= threshold).sum().item()
    assert passed == int(rate * 5000)


def test_impostors_who_are_alike_pass_together_or_not_at_all():
    impostors = torch.cat([torch.linspace(0.8, 0.9, 15), torch.full((30,), 0.5), torch.zeros(955)])
    threshold = threshold_at(impostors, 0.02)
    assert (impostors >= threshold).sum() == 15
    with pytest.raises(ValueError, match="all alike"):
        threshold_at(torch.ones(1000), 0.02)


def test_too_few_comparisons_fix_no_threshold():
    with pytest.raises(ValueError, match="999 impostor comparisons cannot fix a threshold"):
        threshold_at(torch.randn(999), 0.01)


@pytest.mark.parametrize(
    "fields", [{"network": "none"}, {"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}, {"margin": float("nan")}]
)
def test_a_recipe_that_cannot_be_trained_is_refused(fields):
    with pytest.raises(ValueError, match=r"not|Unknown"):
        IdentityRecipe(**fields)


def test_pictures_that_fill_no_batch_are_refused():
    with pytest.raises(ValueError, match="4 pictures do not fill one batch of 8"):
        train_identity(RECIPE, people(each=1))
