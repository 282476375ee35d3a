import pytest

from models.datasets.gazehub import FORMAT, GazeHubOptions
from models.datasets.importing import survey
from tests.models.datasets import writers
from tests.models.datasets.fixtures import eyes
from tests.models.datasets.roundtrip import JPEG_LEVELS, assert_same, refused

FACES = eyes(9, size=(40, 40))
FACE = GazeHubOptions()


@pytest.fixture
def root(tmp_path):
    writers.gazehub(tmp_path, FACES)
    return tmp_path


def edit(root, row, field, text):
    path = root / "Label" / "p01.label"
    rows = [line.split() for line in path.read_text().splitlines()]
    rows[row][field] = text
    path.write_text("\n".join(" ".join(fields) for fields in rows))


@pytest.mark.parametrize("like", ["MPIIFaceGaze", "EyeDiap", "MPIIGaze", "RT-Gene", "ETH"])
def test_columns_are_found_by_the_names_that_each_source_gives_them(tmp_path, like):
    writers.gazehub(tmp_path, FACES, like)
    assert_same(FORMAT.samples(tmp_path, FACE), FACES, JPEG_LEVELS)
    assert survey(FORMAT, tmp_path, FACE) == 9


def test_people_of_gaze360_are_told_apart_by_origin_and_recordings_stay_together(tmp_path):
    writers.gazehub(tmp_path, FACES, "Gaze360")
    samples = list(FORMAT.samples(tmp_path, FACE))
    assert_same(samples, FACES, JPEG_LEVELS, subjects=False)
    assert {(sample.subject, sample.group) for sample in samples} == {
        (f"p{number:02d}/head/000001", f"p{number:02d}") for number in range(3)
    }


def test_2dgaze_is_yaw_and_pitch_but_the_gaze_of_eth_is_pitch_and_yaw(tmp_path, root):
    edit(root, 1, 7, "0.4,-0.1")
    sample = list(FORMAT.samples(root, FACE))[3]
    assert (sample.pitch, sample.yaw) == (-0.1, 0.4)
    writers.gazehub(tmp_path / "eth", FACES[:1], "ETH")
    path = tmp_path / "eth" / "Label" / "train.label"
    header, row = path.read_text().splitlines()
    path.write_text(f"{header}\n{' '.join([row.split()[0], '-0.1,0.4', *row.split()[2:]])}\n")
    (sample,) = FORMAT.samples(tmp_path / "eth", FACE)
    assert (sample.pitch, sample.yaw) == (-0.1, 0.4)


def test_one_list_can_be_asked_for_and_unused_ones_are_left_out_unless_they_are(root):
    (root / "Label" / "p02.label").rename(root / "Label" / "unused.label")
    assert_same(FORMAT.samples(root, GazeHubOptions(only="p01")), FACES[3:6], JPEG_LEVELS)
    assert survey(FORMAT, root, FACE) == 6
    assert survey(FORMAT, root, GazeHubOptions(only="unused")) == 3
    assert "no list p07" in refused(FORMAT, root, GazeHubOptions(only="p07"))


def test_an_image_on_two_lists_is_refused_unless_one_list_is_chosen(root):
    (root / "Label" / "test").mkdir()
    text = (root / "Label" / "p01.label").read_text()
    (root / "Label" / "test" / "p01.label").write_text("\n".join(text.splitlines()[:3]))
    assert "test/p01.label, line 2: " in refused(FORMAT, root, FACE)
    assert "listed before, in p01.label, line 2" in refused(FORMAT, root, GazeHubOptions(only="p01"))
    assert survey(FORMAT, root, GazeHubOptions(only="test/p01"), refuse_others=False) == 2


def test_eyes_can_be_read_instead_of_faces(root):
    for path in (root / "Label").iterdir():
        header, *rows = path.read_text().splitlines()
        swapped = [" ".join([row.split()[1], row.split()[0], *row.split()[2:]]) for row in rows]
        path.write_text("\n".join([header, *swapped]))
    assert_same(FORMAT.samples(root, GazeHubOptions(image="left")), FACES, JPEG_LEVELS)


def test_names_of_lists_that_begin_with_a_part_do_not_name_a_person(tmp_path):
    writers.gazehub(tmp_path, FACES, "ETH")
    (tmp_path / "Label" / "train.label").rename(tmp_path / "Label" / "train_temp.label")
    assert {sample.subject for sample in FORMAT.samples(tmp_path, FACE)} == {"p00", "p01", "p02"}


def test_a_list_without_gaze_is_refused_before_any_image_is_read_unless_another_is_chosen(tmp_path):
    writers.gazehub(tmp_path, FACES, "ETH")
    label = tmp_path / "Label" / "train.label"
    label.with_name("test.label").write_text(label.read_text().replace(" gaze ", " else "))
    assert "test.label, line 2: no column 2DGaze or gaze; the first line" in refused(FORMAT, tmp_path, FACE)
    assert_same(FORMAT.samples(tmp_path, GazeHubOptions(only="train")), FACES, JPEG_LEVELS)


def test_back_slashes_separate_folders_too(root):
    edit(root, 1, 0, r"p01\face\4.jpg")
    assert_same(FORMAT.samples(root, FACE), FACES, JPEG_LEVELS)


@pytest.mark.parametrize(
    ("field", "text", "complaint"),
    [
        (7, "nan,0.1", "p01.label, line 3: nan 0.1 is not finite"),
        (7, "0.1", "p01.label, line 3: 1 numbers for an angle; expected 2"),
        (7, "0.1,0.2,0.3", "p01.label, line 3: 3 numbers for an angle; expected 2"),
        (7, "0.1,up", "p01.label, line 3: could not convert"),
        (7, "20,-10", "p01.label, line 3: the gaze (-10, 20) lies beyond"),
        (8, "nan,0", "p01.label, line 3: nan 0 is not finite"),
        (7, "", "p01.label, line 3: 11 fields; expected 12"),
        (7, "0.1,0.2 0.3", "p01.label, line 3: 13 fields; expected 12"),
        (0, "p01/face/77.jpg", "missing, the first in p01.label, line 3; fetch them: Image/p01/face/77.jpg"),
        (0, "../Label/p01.label", "p01.label, line 3: '../Label/p01.label' does not name a file inside"),
    ],
)
def test_a_row_that_is_not_as_published_is_refused_with_its_line(root, field, text, complaint):
    edit(root, 2, field, text)
    assert complaint in refused(FORMAT, root, FACE)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("Left Right Origin WhichEye", "p01.label, line 2: 12 fields; expected 4"),
        ("", "p01.label: empty; its first line must name the columns"),
        ("A Left Right Origin WhichEye B C 2DGaze D E F G", "line 2: no column face or Face or image or Image"),
        ("Face Left Right Origin WhichEye A B C D E F G", "p01.label, line 2: no column 2DGaze or gaze"),
    ],
)
def test_a_first_line_that_lacks_a_column_is_refused(root, header, complaint):
    path = root / "Label" / "p01.label"
    path.write_text("\n".join([header, *path.read_text().splitlines()[1:]] if header else []))
    assert complaint in refused(FORMAT, root, FACE)


def test_a_list_for_a_part_must_say_whose_images_they_are(root):
    path = root / "Label" / "p01.label"
    text = path.read_text()
    path.unlink()
    (root / "Label" / "train.label").write_text(text.replace("Origin", "From"))
    assert "train.label, line 2: no column Origin or origin" in refused(FORMAT, root, FACE)
    (root / "Label" / "train.label").write_text(text.replace(" p01/", " "))
    assert "train.label, line 2: '4.jpg' does not say whose image it is" in refused(FORMAT, root, FACE)


def test_images_without_a_row_are_refused_or_skipped_as_one_likes(root):
    writers.save_jpeg(FACES[0].image, root / "Image" / "p01" / "face" / "77.jpg")
    assert "1 image file(s) without a label" in refused(FORMAT, root, FACE)
    assert survey(FORMAT, root, FACE, refuse_others=False) == 9


def test_a_damaged_image_a_damaged_list_and_a_missing_folder_are_named(root):
    path = root / "Image" / "p01" / "face" / "4.jpg"
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:size])
        assert "p01.label, line 2: the image" in refused(FORMAT, root, FACE)
    (root / "Label" / "p01.label").write_bytes(b"\xff\xfe\x00\x80")
    assert "p01.label: not a text file" in refused(FORMAT, root, FACE)
    assert "holds no samples; expected: a folder with Image" in refused(FORMAT, root / "Label", FACE)
    assert "no such folder" in refused(FORMAT, root / "nowhere", FACE)
