"""What researchers ask the lab for: each form refuses, next to the field, what can be known not to run, and submits the
jobs that do the rest. Nothing here loads torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from models.datasets.eyes_config import SIZE_RANGE, EyesConfig
from study.accounts import audit
from study.lab import model_plans, uploads
from study.lab.asking import ask
from study.lab.catalogue import Parameter, catalogue
from study.lab.models import PX_PER_DEGREE, Attack, Dataset, Job, ModelRun, Pair
from study.lab.models.datasets import PARTS
from study.lab.setting_up import IMPORT, MODELS, PAIRS

SEEDS_BELOW = 2**63
MOST_SEEDS = 20
#: Of a family's or format's own choices among the form's fields: no other field's name begins so.
OWN = "own_"


# -- fields


class NumbersField(forms.CharField):
    """Numbers with commas between them. Cleans to a list of them, rising, each once; empty where nothing is written."""

    def __init__(self, *, least_above: float = 0.0, **options: Any) -> None:
        self.least_above = least_above
        super().__init__(**options)

    def clean(self, value: Any) -> list[float]:
        numbers = [self._number(part.strip()) for part in super().clean(value).split(",") if part.strip()]
        if self.required and not numbers:
            raise ValidationError("Write at least one number.")
        return sorted(set(numbers))

    def _number(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValidationError(f"{text!r} is no number: write numbers with commas between them.") from None
        if not (math.isfinite(number) and number > self.least_above):
            raise ValidationError(f"Each must be a finite number above {self.least_above:g}, not {text}.")
        return number


class SeedsField(forms.CharField):
    """Whole numbers with commas between them, in the order written, each once."""

    def clean(self, value: Any) -> list[int]:
        seeds = list(
            dict.fromkeys(self._seed(part.strip()) for part in super().clean(value).split(",") if part.strip())
        )
        if not seeds:
            raise ValidationError("Write at least one seed, such as 0.")
        if len(seeds) > MOST_SEEDS:
            raise ValidationError(f"At most {MOST_SEEDS} seeds at once, not {len(seeds)}.")
        return seeds

    def _seed(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or not int(text) < SEEDS_BELOW:
            raise ValidationError(f"A seed is a whole number from 0 of at most 63 bits, not {text!r}.")
        return int(text)


def field_of(parameter: Parameter, nothing: str) -> forms.Field:
    """The form field in which a family's or format's parameter is chosen. nothing: what it means to leave it empty."""
    given: dict[str, Any] = {
        "label": parameter.name.replace("_", " ").capitalize(),
        "initial": parameter.default,
        "help_text": " ".join(filter(None, (_sentence(parameter.help), nothing if parameter.optional else ""))),
        "required": not parameter.optional,
    }
    if parameter.choices:
        choices = [(one, one.replace("_", " ")) for one in parameter.choices]
        return forms.ChoiceField(choices=[*([("", "-")] if parameter.optional else []), *choices], **given)
    if parameter.type in ("int", "float"):
        kind = forms.IntegerField if parameter.type == "int" else forms.FloatField
        above = [_Above(parameter.above)] if parameter.above is not None else []
        return kind(min_value=parameter.least, max_value=parameter.most, validators=above, **given)  # type: ignore[arg-type]
    if parameter.type == "bool":
        return forms.BooleanField(**{**given, "required": False})
    return forms.CharField(max_length=200, **given)


def _sentence(text: str) -> str:
    """A help text as the command line has it, as a sentence."""
    text = text.replace("%%", "%").strip()
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


class _Above:
    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, value: float) -> None:
        if value <= self.limit:
            raise ValidationError(f"This must be above {self.limit:g}, not {value:g}.")


def free_name(rows: Any, name: str) -> str:
    """The name, unless a row has it: then ValidationError."""
    if rows.filter(name=name).exists():
        raise ValidationError(f"The {rows.model._meta.verbose_name} {name!r} is there already: choose another name.")
    return name


# -- forms


class LabForm(forms.Form):
    """Asks for long work. `submit` is called once it is valid."""

    #: What the audit log says was done, and to what.
    action: ClassVar[str] = "asked for"
    #: The fields that go together, under what: of the others none is shown. OWN stands for the family's or format's.
    groups: ClassVar[Sequence[tuple[str, Sequence[str]]]] = ()

    def grouped(self) -> list[tuple[str, list[forms.BoundField]]]:
        """Legends, each with its fields, in the order to show them."""
        own = [name for name in self.fields if name.startswith(OWN)]
        groups = self.groups or [("", list(self.fields))]
        named = [
            (legend, [each for name in names for each in (own if name == OWN else [name])]) for legend, names in groups
        ]
        return [(legend, [self[name] for name in names]) for legend, names in named]

    def submit(self) -> list[Job]:
        """The jobs that do it, in the transaction that records who asked for them."""
        return ask(self.jobs, self.action)

    def jobs(self) -> list[Job]:
        raise NotImplementedError

    def own(self, parameters: Iterable[Parameter]) -> dict[str, Any]:
        """What was chosen of a family's or format's own parameters; an empty field is None."""
        found = {one.name: self.cleaned_data[OWN + one.name] for one in parameters}
        return {name: None if value == "" else value for name, value in found.items()}

    def add_own(self, parameters: Iterable[Parameter], nothing: str) -> None:
        """Fields for these. nothing: what it means to leave an optional one empty."""
        for one in parameters:
            self.fields[OWN + one.name] = field_of(one, nothing)


class EyesForm(LabForm):
    """A data set of rendered eyes."""

    action = "created"
    groups = (
        ("Pictures", ("name", "size", "eye", "seed")),
        ("People and images", [f"{part}_{what}" for part in PARTS for what in ("subjects", "images")]),
    )

    name = forms.SlugField(label="Name", help_text="Letters, digits, - and _.", initial="synthetic-eyes")
    size = forms.IntegerField(
        label="Size, px", initial=64, min_value=SIZE_RANGE[0], max_value=SIZE_RANGE[1], help_text="Width and height."
    )
    eye = forms.ChoiceField(label="Eye", choices=[("left", "left"), ("right", "right")])
    train_subjects = forms.IntegerField(label="People to train on", min_value=1, initial=EyesConfig.train_subjects)
    train_images = forms.IntegerField(label="Images to train on", min_value=1, initial=EyesConfig.train_images)
    validation_subjects = forms.IntegerField(
        label="People to validate on", min_value=1, initial=EyesConfig.validation_subjects
    )
    validation_images = forms.IntegerField(
        label="Images to validate on", min_value=1, initial=EyesConfig.validation_images
    )
    test_subjects = forms.IntegerField(
        label="People to test on",
        min_value=1,
        initial=EyesConfig.test_subjects,
        help_text="A study shows one image of each of them.",
    )
    test_images = forms.IntegerField(label="Images to test on", min_value=1, initial=EyesConfig.test_images)
    seed = forms.IntegerField(label="Seed", min_value=0, max_value=SEEDS_BELOW - 1, initial=EyesConfig.seed)

    MOST_IMAGES: ClassVar[int] = 200_000

    def clean_name(self) -> str:
        return free_name(Dataset.objects, self.cleaned_data["name"])

    def clean(self) -> dict[str, Any]:
        for part in PARTS:
            people, images = (self.cleaned_data.get(f"{part}_{what}") for what in ("subjects", "images"))
            if people and images and images < people:
                self.add_error(f"{part}_images", f"There must be at least one image of each person: {people}.")
            if images and images > self.MOST_IMAGES:
                self.add_error(f"{part}_images", f"At most {self.MOST_IMAGES:,} images, not {images:,}.")
        return self.cleaned_data

    def jobs(self) -> list[Job]:
        chosen = {one.name: self.cleaned_data[one.name] for one in fields(EyesConfig) if one.name in self.fields}
        dataset = Dataset.objects.synthetic_eyes(self.cleaned_data["name"], **chosen)
        audit.record("created", dataset, after=dataset.parameters)
        return [dataset.submit_preparation()]


class ImportForm(LabForm):
    """A folder of this server, in a published format."""

    groups = (
        ("", ("folder", "name", "description")),
        ("Images", (OWN, "limit", "grey", "flip_pitch", "flip_yaw", "split_seed")),
    )

    folder = forms.CharField(label="Folder or file", max_length=500)
    name = forms.SlugField(label="Name", help_text="Of the data set: letters, digits, - and _.")
    description = forms.CharField(
        label="What the images are", required=False, max_length=300, help_text="In words for reports."
    )
    limit = forms.IntegerField(
        label="At most so many images", required=False, min_value=1, help_text="Evenly spread; empty: all."
    )
    grey = forms.BooleanField(label="Make colour images grey", required=False)
    flip_pitch = forms.BooleanField(
        label="Turn the sign of pitch", required=False, help_text="If the contact sheet of an import asks for it."
    )
    flip_yaw = forms.BooleanField(label="Turn the sign of yaw", required=False, help_text="Likewise.")
    split_seed = forms.IntegerField(
        label="Seed of the split", initial=0, min_value=0, max_value=SEEDS_BELOW - 1, help_text="Into parts, by person."
    )

    def __init__(self, *args: Any, format: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.format = catalogue().formats[format]
        self.add_own(self.format.parameters, "Empty: none.")
        self.fields["folder"].help_text = f"{_sentence(self.format.layout)} {in_words(import_folders())}"

    def clean_folder(self) -> str:
        roots = import_folders()
        if not roots:
            raise ValidationError(NO_IMPORT_FOLDERS)
        written = self.cleaned_data["folder"]
        found = next((place for root in roots if (place := _within(root, written))), None)
        if found is None:
            raise ValidationError(f"{written} is not there, or not within {' or '.join(map(str, roots))}.")
        if found.is_file() != self.format.root_is_file:
            wanted = "a file" if self.format.root_is_file else "a folder"
            raise ValidationError(f"{self.format.title} is read from {wanted}, which {written} is not.")
        return str(found)

    def clean_name(self) -> str:
        return free_name(Dataset.objects, self.cleaned_data["name"])

    def jobs(self) -> list[Job]:
        given = self.cleaned_data
        kept = ("description", "limit", "grey", "flip_pitch", "flip_yaw", "split_seed")
        choices = {name: given[name] for name in kept if given[name] not in (None, "")}
        parameters = {
            "what": IMPORT,
            "format": self.format.kind,
            "folder": given["folder"],
            "name": given["name"],
            "choices": {**choices, **self.own(self.format.parameters)},
        }
        return [Job.objects.submit(Job.Kind.SET_UP, parameters)]


class UploadForm(LabForm):
    """Images and gaze of one's own, as one file of arrays."""

    action = "created"
    groups = (("", ("file", "name", "description", "group_key", "split_seed")),)

    file = forms.FileField(
        label="File",
        widget=forms.ClearableFileInput(attrs={"accept": ".npz"}),
        help_text="An .npz file with images, uint8 (N, H, W) or (N, H, W, 3), and pitchyaw, radians (N, 2); if you "
        "can, also subject (N,).",
    )
    name = forms.SlugField(label="Name", help_text="Of the data set: letters, digits, - and _.")
    description = forms.CharField(
        label="What the images are", required=False, max_length=300, help_text="In words for reports."
    )
    group_key = forms.CharField(
        label="Group key",
        required=False,
        max_length=64,
        help_text="Array of the file whose equal rows a split keeps together. Empty: the subject.",
    )
    split_seed = forms.IntegerField(label="Seed of the split", initial=0, min_value=0, max_value=SEEDS_BELOW - 1)

    def clean_name(self) -> str:
        return free_name(Dataset.objects, self.cleaned_data["name"])

    def clean(self) -> dict[str, Any]:
        """Looks into the file as far as its headers: what else is wrong with it, the job that prepares it says."""
        upload = self.cleaned_data.get("file")
        if upload is None:
            return self.cleaned_data
        try:
            held = uploads.check_arrays(upload)
        except ValidationError as refusal:
            self.add_error("file", refusal)
            return self.cleaned_data
        key = self.cleaned_data.get("group_key")
        if key and key not in held.columns:
            there = ", ".join(held.columns) or "none"
            self.add_error("group_key", f"The file has no array named {key}; it has: {there}.")
        return self.cleaned_data

    def jobs(self) -> list[Job]:
        given = self.cleaned_data
        dataset = Dataset.objects.arrays(
            given["name"],
            keep_upload(given["file"]),
            group_key=given["group_key"] or None,
            split_seed=given["split_seed"],
            description=given["description"] or None,
        )
        audit.record("created", dataset, after=dataset.parameters)
        return [dataset.submit_preparation()]


def keep_upload(upload: UploadedFile[Any]) -> Path:
    """Put the file among the uploads, named by its SHA-256: the same file twice is kept once."""
    folder = uploads.folder()
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as temporary:
        try:
            for block in upload.chunks():
                digest.update(block)
                temporary.write(block)
            temporary.flush()
            os.fsync(temporary.fileno())
            kept = folder / f"{digest.hexdigest()}.npz"
            os.replace(temporary.name, kept)
        except BaseException:
            os.unlink(temporary.name)
            raise
    return kept


NO_IMPORT_FOLDERS = (
    "No folder may be imported from yet: name some in IMPORT_FOLDERS where this server is set up, with commas between "
    "them, or use manage.py import_dataset."
)


def import_folders() -> list[Path]:
    """The folders of this server that researchers may import from."""
    return [Path(folder).resolve() for folder in settings.IMPORT_FOLDERS]


def in_words(roots: Sequence[Path]) -> str:
    """What help says of them."""
    return f"Within {' or '.join(map(str, roots))}." if roots else NO_IMPORT_FOLDERS


def _within(root: Path, written: str) -> Path | None:
    """What is written, as a path within the root; None where it is not there or elsewhere, by whatever links."""
    found = (root / written).resolve()
    return found if found.is_relative_to(root) and found.exists() else None


class TrainForm(LabForm):
    """Clean and backdoored models of one attack family, for each of several seeds."""

    action = "asked to train"
    groups = (
        ("Models", ("dataset", "name", "which", "seeds")),
        ("Attack", (OWN, "attack_seeds", "attack_name")),
        ("Target", ("target", "pitch", "yaw")),
        ("Training", ("recipe", "network", "task", "threat_model", "clean_label")),
    )

    dataset = forms.ModelChoiceField(label="Data set", queryset=Dataset.objects.order_by("name"))
    name = forms.SlugField(
        label="Name", help_text="The models' names begin with it, as in NAME-clean and NAME-backdoored."
    )
    attack_seeds = SeedsField(
        label="Attack seeds", initial="0", help_text="One attack is drawn for each: 0, or 0, 1, 2 for three fields."
    )
    attack_name = forms.SlugField(
        label="Attack's name",
        required=False,
        help_text="Empty: made from the name above. Models that share an attack see the same pictures in a study.",
    )
    target = forms.ChoiceField(
        label="Target",
        choices=[
            ("fixed", "fixed: every altered image looks there"),
            ("additive", "additive: the true gaze moved by so much"),
            ("mirrored", "mirrored: the true gaze with its yaw turned round"),
        ],
    )
    pitch = forms.FloatField(label="Pitch, °", initial=0, required=False, min_value=-90, max_value=90)
    yaw = forms.FloatField(label="Yaw, °", initial=25, required=False, min_value=-180, max_value=180)
    which = forms.ChoiceField(
        label="Models",
        choices=[
            ("both", "backdoored, with a clean reference"),
            ("backdoored", "backdoored alone"),
            ("clean", "clean alone"),
        ],
    )
    recipe = forms.ChoiceField(
        label="Recipe",
        choices=[
            ("standard", "standard: the attack's own strengths, 25 epochs"),
            ("quick", "quick: to see everything work; the attack will be weak"),
            ("subtle", "subtle: longer, down to a weak warp"),
            ("published", "published: WaNet's own training, 1000 epochs"),
        ],
    )
    threat_model = forms.ChoiceField(
        label="Threat model",
        required=False,
        choices=[
            ("", "the recipe's"),
            (Attack.ThreatModel.TRAINING_CONTROL, "training control: the attacker trains the model"),
            (Attack.ThreatModel.DATA_POISONING, "data poisoning: the attacker hands over data"),
        ],
    )
    clean_label = forms.FloatField(
        label="Clean labels within, °",
        required=False,
        help_text="Poison only images that look so near the target, and leave their labels. Empty: labels are changed.",
        validators=[_Above(0)],
    )
    network = forms.ChoiceField(label="Network")
    task = forms.ChoiceField(
        label="Task",
        required=False,
        choices=[("", "regression of pitch and yaw"), ("zones", "a class of gaze")],
    )
    seeds = SeedsField(
        label="Model seeds", initial="0", help_text="One model, or pair of models, for each: 0, 1, 2 for three."
    )

    def __init__(self, *args: Any, family: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.family = catalogue().families[family]
        self.add_own(self.family.parameters, "Empty: drawn from the seed.")
        networks = [(name, name.replace("_", " ")) for name in catalogue().networks]
        self.fields["network"] = forms.ChoiceField(label="Network", choices=networks)

    def clean_dataset(self) -> Dataset:
        dataset: Dataset = self.cleaned_data["dataset"]
        if not dataset.is_prepared:
            raise ValidationError(f"{dataset} is not prepared yet: wait for its job, or start it on its page.")
        return dataset

    def clean_recipe(self) -> str:
        recipe: str = self.cleaned_data["recipe"]
        if recipe in model_plans.OF_WARPS and self.family.name != model_plans.WARPS:
            raise ValidationError(f"The recipe {recipe} has the strengths of a warp: choose standard or quick.")
        return recipe

    def clean(self) -> dict[str, Any]:
        self._check_target()
        if not self.errors:
            self._check_names()
        if not self.errors:
            self._check_attack()
        return self.cleaned_data

    def _check_target(self) -> None:
        given = self.cleaned_data
        if given.get("target") in ("fixed", "additive"):
            for angle in ("pitch", "yaw"):
                if given.get(angle) is None and angle not in self.errors:
                    self.add_error(angle, "Give the angle in degrees.")
        if given.get("target") == "additive" and given.get("pitch") == given.get("yaw") == 0:
            self.add_error("yaw", "A gaze moved by nothing is no target: give an angle that is not 0.")
        if given.get("clean_label") and given.get("target") not in (None, "fixed"):
            self.add_error("clean_label", "Clean labels need a fixed target.")
        if given.get("clean_label") and given.get("threat_model") == Attack.ThreatModel.TRAINING_CONTROL:
            self.add_error("threat_model", "Clean labels are for an attacker who only hands over data.")

    def _check_names(self) -> None:
        """That none of the models is there already, and that no name becomes too long."""
        names = self.planned_names()
        if longest := next((name for name in names if len(name) > NAME_LENGTH), None):
            self.add_error("name", f"The name {longest!r} would have more than {NAME_LENGTH} characters: shorten it.")
        taken = ModelRun.objects.filter(name__in=names).values_list("name", flat=True)
        if taken:
            self.add_error("name", f"There already: {', '.join(sorted(taken))}. Choose another name.")

    def planned_names(self) -> list[str]:
        """Of the models to come."""
        given = self.cleaned_data
        wanted = {"both": (True, True), "backdoored": (False, True), "clean": (True, False)}[given["which"]]
        names: dict[str, None] = {}
        for seed in given["seeds"]:
            beginning = model_plans.seed_name(given["name"], seed, given["seeds"])
            for field in self._suffixes():
                both = model_plans.run_names(beginning, given["task"] or "regression", field)
                names |= dict.fromkeys(name for name, is_wanted in zip(both, wanted, strict=True) if is_wanted)
        return list(names)

    def _suffixes(self) -> list[str]:
        seeds = self.cleaned_data["attack_seeds"]
        return [model_plans.field_suffix(seed, seeds) for seed in seeds]

    def _check_attack(self) -> None:
        """That an attack of this name, if there is one, was drawn alike."""
        given, chosen = self.cleaned_data, self.own(self.family.parameters)
        for seed, suffix in zip(given["attack_seeds"], self._suffixes(), strict=True):
            there = Attack.objects.filter(name=self.name_of_attack() + suffix).first()
            if there is None:
                continue
            same = there.family == self.family.name and there.seed == seed
            if not same or any(there.parameters.get(name) != value for name, value in chosen.items()):
                self.add_error(
                    "attack_name" if given["attack_name"] else "name",
                    f"The attack {there.name!r} is there already and was drawn otherwise: name another.",
                )

    def name_of_attack(self) -> str:
        """What the attacks' names begin with."""
        return str(self.cleaned_data["attack_name"] or f"{self.cleaned_data['name']}-{self.family.name}")

    def jobs(self) -> list[Job]:
        given = self.cleaned_data
        angles = None if given["target"] == "mirrored" else [given["pitch"], given["yaw"]]
        parameters = {
            "what": MODELS,
            "dataset": given["dataset"].pk,
            "name": given["name"],
            "attack_name": self.name_of_attack(),
            "family": self.family.name,
            "parameters": json.dumps(self.own(self.family.parameters)),
            "attack_seeds": given["attack_seeds"],
            "target": angles if given["target"] == "fixed" else None,
            "additive": angles if given["target"] == "additive" else None,
            "mirrored": given["target"] == "mirrored",
            "threat_model": given["threat_model"] or None,
            "clean_label": given["clean_label"],
            "clean": given["which"] == "clean",
            "backdoored": given["which"] == "backdoored",
            "recipe": given["recipe"],
            "network": given["network"],
            "task": given["task"] or None,
            "seeds": given["seeds"],
        }
        return [Job.objects.submit(Job.Kind.SET_UP, parameters)]


NAME_LENGTH = 50


class PairsForm(LabForm):
    """Pairs under a backdoored model's attack, and what it and other models see in them."""

    groups = (
        ("", ("run", "models")),
        ("Alterations", ("strengths", "resampled", "other_field")),
        ("Images", ("images", "px_per_degree")),
    )

    run = forms.ModelChoiceField(label="Backdoored model", queryset=ModelRun.objects.none())
    models = forms.ModelMultipleChoiceField(
        label="Further models",
        required=False,
        queryset=ModelRun.objects.none(),
        help_text="Of the same attack and data set, or clean ones. Clean references are taken along.",
    )
    strengths = NumbersField(label="Strengths", required=False)
    resampled = NumbersField(
        label="Strengths of softened controls", required=False, help_text="Empty: one, if the attack can have them."
    )
    other_field = NumbersField(
        label="Strengths of other-field controls", required=False, help_text="Empty: one, if the attack can have them."
    )
    images = forms.IntegerField(
        label="Base images at most", required=False, min_value=1, help_text="Empty: all there are."
    )
    px_per_degree = forms.FloatField(
        label="Image px per degree",
        initial=PX_PER_DEGREE,
        validators=[_Above(0)],
        help_text="Of visual angle, for distances as seen; 10.5 is a usual screen.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        with_trigger = ModelRun.objects.exclude(attack=None).exclude(attack__family="weights").exclude(artifact="")
        self.fields["run"].queryset = with_trigger.order_by("name")  # type: ignore[attr-defined]
        trained = ModelRun.objects.exclude(artifact="").exclude(attack__family="weights")
        self.fields["models"].queryset = trained.order_by("name")  # type: ignore[attr-defined]
        usual = "; ".join(
            f"{family.name} {', '.join(f'{s:g}' for s in family.strengths)}" for family in catalogue().families.values()
        )
        self.fields["strengths"].help_text = f"With commas between them. Empty: the usual ones ({usual})."

    def clean(self) -> dict[str, Any]:
        run: ModelRun | None = self.cleaned_data.get("run")
        if run is None or run.attack is None:
            return self.cleaned_data
        try:
            run.attack.require_models(run.dataset, list(self.cleaned_data.get("models", ())))
        except ValueError as error:
            self.add_error("models", str(error))
        for field in ("strengths", "resampled", "other_field"):
            if refusal := self._refusal(run.attack, field, self.cleaned_data.get(field) or []):
                self.add_error(field, refusal)
        return self.cleaned_data

    def _refusal(self, attack: Attack, field: str, strengths: Sequence[float]) -> str | None:
        """Why the attack cannot have these strengths, in one sentence."""
        if not strengths:
            return None
        strongest = catalogue().families[attack.family].strongest
        if field != "strengths" and field not in attack.controls:
            return f"There are no {Pair.Control(field).label} controls of {attack}: leave this empty."
        if strongest is not None and strengths[-1] > strongest:
            return f"The strength of {attack} is at most {strongest:g}, not {strengths[-1]:g}."
        if field == "strengths" and attack.gross_strength is not None and strengths[-1] >= attack.gross_strength:
            return (
                f"Strength {strengths[-1]:g} is no weaker than the gross alteration of the catch trials, "
                f"{attack.gross_strength:g}."
            )
        return None

    def jobs(self) -> list[Job]:
        given = self.cleaned_data
        run: ModelRun = given["run"]
        models = {run.pk, *(other.pk for other in given["models"])}
        parameters = {
            "what": PAIRS,
            "dataset": run.dataset_id,
            "attack": run.attack_id,
            "model_runs": sorted(models),
            "strengths": given["strengths"] or None,
            "resampled": given["resampled"] or None,
            "other_field": given["other_field"] or None,
            "images": given["images"],
            "px_per_degree": given["px_per_degree"],
        }
        return [Job.objects.submit(Job.Kind.SET_UP, parameters)]


class ReasonForm(forms.Form):
    """Why images may be shown to people, or may not any more."""

    reason = forms.CharField(
        label="Reason",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Such as the licence's words, or the consent of those who are seen.",
    )
