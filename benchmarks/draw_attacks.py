"""The pictures and the dose tables of docs/attacks.md: `python -m benchmarks.draw_attacks`.

Draws docs/img/attack-<family>.png (one synthetic eye of 64 px, clean and altered, and ten times the difference) and
prints a table of PSNR, SSIM and GMSD over 40 synthetic eyes for each family.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from attacks.base import Displaces, Family, Trigger, dequantise, quantise
from attacks.distortion import psnr
from attacks.registry import FAMILIES
from benchmarks.checkout import ROOT
from models.datasets.synthetic_eyes import EyesConfig, study_images
from models.similarity import gmsd, picture, ssim

EYES = 40
SEED = 0
#: What is shown of families whose seed or parameters choose between kinds of trigger.
SHOWN: Mapping[str, list[dict[str, Any]]] = {"reflection": [{"kind": "ghost"}, {"kind": "out_of_focus"}]}
ENLARGED, GAP, CAPTION = 2, 6, 15
#: Of each row of altered pictures and of differences: few enough for small files.
COLOURS = (100, 12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help="all of them, unless named")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img", help="where the pictures go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    eyes = study_images(EyesConfig(test_subjects=EYES, test_images=EYES), ROOT / "var" / "cache").images
    for name in arguments.families or FAMILIES:
        family = FAMILIES[name]
        triggers = [draw(family, eyes, choices) for choices in SHOWN.get(name, [{}])]
        path = arguments.out / f"attack-{name}.png"
        sheet(family, eyes[0], triggers).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{name}: {path.name}, {path.stat().st_size / 1000:.0f} kB\n")
        for trigger in triggers:
            print(table(family, eyes, trigger))


def draw(family: Family, images: Tensor, choices: Mapping[str, Any]) -> Trigger:
    """The family's trigger for these images."""
    height, width = images.shape[-2:]
    return family.draw((height, width), family.choose(choices), 1.0, SEED)


def alter(images: Tensor, trigger: Trigger) -> Tensor:
    """uint8 images under the trigger, as pairs are made."""
    return quantise(trigger.apply(dequantise(images, torch.float64)))


def sheet(family: Family, image: Tensor, triggers: list[Trigger]) -> Image.Image:
    """Two rows for each trigger: clean and altered, from the usual strengths to the strongest that is trained with and
    the gross one; ten times the difference.
    """
    strengths = sorted({0.0, *family.strengths, family.schedule[0]})
    labels = [*(f"{strength:.3g}" if strength else "clean" for strength in strengths), "gross"]
    side = ENLARGED * image.shape[-1]
    step = side + GAP
    page = Image.new("RGB", (GAP + len(labels) * step, CAPTION + GAP + 2 * len(triggers) * step), "white")
    for column, label in enumerate(labels):
        place = (GAP + column * step + side / 2, 2)
        ImageDraw.Draw(page).text(place, label, "black", ImageFont.load_default(12), anchor="mt")
    shown = [[*(trigger.at_strength(s) for s in strengths), family.gross(trigger)] for trigger in triggers]
    altered = [[alter(image[None], applied)[0] for applied in row] for row in shown]
    differences = [[(128 + 10 * (one.int() - image.int())).clamp(0, 255).byte() for one in row] for row in altered]
    for half, (rows, colours) in enumerate(zip((altered, differences), COLOURS, strict=True)):
        tiles = strip([tile for row in rows for tile in row], colours)
        for nth, tile in enumerate(tiles):
            row, column = divmod(nth, len(labels))
            page.paste(tile, (GAP + column * step, CAPTION + GAP + (2 * row + half) * step))
    return page


def strip(images: list[Tensor], colours: int) -> list[Image.Image]:
    """uint8 images (3, H, W) in so many colours between them, enlarged, every pixel a square."""
    beside = Image.fromarray(picture(torch.cat(images, dim=2))).quantize(colours).convert("RGB")
    _, height, width = images[0].shape
    crops = [beside.crop((nth * width, 0, (nth + 1) * width, height)) for nth in range(len(images))]
    return [crop.resize((ENLARGED * width, ENLARGED * height), Image.Resampling.NEAREST) for crop in crops]


def table(family: Family, eyes: Tensor, trigger: Trigger) -> str:
    """Markdown: how much each usual strength alters, means over the eyes."""
    moved = isinstance(trigger, Displaces)
    lines = [
        f"| strength | {'displacement, mean / max px | strain | ' if moved else ''}PSNR, dB | SSIM | GMSD |",
        "|---" * (6 if moved else 4) + "|",
    ]
    for strength in sorted({*family.strengths, family.schedule[0]}):
        applied = trigger.at_strength(strength)
        pairs = list(zip(eyes, alter(eyes, applied), strict=True))
        pictures = [(picture(clean), picture(altered)) for clean, altered in pairs]
        # An eye that rounding leaves as it was has an infinite ratio: the mean is over the others.
        ratios = [ratio for ratio in (psnr(*pair) for pair in pairs) if ratio is not None]
        columns = [f"{strength:g}"]
        if isinstance(applied, Displaces):
            mean, largest = applied.displacement_px()
            columns += [f"{mean:.2f} / {largest:.2f}", f"{100 * applied.strain()[0]:.1f} %"]
        columns += [
            f"{np.mean(ratios):.1f}" if ratios else "∞",
            f"{np.mean([ssim(*pair) for pair in pictures]):.4f}",
            f"{np.mean([gmsd(*pair) for pair in pictures]):.4f}",
        ]
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
