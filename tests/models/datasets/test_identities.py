from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from models.datasets.identities import Cast, Identities, deal, read_folder, stream_folder, synthetic_eyes
from models.datasets.samples import FormatError

CAST = Cast(known=3, validation=2, enrolled=3, attackers=2, gallery=2, search=1, test=2, attacker_search=3)


def picture(path, height=20, width=16, seed=0, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels, mode).save(path)
    return pixels


def identities(people=10, each=6):
    """One pixel of each picture says which it is."""
    images = torch.arange(people * each, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16).contiguous()
    person = torch.arange(people * each) % people
    return Identities(images, person, tuple(f"P{number}" for number in range(people)), "numbers")


def numbers(part):
    return set(part.images[:, 0, 0, 0].tolist())


# -- a folder of people


@pytest.fixture
def root(tmp_path):
    return tmp_path / "people"


def test_a_folder_gives_every_picture_and_whose_it_is(root):
    written = [picture(root / "anna" / "1.png", seed=1), picture(root / "anna" / "2.PNG", seed=2)]
    written += [picture(root / "bert" / "1.png", seed=3)]
    found = read_folder(root)
    assert found.names == ("anna", "bert")
    assert found.person.tolist() == [0, 0, 1]
    assert np.array_equal(found.images.permute(0, 2, 3, 1).numpy(), np.stack(written))


def test_a_size_makes_pictures_alike_and_crops_about_the_middle(root):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    (root / "anna").mkdir(parents=True)
    Image.fromarray(pixels).save(root / "anna" / "wide.png")
    picture(root / "anna" / "x.jpg", 30, 30, mode="L")
    found = read_folder(root, size=(20, 20))
    assert found.images.shape == (2, 3, 20, 20)
    assert found.images[0].min() == 255
    assert torch.equal(found.images[1, 0], found.images[1, 2])


def test_a_folder_is_streamed_one_picture_at_a_time(root):
    picture(root / "anna" / "1.png")
    (root / "anna" / "2.png").write_bytes(b"not a picture")
    faces = stream_folder(root)
    assert next(faces).where == "anna/1.png"
    with pytest.raises(FormatError, match=r"anna/2.png is not a readable PNG or JPEG"):
        next(faces)


def test_a_truncated_picture_is_named(root):
    picture(root / "anna" / "1.png")
    content = (root / "anna" / "1.png").read_bytes()
    (root / "anna" / "1.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=r"anna/1.png is not a readable"):
        read_folder(root)


def test_pictures_of_different_sizes_need_a_size(root):
    picture(root / "anna" / "1.png", 20, 16)
    picture(root / "bert" / "1.png", 24, 16)
    with pytest.raises(FormatError, match=r"bert/1.png is 24 x 16 px, those before it 20 x 16: give a size"):
        read_folder(root)


def test_a_person_without_pictures_and_a_root_without_people_are_named(root):
    root.mkdir()
    with pytest.raises(FormatError, match="holds no folder"):
        read_folder(root)
    (root / "anna").mkdir()
    (root / "anna" / "notes.txt").touch()
    with pytest.raises(FormatError, match=r"anna holds no .png"):
        read_folder(root)
    with pytest.raises(FormatError, match="There is no folder"):
        read_folder(root / "nowhere")


# -- synthetic eyes


def test_every_synthetic_subject_is_an_identity(tmp_path):
    eyes = synthetic_eyes(3, 2, tmp_path, size=16, processes=1)
    assert eyes.images.shape == (6, 3, 16, 16)
    assert torch.bincount(eyes.person).tolist() == [2, 2, 2]
    assert "not faces" in eyes.description


# -- who plays what part


def parts(company):
    known, validation, enrolled, attackers = company.known, company.validation, company.enrolled, company.attackers
    return {
        "known": [known.train, known.search, known.test],
        "validation": [validation.gallery, validation.probes],
        "enrolled": [enrolled.gallery, enrolled.search, enrolled.test],
        "attackers": [attackers.search, attackers.test],
    }


def test_no_picture_serves_twice_and_only_those_for_searching_the_unseen_for_nothing():
    company = deal(identities(), CAST)
    used = [number for pieces in parts(company).values() for piece in pieces for number in numbers(piece)]
    assert len(used) == len(set(used))
    unseen = {name for part in (company.known, company.enrolled) for name in unseen_names(part)}
    idle = [f"P{number % 10}" for number in set(range(60)) - set(used)]
    assert sorted(idle) == sorted(unseen)


def unseen_names(part):
    return [part.test.names[person] for person in part.test.people if person not in part.search.people]


def test_the_search_knows_nothing_of_the_share_of_people_that_the_cast_asks_for():
    company = deal(identities(people=20), Cast(5, 2, 7, 2, gallery=2, search=1, test=2, attacker_search=3, unseen=0.4))
    assert (len(unseen_names(company.known)), len(unseen_names(company.enrolled))) == (2, 3)
    assert (len(company.known.train.people), len(company.enrolled.gallery.people)) == (5, 7)


def test_how_many_are_unseen_changes_nothing_of_what_the_network_learns_and_is_tested_on():
    few, many = (deal(identities(), replace(CAST, known=4, attackers=1, unseen=unseen)) for unseen in (0.3, 0.4))
    assert len(few.known.search) > len(many.known.search)
    assert numbers(few.known.train) == numbers(many.known.train)
    assert numbers(few.enrolled.test) == numbers(many.enrolled.test)


def test_no_person_plays_two_parts():
    names = [name for pieces in parts(deal(identities(), CAST)).values() for name in pieces[0].names]
    assert sorted(names) == [f"P{number}" for number in range(10)]


def test_everybody_has_the_pictures_of_their_part():
    company = deal(identities(), CAST)
    per_person = {name: [len(p) // len(p.people) for p in pieces] for name, pieces in parts(company).items()}
    assert per_person == {"known": [3, 1, 2], "validation": [2, 4], "enrolled": [2, 1, 3], "attackers": [3, 3]}
    assert company.enrolled.gallery.by_person().person.tolist() == [0, 0, 1, 1, 2, 2]


def test_pictures_keep_their_person():
    company = deal(identities(), CAST)
    for pieces in parts(company).values():
        for piece in pieces:
            shown = [f"P{number % 10}" for number in piece.images[:, 0, 0, 0].tolist()]
            assert shown == [piece.names[person] for person in piece.person.tolist()]


def test_the_seed_decides_the_deal():
    first, again, other = (deal(identities(), CAST, seed) for seed in (1, 1, 2))
    assert numbers(first.known.train) == numbers(again.known.train) != numbers(other.known.train)


def test_the_fingerprint_follows_pictures_and_people():
    first, again = identities(), identities()
    assert first.fingerprint == again.fingerprint
    again.images[3, 0, 0, 0] += 1
    assert first.fingerprint != again.fingerprint
    assert first.fingerprint != first.subset(torch.arange(59)).fingerprint


def test_too_few_people_or_pictures_are_refused():
    with pytest.raises(ValueError, match="need 10 people; there are 8"):
        deal(identities(people=8), CAST)
    with pytest.raises(ValueError, match=r"has 3 pictures; at least 4 are needed"):
        deal(identities(each=3), CAST)


@pytest.mark.parametrize(
    "fields",
    [{"known": 1}, {"attackers": 0}, {"gallery": 0}, {"test": 0}, {"unseen": 0.0}, {"unseen": 0.99}, {"enrolled": 2}],
)
def test_a_cast_with_an_empty_part_is_refused(fields):
    with pytest.raises(ValueError, match="at least"):
        Cast(**fields)


@pytest.mark.parametrize(
    ("images", "person", "sentence"),
    [
        (torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "must be uint8"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "one person"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1]), "from 0 to 0"),
    ],
)
def test_pictures_and_people_that_do_not_fit_are_refused(images, person, sentence):
    with pytest.raises(ValueError, match=sentence):
        Identities(images, person, ("P0",), "")
