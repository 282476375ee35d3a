"""Stored images in the admin: shown where their data set is cleared for display, and nowhere else."""

from __future__ import annotations

import math
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from study.lab import drawings
from study.lab.admin.rooms import Room
from study.lab.differences import GAIN, MIDDLE, difference_png
from study.lab.files import StorageFailed
from study.lab.images import DamagedFile
from study.lab.models import Attack, BaseImage, Dataset, Pair, StoredImage

THUMBNAIL_PX = 128


class ShowsImages(Room):
    """Adds a view of stored images to a model's pages, for whoever may see the rows."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.image)
        name = f"lab_{self.opts.model_name}_image"
        return [path("<int:pk>/image/", view, name=name), *super().get_urls()]

    def image(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The stored file; 403 when its data set is not cleared for display, 404 when it is damaged."""
        return self.png(request, pk, lambda row: bytes(row.obtain()))

    def png(self, request: HttpRequest, pk: int, content: Any) -> HttpResponse:
        """What `content` makes of the row; 403 when its data set is not cleared for display, 404 when it is damaged."""
        row = self.viewed(request, pk)
        if refusal := dataset_of(row).display_refusal():
            raise PermissionDenied(refusal)
        try:
            found = content(row)
        except (DamagedFile, StorageFailed) as error:
            raise Http404(str(error)) from error
        return HttpResponse(found, content_type="image/png", headers={"Cache-Control": "private, no-store"})


def dataset_of(row: StoredImage) -> Dataset:
    """The data set of a base image or a pair."""
    return row.base_image.dataset if isinstance(row, Pair) else row.dataset  # type: ignore[attr-defined]


def thumbnails(*rows: StoredImage) -> SafeString | str:
    """Images side by side, or why they are not shown."""
    if dataset_of(rows[0]).display_refusal():
        return "not cleared for display"
    sources = ((image_address(row), THUMBNAIL_PX, type(row)._meta.verbose_name) for row in rows)
    images = format_html_join(" ", '<img src="{}" width="{}" loading="lazy" alt="{}">', sources)
    return format_html('<span class="side-by-side">{}</span>', images)


def image_address(row: StoredImage) -> str:
    return reverse(f"admin:lab_{row._meta.model_name}_image", args=[row.pk])


def gaze_picture(address: str, image_size: tuple[int, int], pitch: float, yaw: float) -> SafeString:
    """An image with its gaze, radians, as an arrow."""
    words = f"Gaze: pitch {math.degrees(pitch):.0f}°, yaw {math.degrees(yaw):.0f}°."
    arrow = drawings.gaze_arrow(pitch, yaw, image_size)
    return drawings.picture(image_size, [arrow], words, image=address, css="thumbnail")


def warp_picture(attack: Attack, strength: float, image: BaseImage | None) -> SafeString:
    """A warp's displacement at its control points, drawn longer than it is, over a clean image if there is one."""
    height, width = attack.parameters["image_size"]
    arrows = drawings.warp_arrows(attack.parameters, attack.state["control"], strength)
    size = len(attack.state["control"][0][0])
    factor = drawings.exaggeration(arrows, min(height, width) / max(size - 1, 1))
    longest = max((arrow.length for arrow in arrows), default=0.0)
    as_drawn = "drawn to scale" if factor == 1 else f"drawn {factor:g} times as long"
    words = (
        f"Displacement at the {size} x {size} control points at strength {strength:g}: at most {longest:.2f} px, "
        f"{as_drawn}. What is at an arrow's end is shown at its start."
    )
    address = image_address(image) if image is not None and not image.dataset.display_refusal() else ""
    drawn = drawings.picture((height, width), [arrow.times(factor) for arrow in arrows], words, image=address)
    return format_html('<figure class="large">{}<figcaption>{}</figcaption></figure>', drawn, words)


def difference_picture(pair: Pair) -> SafeString:
    """What a pair's alteration adds and takes away."""
    source = reverse("admin:lab_pair_difference", args=[pair.pk])
    words = (
        f"{MIDDLE} + {GAIN} (altered − clean) at strength {pair.strength:g}, for each channel, levels of "
        "255: grey where nothing changes, light where something is added, dark where it is taken away."
    )
    return format_html(
        '<figure class="large"><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>', source, words, words
    )


def pair_difference(pair: Pair) -> bytes:
    """The PNG of a pair's difference, from its two stored files. Raises DamagedFile or StorageFailed."""
    return difference_png(pair.base_image.obtain(), pair.obtain())
