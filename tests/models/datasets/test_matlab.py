import random
from pathlib import Path

import numpy as np
import pytest
import scipy.io.matlab
from scipy.io import loadmat, savemat

from models.datasets import matlab
from models.datasets.samples import FormatError

WRITTEN_BY_MATLAB = Path(scipy.io.matlab.__file__).parent / "tests" / "data"
VERSIONS = ("6.1_SOL2", "6.5.1_GLNX86", "7.1_GLNX86", "7.4_GLNX86")  # the first is big-endian


def cell(*entries):
    array = np.empty(len(entries), object)
    array[:] = entries
    return array


CONTENT = {
    "images": np.random.default_rng(0).integers(0, 256, (3, 36, 60), np.uint8),
    "gaze": np.random.default_rng(1).normal(size=(3, 3)),
    "data": {"left": {"pose": np.eye(3, dtype=np.float32)}, "right": {"pose": np.arange(6.0).reshape(3, 2)}},
    "files": cell("0001.jpg", "ü.jpg", np.arange(3.0), cell("nested")),
    "name": "p00",
    "number": 7,
}


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def path(request, tmp_path):
    savemat(tmp_path / "some.mat", CONTENT, do_compression=request.param)
    return tmp_path / "some.mat"


def test_what_scipy_writes_is_read_with_the_axes_of_matlab(path):
    content = matlab.load(path, *CONTENT)
    assert (content["images"] == CONTENT["images"]).all()
    assert content["images"].dtype == np.uint8
    assert (content["gaze"] == CONTENT["gaze"]).all()
    assert (content["data"]["left"]["pose"] == np.eye(3)).all()
    assert (content["data"]["right"]["pose"] == CONTENT["data"]["right"]["pose"]).all()
    assert content["files"][:2] == ["0001.jpg", "ü.jpg"]
    assert content["files"][2].tolist() == [[0, 1, 2]]
    assert content["files"][3] == ["nested"]
    assert content["name"] == "p00"
    assert content["number"].tolist() == [[7]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["testdouble", "testmatrix", "test3dmatrix", "testminus", "teststring"])
def test_arrays_and_texts_that_matlab_wrote_are_read_as_scipy_reads_them(name, version):
    path = WRITTEN_BY_MATLAB / f"{name}_{version}.mat"
    ours, theirs = matlab.load(path, name)[name], loadmat(path, chars_as_strings=True)[name]
    if name == "teststring":
        assert [ours] == theirs.tolist()
    else:
        assert ours.shape == theirs.shape
        assert (ours == theirs).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_cells_structures_and_rows_of_text_that_matlab_wrote_are_read(version):
    def load(name):
        return matlab.load(WRITTEN_BY_MATLAB / f"{name}_{version}.mat", name)[name]

    assert load("testcell")[0] == "This cell contains this string and 3 arrays of increasing length"
    assert [array.shape for array in load("testcell")[1:]] == [(1, 1), (1, 2), (1, 3)]
    assert load("testcellnest")[1][1].item() == 3
    assert load("teststructnest")["two"] == {"three": "number 3"}
    assert [record["one"] for record in load("teststructarr")] == [np.ones((1, 1)), "number 1"]
    assert load("teststringarray") == ["one  ", "two  ", "three"]


def test_whole_doubles_that_matlab_stored_as_bytes_are_doubles_again():
    array = matlab.load(WRITTEN_BY_MATLAB / "testmatrix_7.4_GLNX86.mat", "testmatrix")["testmatrix"]
    assert array.dtype == np.float64


def test_other_variables_are_skipped_unread(path):
    assert list(matlab.load(path, "number")) == ["number"]
    assert matlab.load(WRITTEN_BY_MATLAB / "test_skip_variable.mat", "second")["second"] == "Hello, world"


@pytest.mark.parametrize(
    ("name", "variable", "complaint"),
    [
        ("testcomplex_7.4_GLNX86", "testcomplex", "complex numbers are not read"),
        ("testsparse_7.4_GLNX86", "testsparse", "a variable of class 5 is not read"),
        ("testobject_7.4_GLNX86", "testobject", "a variable of class 3 is not read"),
        ("testhdf5_7.4_GLNX86", "testdouble", "this is MATLAB 7.3"),
        ("testdouble_4.2c_SOL2", "testdouble", "damaged or no MATLAB file"),
        ("corrupted_zlib_checksum", "dummy", "damaged"),
        ("corrupted_zlib_data", "datagrid", "damaged"),
        ("malformed1", "dummy", "damaged"),
    ],
)
def test_what_is_not_read_is_refused(name, variable, complaint):
    with pytest.raises(FormatError, match=complaint):
        matlab.load(WRITTEN_BY_MATLAB / f"{name}.mat", variable)


def test_a_missing_variable_and_a_missing_file_are_named(path):
    with pytest.raises(FormatError, match="no variable 'head'"):
        matlab.load(path, "gaze", "head")
    with pytest.raises(FormatError, match="no such file"):
        matlab.load(path / "nowhere.mat", "gaze")


def test_a_file_cut_short_anywhere_is_refused(path):
    whole = path.read_bytes()
    for size in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError):
            matlab.load(path, *CONTENT)


def test_flipped_bytes_never_raise_anything_else(path):
    whole, draws = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draws.choice([1, 4])):
            damaged[draws.randrange(len(whole))] = draws.choice([0, 255, draws.randrange(256)])
        path.write_bytes(damaged)
        try:
            matlab.load(path, *CONTENT)
        except FormatError:
            refused += 1
    assert refused > 20


def test_cells_that_promise_more_entries_than_there_are_bytes_are_refused_at_once(tmp_path):
    path = tmp_path / "huge.mat"
    savemat(path, {"files": cell("a", "b")})
    whole = path.read_bytes()
    axes = np.array([1, 2], "<i4").tobytes()
    assert whole.count(axes) == 1
    path.write_bytes(whole.replace(axes, np.array([2**30, 2**30], "<i4").tobytes()))
    with pytest.raises(FormatError, match="damaged"):
        matlab.load(path, "files")


def test_a_field_of_a_structure_is_asked_for_by_its_path(tmp_path):
    savemat(tmp_path / "day01.mat", CONTENT)
    name = "data.right.pose"
    assert matlab.load(tmp_path / "day01.mat", name)[name].tolist() == [[0, 1], [2, 3], [4, 5]]
    for absent in ("data.right.gaze", "number.right", "data.left.pose.x"):
        with pytest.raises(FormatError, match=f"day01.mat: no variable '{absent}'"):
            matlab.load(tmp_path / "day01.mat", absent)
