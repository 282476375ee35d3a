"""Data sets: eye images with known gaze, and whether people may be shown them."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models

from models.filenames import CONTACT_SHEET, MANIFEST
from study.lab import files
from study.lab.disk import require_space
from study.lab.files import StoredFile
from study.lab.images import DamagedFile, sha256, write_once
from study.lab.models.jobs import Job
from study.lab.models.naming import NameTaken, check_name, named, sha256_of

if TYPE_CHECKING:
    from models.datasets.importing import Manifest


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def synthetic_eyes(self, name: str = "synthetic-eyes", **parameters: Any) -> Dataset:
        """The rendered eyes of these `EyesConfig` parameters. Nobody was photographed, so people may be shown them."""
        return named(
            self,
            name,
            {"kind": Dataset.Kind.SYNTHETIC_EYES, "parameters": parameters},
            {
                "may_display_to_participants": True,
                "display_reason": "Rendered by this project: nobody was photographed.",
            },
        )

    def arrays(
        self,
        name: str,
        path: Path | str,
        *,
        group_key: str | None = None,
        split_seed: int = 0,
        description: str | None = None,
        fractions: Sequence[float] | None = None,
    ) -> Dataset:
        """Images and gaze of your own in an `.npz`, not to be shown to people until somebody clears them.

        description: what they are, in words for reports ("unseen gaze points, one person"). fractions: shares of the
        groups that go to training, validation and test, by default those of `models.datasets.base.split_by_group`.
        Raises ValueError when there is no such file.
        """
        path = Path(path).resolve()
        if not path.is_file():
            raise ValueError(f"There is no data file {path}.")
        parameters: dict[str, Any] = {"group_key": group_key, **_split(split_seed, fractions)}
        if description:
            parameters["description"] = description
        return named(
            self,
            name,
            {"kind": Dataset.Kind.ARRAYS, "parameters": parameters, "root": str(path)},
            {"display_reason": "Nobody has cleared these images for display."},
        )

    def folder_for_import(self, name: str) -> Path:
        """Where the files of an import of this name belong.

        Raises ValueError for a name that is no slug, NameTaken for one that data of another kind have.
        """
        check_name(self, name)
        row = self.filter(name=name).exclude(kind=Dataset.Kind.IMPORTED).first()
        if row is not None:
            raise NameTaken(
                f"The data set {name!r} is there already and is no import", "choose another name with --name"
            )
        return Path(settings.VAR) / IMPORTS / name

    def imported(
        self, name: str, manifest: Manifest, *, split_seed: int = 0, fractions: Sequence[float] | None = None
    ) -> Dataset:
        """Images that `models.datasets.importing` has put where they belong, not to be shown to people until somebody
        clears them. Raises NameTaken when the name stands for other data.
        """
        terms = f"{manifest.title}: {manifest.licence.rstrip('.')}."
        return named(
            self,
            name,
            {
                "kind": Dataset.Kind.IMPORTED,
                "parameters": {
                    "format": manifest.format,
                    "fingerprint": manifest.fingerprint,
                    "images": manifest.images,
                    "shape": list(manifest.shape),
                    "sign_pitch": manifest.sign_pitch,
                    "sign_yaw": manifest.sign_yaw,
                    **_split(split_seed, fractions),
                },
            },
            {
                "root": str(self.folder_for_import(name)),
                "licence": manifest.licence,
                "attribution": manifest.citation,
                "display_reason": f"Nobody has cleared these images for display ({terms})",
            },
        )


IMPORTS = "datasets"
PARTS = ("train", "validation", "test")


def _split(seed: int, fractions: Sequence[float] | None) -> dict[str, Any]:
    """Parameters of a split; fractions that were not chosen are left to the loader."""
    return {"split_seed": seed, **({"fractions": [float(share) for share in fractions]} if fractions else {})}


class Dataset(models.Model):
    """A set of eye images with known gaze, and whether people may be shown it."""

    class Kind(models.TextChoices):
        SYNTHETIC_EYES = "synthetic_eyes", "synthetic eyes"
        ARRAYS = "arrays", "own arrays (.npz)"
        IMPORTED = "imported", "imported"

    name = models.SlugField(unique=True)
    kind = models.CharField(max_length=20, choices=Kind)
    parameters = models.JSONField(default=dict, blank=True, help_text="What the loader of this kind takes.")
    root = models.CharField(max_length=500, blank=True, help_text="Where the files lie, for data of your own.")
    licence = models.TextField(blank=True)
    attribution = models.TextField(blank=True, help_text="Whom to cite.")
    may_display_to_participants = models.BooleanField(default=False)
    display_reason = models.TextField(blank=True, help_text="Why people may, or may not, be shown these images.")
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    sizes = models.JSONField(
        null=True, editable=False, help_text="How many images and subjects each part has, from when it was prepared."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        verbose_name = "data set"

    def __str__(self) -> str:
        return self.name

    def display_refusal(self) -> str | None:
        """Why these images must not be shown to people, in one sentence; None when they may be."""
        if self.may_display_to_participants:
            return None
        reason = self.display_reason or "No reason is recorded."
        return f"The images of {self.name!r} are not cleared for display to participants: {reason}"

    def clear_for_display(self, reason: str) -> None:
        """Let people be shown these images. Raises ValueError without a reason."""
        self._decide_display(True, reason)

    def withdraw_clearance(self, reason: str) -> None:
        """Let nobody be shown these images any more. Raises ValueError without a reason."""
        self._decide_display(False, reason)

    def _decide_display(self, may: bool, reason: str) -> None:
        if not reason.strip():
            raise ValueError("Say why: the reason is kept with the decision.")
        self.may_display_to_participants, self.display_reason = may, reason.strip()
        self.save(update_fields=["may_display_to_participants", "display_reason"])

    def source(self) -> dict[str, Any]:
        """Where the data come from, as `models.run` wants to be told."""
        if self.kind == self.Kind.SYNTHETIC_EYES:
            cache = str(Path(settings.VAR) / "cache")
            return {"kind": "synthetic_eyes", "config": self.parameters, "cache": cache}
        split = {"seed": self.parameters["split_seed"]}
        if "fractions" in self.parameters:
            split["fractions"] = self.parameters["fractions"]
        if self.kind == self.Kind.IMPORTED:
            return {"kind": "imported", "folder": str(self.folder), **split}
        return {
            "kind": "arrays",
            "path": self.root,
            "group_key": self.parameters["group_key"],
            "description": self.parameters.get("description"),
            **split,
        }

    def image_size(self) -> tuple[int, int]:
        """(H, W) of the images. Raises ValueError for settings or files that cannot be used."""
        if self.kind == self.Kind.SYNTHETIC_EYES:
            from models.datasets.eyes_config import EyesConfig

            framing = EyesConfig(**self.parameters).framing
            return framing.height, framing.width
        if self.kind == self.Kind.IMPORTED:
            _, height, width = self.parameters["shape"]
            return height, width
        from models.datasets.arrays import load_arrays

        images = load_arrays(Path(self.root), self.parameters["group_key"]).images
        height, width = images.shape[-2:]
        return height, width

    @property
    def contact_sheet(self) -> Path | None:
        """The picture of an imported data set to look at before it is used."""
        sheet = self.folder / CONTACT_SHEET
        return sheet if self.kind == self.Kind.IMPORTED and sheet.is_file() else None

    @property
    def folder(self) -> Path:
        """Where an import's files belong on this host."""
        return Path(settings.VAR) / IMPORTS / self.name

    def publish(self) -> int:
        """Bring an import's files to the storage that hosts share; returns how many were missing there. Other data
        are rendered anywhere, or lie where somebody put them.

        Raises DamagedFile when they are not what was imported, `study.lab.files.StorageFailed` as it says.
        """
        if self.kind != self.Kind.IMPORTED or files.bucket() is None:
            return 0
        content = (self.folder / MANIFEST).read_bytes()
        manifest = StoredFile(self._stored_name(MANIFEST), sha256(content))
        return files.publish([*self._listed(content), manifest], folder=Path(settings.VAR))

    def fetch(self) -> None:
        """Bring the data to this host, where they can be brought; those that are here are verified by whoever loads
        them, for there may be many gigabytes.

        Raises ValueError when they cannot be; DamagedFile, `study.lab.files.StorageFailed` or DiskFull as they say.
        """
        if self.kind == self.Kind.ARRAYS and not Path(self.root).is_file():
            raise ValueError(
                f"The data set {self.name!r} is read from {self.root}, which {socket.gethostname()} does not have: "
                "put a copy there, or import the data, so that hosts share them."
            )
        if self.kind != self.Kind.IMPORTED or files.bucket() is None or (self.folder / MANIFEST).is_file():
            return
        content = files.read(self._stored_name(MANIFEST))
        if json.loads(content)["fingerprint"] != self.parameters["fingerprint"]:
            raise DamagedFile(f"The storage has other data under {self.name!r} than were imported: import them again.")
        listed = self._listed(content)
        require_space(self.folder, files.stored_bytes(listed))
        files.fetch(listed, folder=Path(settings.VAR))
        write_once(self.folder / MANIFEST, content)  # the last: with it, the folder is complete

    def _stored_name(self, file: str) -> str:
        return f"{IMPORTS}/{self.name}/{file}"

    def _listed(self, manifest: bytes) -> list[StoredFile]:
        listed = json.loads(manifest)["files"]
        return [StoredFile(self._stored_name(name), digest) for name, digest in sorted(listed.items())]

    @property
    def signs(self) -> str:
        """In words, what an import multiplied the stored angles by to come to the convention; empty for other data."""
        if "sign_pitch" not in self.parameters:
            return ""
        return "stored pitch times {sign_pitch:+d}, stored yaw times {sign_yaw:+d}".format_map(self.parameters)

    def submit_preparation(self) -> Job:
        """Have the data made or checked, before several trainings would do so side by side."""
        return Job.objects.submit(Job.Kind.PREPARE, {"dataset": self.pk})

    def recognise(self, parts: Mapping[str, Any]) -> None:
        """Remember what the data were when first used: `parts` is `models.training.describe` of the splits.

        Raises ValueError when they have changed since.
        """
        fingerprint = sha256_of({part: parts[part]["fingerprint"] for part in PARTS})
        sizes = {part: {count: parts[part].get(count) for count in ("images", "subjects")} for part in PARTS}
        if Dataset.objects.filter(pk=self.pk, fingerprint="").update(fingerprint=fingerprint, sizes=sizes):
            self.fingerprint, self.sizes = fingerprint, sizes
            return
        self.refresh_from_db(fields=["fingerprint", "sizes"])
        if self.fingerprint != fingerprint:
            raise ValueError(f"The images or labels of {self.name!r} have changed since it was first used.")
        if self.sizes is None:  # recognised by an older version, which did not count
            Dataset.objects.filter(pk=self.pk).update(sizes=sizes)
            self.sizes = sizes

    @property
    def is_prepared(self) -> bool:
        """Whether the data have been made or checked: only then can models be trained on them side by side."""
        return bool(self.fingerprint)

    def counted(self, what: str) -> int | None:
        """How many "images" or "subjects" all parts have together; None where nobody has counted."""
        counts = [part[what] for part in (self.sizes or {}).values()]
        return None if not counts or None in counts else sum(counts)
