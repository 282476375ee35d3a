"""Rendered images on disk, in chunks that are written whole, verified when read, and made again when damaged."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.eye_renderer.draws import VERSION, Floats
from models.datasets.eye_renderer.geometry import Framing
from models.datasets.eye_renderer.render import render_eyes, render_study_eyes

CHUNK_IMAGES = 250
ABANDONED_AFTER = 3600  # seconds

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Chunk:
    """The images start .. stop - 1 of a stream, dealt to its subjects in turn.

    Attributes:
        folder: where the file lies.
        stream: "train", "validation", "test" or "study".
        first_subject, subjects: the stream shows first_subject .. first_subject + subjects - 1.
        mirrored: a right eye instead of a left one.
    """

    folder: Path
    framing: Framing
    seed: int
    stream: str
    first_subject: int
    subjects: int
    start: int
    stop: int
    mirrored: bool = False

    @property
    def path(self) -> Path:
        """The chunk's file."""
        return self.folder / f"{self.stream}-{self.start:06d}-{self.stop:06d}.npz"

    def __len__(self) -> int:
        return self.stop - self.start

    def identity(self) -> str:
        """All that its pictures depend on."""
        return (
            f"eyes {VERSION} {self.framing} seed {self.seed} {self.stream} {self.start}-{self.stop} "
            f"of {self.first_subject}+{self.subjects} mirrored {self.mirrored}"
        )


@dataclass(frozen=True)
class ChunkImages:
    """What a chunk holds: images uint8 (N, 3, H, W), pitchyaw float32 (N, 2) in radians, subject int64 (N,)."""

    images: NDArray[np.uint8]
    pitchyaw: Floats
    subject: NDArray[np.int64]

    def digest(self, chunk: Chunk) -> NDArray[np.uint8]:
        """SHA-256 over the chunk's identity and its arrays, as 32 bytes."""
        sha = hashlib.sha256(chunk.identity().encode())
        for array in (self.images, self.pitchyaw, self.subject):
            sha.update(np.ascontiguousarray(array).data)
        return np.frombuffer(sha.digest(), np.uint8)


def chunks_of(first: Chunk, images: int) -> list[Chunk]:
    """Cut images 0 .. images - 1 of the stream of `first` into chunks."""
    return [
        replace(first, start=start, stop=min(start + CHUNK_IMAGES, images)) for start in range(0, images, CHUNK_IMAGES)
    ]


def render_chunk(chunk: Chunk) -> ChunkImages:
    """Draw a chunk's images."""
    index = np.arange(chunk.start, chunk.stop)
    subject = chunk.first_subject + index % chunk.subjects
    render = render_study_eyes if chunk.stream == "study" else render_eyes
    eyes = render(chunk.framing, chunk.seed, chunk.stream, index, subject)
    if not chunk.mirrored:
        return ChunkImages(eyes.images, eyes.pitchyaw, subject)
    return ChunkImages(
        np.ascontiguousarray(eyes.images[..., ::-1]), eyes.pitchyaw * np.array([1, -1], np.float32), subject
    )


def write_chunk(chunk: Chunk) -> Chunk:
    """Render a chunk to its file: the file appears whole or not at all."""
    content = render_chunk(chunk)
    temporary = chunk.path.with_suffix(f".{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                images=content.images,
                pitchyaw=content.pitchyaw,
                subject=content.subject,
                sha256=content.digest(chunk),
            )
        os.replace(temporary, chunk.path)
    finally:
        temporary.unlink(missing_ok=True)
    return chunk


def read_chunk(chunk: Chunk) -> ChunkImages | None:
    """A chunk's content, or None, with a warning if the file is there but damaged."""
    try:
        with np.load(chunk.path, allow_pickle=False) as file:
            content = ChunkImages(file["images"], file["pitchyaw"], file["subject"])
            intact = np.array_equal(file["sha256"], content.digest(chunk))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        intact = False
    if intact:
        return content
    warnings.warn(f"{chunk.path} is damaged; its images are rendered again.", RuntimeWarning, stacklevel=2)
    return None


def load_chunks(chunks: Sequence[Chunk], processes: int, progress: Progress | None) -> list[ChunkImages]:
    """Read all chunks, rendering first what is missing or damaged.

    Args:
        processes: how many to render with; each uses one core.
        progress: called with (images ready, images in all); what it raises ends the rendering.
    """
    for folder in {chunk.folder for chunk in chunks}:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
    contents = {chunk: content for chunk in chunks if (content := read_chunk(chunk)) is not None}
    total = sum(map(len, chunks))
    done = sum(map(len, contents))
    if progress:
        progress(done, total)
    # Closed, so that the workers stop at once when `progress` raises.
    with closing(_written([chunk for chunk in chunks if chunk not in contents], processes)) as written:
        for chunk in written:
            content = read_chunk(chunk)
            if content is None:
                raise OSError(f"{chunk.path} cannot be read back: check the disk, or choose another cache folder.")
            contents[chunk] = content
            done += len(chunk)
            if progress:
                progress(done, total)
    return [contents[chunk] for chunk in chunks]


def _sweep(folder: Path) -> None:
    """Remove what killed workers left half-written, but not what another process may still be writing."""
    for part in folder.glob("*.part"):
        if time.time() - part.stat().st_mtime > ABANDONED_AFTER:
            part.unlink(missing_ok=True)


def _written(chunks: Sequence[Chunk], processes: int) -> Generator[Chunk, None, None]:
    """Render chunks to disk and yield each when its file is there."""
    processes = min(processes, len(chunks))
    # Daemonic processes may not have children; a single worker would only cost its start.
    if processes <= 1 or multiprocessing.current_process().daemon:
        yield from map(write_chunk, chunks)
        return
    context = multiprocessing.get_context("spawn")
    folders = sorted({chunk.folder for chunk in chunks})
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_die_with_parent, initargs=(folders,))
    try:
        for future in as_completed([pool.submit(write_chunk, chunk) for chunk in chunks]):
            yield future.result()
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()  # it would finish what it was given, which may take long
            worker.join()
            _remove_parts(folders, worker.pid)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _remove_parts(folders: Sequence[Path], pid: int | None) -> None:
    """Remove what this process has left half-written."""
    for part in (part for folder in folders for part in folder.glob(f"*.{pid}.part")):
        part.unlink(missing_ok=True)


def _die_with_parent(folders: Sequence[Path]) -> None:
    """End this worker when its parent is gone, however that ended: a pool's own workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        _remove_parts(folders, os.getpid())
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
