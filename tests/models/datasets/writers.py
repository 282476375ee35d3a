"""Write eyes in the published formats. Each conversion is the inverse of what the source says of itself, stated anew.

Our convention is g = (-cos p sin y, -sin p, -cos p cos y) with x right, y down, z away from the camera.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from models.datasets.samples import Sample

Eyes = Sequence[Sample]


def by_person(eyes: Eyes) -> list[tuple[str, list[Sample]]]:
    return [(person, list(group)) for person, group in groupby(eyes, key=lambda eye: eye.subject)]


def camera_vector(eye: Sample) -> np.ndarray:
    p, y = eye.pitch, eye.yaw
    return np.array([-math.cos(p) * math.sin(y), -math.sin(p), -math.cos(p) * math.cos(y)])


def head_rotation(pitch: float, yaw: float) -> np.ndarray:
    """A rotation vector whose matrix has the third column Z with pitch = asin(Zy), yaw = atan2(Zx, Zz)."""
    z = np.array([math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw)])
    axis = np.cross([0.0, 0.0, 1.0], z)
    return axis / np.linalg.norm(axis) * math.acos(z[2])


def save_jpeg(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=98, subsampling=0)


def framed(image: np.ndarray, margin: int) -> np.ndarray:
    """The image in the middle of a larger one."""
    return np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")


def mpiigaze(root: Path, eyes: Eyes, rows_per_day: int = 2, subset: slice | None = None) -> None:
    """Grey eyes, left and right in turn; right ones are stored unmirrored. `subset`: listed for the evaluation."""
    for person, all_eyes in by_person(eyes):
        listed = []
        for day, start in enumerate(range(0, len(all_eyes), 2 * rows_per_day), start=1):
            part = all_eyes[start : start + 2 * rows_per_day]
            files = [f"{row:04d}.jpg" for row in range(1, len(part) // 2 + 1)]
            folder = root / "Data" / "Normalized" / person
            folder.mkdir(parents=True, exist_ok=True)
            data = {side: _mpiigaze_side(part[first::2], side) for first, side in enumerate(("left", "right"))}
            names = np.empty((len(files), 1), object)
            names[:, 0] = files
            savemat(folder / f"day{day:02d}.mat", {"data": data, "filenames": names}, do_compression=True)
            listed += [f"day{day:02d}/{file} {side}" for file in files for side in ("left", "right")]
        if subset is not None:
            lists = root / "Evaluation Subset" / "sample list for eye image"
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f"{person}.txt").write_text("".join(f"{line}\n" for line in listed[subset]))


def _mpiigaze_side(eyes: Eyes, side: str) -> dict[str, np.ndarray]:
    mirror = np.array([-1.0, 1.0, 1.0] if side == "right" else [1.0, 1.0, 1.0])
    sign = -1 if side == "right" else 1
    return {
        "image": np.stack([eye.image[:, ::sign] for eye in eyes]),
        "gaze": np.stack([camera_vector(eye) * mirror for eye in eyes]),
        "pose": np.stack([head_rotation(eye.head[0], sign * eye.head[1]) for eye in eyes]),
    }


def mpiifacegaze(root: Path, eyes: Eyes, dtype: str = "uint8") -> None:
    """What MATLAB 7.3 makes of W x H x (B, G, R) x N and 16 x N: HDF5 with the axes the other way round."""
    root.mkdir(parents=True, exist_ok=True)
    for person, part in by_person(eyes):
        labels = np.zeros((len(part), 16))
        labels[:, :4] = [[eye.pitch, eye.yaw, *eye.head] for eye in part]
        with h5py.File(root / f"{person}.mat", "w", userblock_size=512) as file:
            planes = np.stack([eye.image[:, :, ::-1].transpose(2, 0, 1) for eye in part]).astype(dtype)
            file.create_dataset(
                "Data/data", data=planes, chunks=(min(2, len(part)), *planes.shape[1:]), compression="gzip"
            )
            file["Data/label"] = labels
        with (root / f"{person}.mat").open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file")


def mpiifacegaze_raw(root: Path, eyes: Eyes, margin: int = 32) -> None:
    """Frames with the image in the middle, 600 mm from the camera, whose axis goes through its middle."""
    for person, part in by_person(eyes):
        lines = []
        for number, eye in enumerate(part, start=1):
            frame = framed(eye.image, margin)
            save_jpeg(frame, root / person / "day01" / f"{number:04d}.jpg")
            x, y, half = frame.shape[1] / 2, frame.shape[0] / 2, eye.image.shape[1] / 3.2
            corners = [
                (x - half, y - 5),
                (x - 3, y - 5),
                (x + 3, y - 5),
                (x + half, y - 5),
                (x - 9, y + 5),
                (x + 9, y + 5),
            ]
            centre = np.array([0.0, 0.0, 600.0])
            target = centre + 450.0 * camera_vector(eye)
            values = [640, 400, *np.ravel(corners), *head_rotation(*eye.head), 0, 0, 580, *centre, *target]
            lines.append(" ".join([f"day01/{number:04d}.jpg", *(repr(float(value)) for value in values), "left"]))
        (root / person / f"{person}.txt").write_text("\n".join(lines) + "\n")
        (root / person / "Calibration").mkdir()
        focal = 960.0 * eye.image.shape[1] / 224
        lens = np.array([[focal, 0, frame.shape[1] / 2], [0, focal, frame.shape[0] / 2], [0, 0, 1]])
        savemat(root / person / "Calibration" / "Camera.mat", {"cameraMatrix": lens})


def pytorch_mpiigaze(path: Path, eyes: Eyes) -> None:
    """Grey eyes as arrays, faces one by one and blue first."""
    with h5py.File(path, "w") as file:
        for person, part in by_person(eyes):
            gaze = np.array([[eye.pitch, eye.yaw] for eye in part], np.float32)
            pose = np.array([eye.head for eye in part], np.float32)
            if part[0].image.ndim == 2:
                file[f"{person}/image"] = np.stack([eye.image for eye in part])
                file[f"{person}/gaze"], file[f"{person}/pose"] = gaze, pose
                continue
            for row, eye in enumerate(part):
                file[f"{person}/image/{row:04d}"] = eye.image[:, :, ::-1]
                file[f"{person}/gaze/{row:04d}"], file[f"{person}/pose/{row:04d}"] = gaze[row], pose[row]


def eth_xgaze(root: Path, eyes: Eyes, unlabelled: bool = True) -> None:
    """Training files, and one test file without labels."""
    people = by_person(eyes)
    names = {person: f"subject{number:04d}.h5" for number, (person, _) in enumerate(people)}
    for part in ("train", "test"):
        (root / part).mkdir(parents=True, exist_ok=True)
    lists = {"train": list(names.values()), "test": ["subject0099.h5"], "test_person_specific": []}
    (root / "train_test_split.json").write_text(json.dumps(lists))
    for person, part in people:
        with h5py.File(root / "train" / names[person], "w") as file:
            file.create_dataset("face_patch", data=np.stack([eye.image[:, :, ::-1] for eye in part]), chunks=True)
            file["face_gaze"] = np.array([[eye.pitch, eye.yaw] for eye in part])
            file["face_head_pose"] = np.array([eye.head for eye in part])
            file["frame_index"] = np.arange(len(part))[:, None]
    if unlabelled:
        with h5py.File(root / "test" / "subject0099.h5", "w") as file:
            file["face_patch"] = np.stack([eye.image for eye in eyes[:2]])
            file["face_head_pose"] = np.zeros((2, 2))


def gaze360(root: Path, eyes: Eyes, lists: bool = False, splits: Sequence[int] = (0, 1, 2, 3), margin: int = 0) -> None:
    """Eye frame: x left, y up, z away. Persons become recordings; `margin` px of head surround the "face"."""
    people = [person for person, _ in by_person(eyes)]
    rows = [(people.index(eye.subject), 5, number) for number, eye in enumerate(eyes)]
    gaze = np.array([camera_vector(eye) * [-1, -1, 1] for eye in eyes])
    names = [f"rec_{recording:03d}/head/{person:06d}/{frame:06d}.jpg" for recording, person, frame in rows]
    for eye, name in zip(eyes, names, strict=True):
        save_jpeg(framed(eye.image, margin), root / "imgs" / name)
    split = [splits[number % len(splits)] for number in range(len(eyes))]
    if lists:
        for part, file in enumerate(("train.txt", "validation.txt", "test.txt")):
            chosen = [(n, g) for n, g, s in zip(names, gaze, split, strict=True) if s == part]
            (root / file).write_text("".join(f"{n} {g[0]:.15f} {g[1]:.15f} {g[2]:.15f} \n" for n, g in chosen))
        return
    recordings = np.empty((1, len(people)), object)
    recordings[0] = [f"rec_{number:03d}" for number in range(len(people))]
    height, width = eyes[0].image.shape[:2]
    head = np.array([0.25, 0.5, (width + 2 * margin) / 3382, (height + 2 * margin) / 4096])
    face = np.array([0.25 + margin / 3382, 0.5 + margin / 4096, width / 3382, height / 4096])
    faces = np.tile(face, (len(eyes), 1))
    faces[0] = -1
    columns = zip(("recording", "person_identity", "frame"), np.array(rows).T, strict=True)
    savemat(
        root / "metadata.mat",
        {name: column[None] for name, column in columns}
        | {
            "recordings": recordings,
            "split": np.array(split)[None],
            "gaze_dir": gaze,
            "person_head_bbox": np.tile(head, (len(eyes), 1)),
            "person_face_bbox": faces,
        },
    )


def columbia(root: Path, eyes: Eyes, margin: int = 20) -> None:
    """Whole degrees; P is the head, V up, H as our yaw."""
    for number, (_, part) in enumerate(by_person(eyes), start=1):
        for eye in part:
            p, v, h = (round(math.degrees(angle)) for angle in (eye.head[1], eye.pitch, eye.yaw))
            save_jpeg(framed(eye.image, margin), root / f"{number:04d}" / f"{number:04d}_2m_{p}P_{v}V_{h}H.jpg")


def unityeyes(root: Path, eyes: Eyes, margin: int = 40) -> None:
    """Texts "(x, y, z)" with y up; the corners are so far apart that 1.5 times that is the image's width."""
    for number, eye in enumerate(eyes, start=1):
        frame = framed(eye.image, margin)
        save_jpeg(frame, root / f"{number}.jpg")
        height, width = frame.shape[:2]
        half = eye.image.shape[1] / 1.5 / 2
        angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        margin_x, margin_y = width / 2 - half * np.cos(angles), height / 2 + half / 3 * np.sin(angles)
        g = camera_vector(eye)
        label = {
            "interior_margin_2d": [_text(x, height - y, 9.5) for x, y in zip(margin_x, margin_y, strict=True)],
            "caruncle_2d": [_text(width / 2 - half, height / 2, 9.5)] * 7,
            "eye_details": {"look_vec": f"({g[0]:.9f}, {-g[1]:.9f}, {g[2]:.9f}, 0.0000)", "pupil_size": "0.1"},
            "eye_region_details": {"primary_skin_texture": eye.subject},
            "head_pose": "(352.0000, 182.0000, 0.0000)",
        }
        (root / f"{number}.json").write_text(json.dumps(label))


def _text(*values: float) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"


GAZEHUB_HEADERS = {
    "MPIIFaceGaze": "Face Left Right Origin WhichEye 3DGaze 3DHead 2DGaze 2DHead Rmat Smat GazeOrigin",
    "EyeDiap": "Face Left Right metapath 3DGaze 3DHead 2DGaze 2DHead Rvec Svec GazeOrigin",
    "MPIIGaze": "Image Origin WhichEye 3DGaze 3DHead 2DGaze 2DHead Rmat Smat GazeOrigin",
    "Gaze360": "Face Left Right Origin 3DGaze 2DGaze",
    "RT-Gene": "Face Left Right Origin 3DGaze 3DHead 2DGaze 2DHead",
    "ETH": "face gaze head origin cam_index frame_index normmat",
}


def gazehub(root: Path, eyes: Eyes, like: str = "MPIIFaceGaze") -> None:
    """One list a person, or one list for all where the source has parts. 2DGaze is (yaw, pitch), gaze as in ETH."""
    header = GAZEHUB_HEADERS[like]
    (root / "Label").mkdir(parents=True)
    shared = like in ("Gaze360", "RT-Gene", "ETH")
    lists: dict[str, list[str]] = {}
    for number, eye in enumerate(eyes, start=1):
        name = f"{'train' if shared else eye.subject}/face/{number}.jpg"
        if like == "ETH":  # whose script names files as seen from the folder of the part
            name = f"{eye.subject}/{number}.jpg"
        save_jpeg(eye.image, root / "Image" / ("train" if like == "ETH" else "") / name)
        origins = {"Gaze360": f"{eye.subject}/head/000001/{number:06d}.jpg", "RT-Gene": eye.subject}
        origin = origins.get(like, f"{eye.subject}/{number}.jpg")
        fields = {
            "2DGaze": f"{eye.yaw!r},{eye.pitch!r}",
            "2DHead": f"{eye.head[1]!r},{eye.head[0]!r}",
            "gaze": f"{eye.pitch!r},{eye.yaw!r}",
            "head": f"{eye.head[0]!r},{eye.head[1]!r}",
            "3DGaze": ",".join(map(repr, camera_vector(eye).tolist())),
            **dict.fromkeys(("Face", "face", "Image"), name),
            **dict.fromkeys(("Origin", "origin"), origin),
        }
        row = " ".join(fields.get(column, "0,0,0") for column in header.split())
        part = "train1" if like == "RT-Gene" else "train"
        lists.setdefault(part if shared else eye.subject, []).append(row)
    for stem, rows in lists.items():
        (root / "Label" / f"{stem}.label").write_text("\n".join([header, *rows]) + "\n")
