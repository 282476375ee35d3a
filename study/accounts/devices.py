"""A researcher's second factor: an app that shows a new code every 30 seconds, and codes for when it is lost."""

from __future__ import annotations

import math
import re
from base64 import b32encode
from typing import Final, NoReturn

import segno
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.safestring import SafeString, mark_safe
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from study.accounts.models import User

APP: Final = "app"
RECOVERY: Final = "recovery code"
RECOVERY_CODES: Final = 10
_APP_CODE: Final = re.compile(r"[0-9]{6}")
_KEPT: Final = 16  # characters that a stored recovery code can have


class RefusedCode(ValueError):  # noqa: N818 (a fact about a code)
    """A code that does not count; the message is a sentence."""


def is_enrolled(user: User) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def begin(user: User) -> TOTPDevice:
    """An app to be set up, which counts from `confirm` on; one that was begun before is forgotten."""
    with transaction.atomic():
        TOTPDevice.objects.filter(user=user, confirmed=False).delete()
        return TOTPDevice.objects.create(user=user, name=APP, confirmed=False)


def begun(user: User) -> TOTPDevice | None:
    return TOTPDevice.objects.filter(user=user, confirmed=False).first()


def confirm(user: User, code: str) -> list[str]:
    """The app that was begun counts from now on, if this is its code; returns recovery codes. Raises RefusedCode."""
    with transaction.atomic():
        app = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=False).first()
        right = app is not None and _try(app, _plain(code))
        TOTPDevice.objects.filter(user=user, confirmed=False).update(confirmed=right)
    return renew_recovery_codes(user) if right else _refuse(app, "the six digits that the app shows now")


def check(user: User, code: str) -> str:
    """What the code is of: APP, or RECOVERY, and then it is used up now. Raises RefusedCode."""
    plain = _plain(code)
    of_app = bool(_APP_CODE.fullmatch(plain))
    kind: type[TOTPDevice] | type[StaticDevice] = TOTPDevice if of_app else StaticDevice
    with transaction.atomic():
        device = kind._default_manager.select_for_update().filter(user=user, confirmed=True).first()
        right = device is not None and _try(device, plain if of_app else _kept(plain))
    if not right:
        _refuse(device, "the one that the app shows now, or a recovery code not yet used")
    return APP if of_app else RECOVERY


def remove(user: User) -> None:
    with transaction.atomic():
        TOTPDevice.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()


def renew_recovery_codes(user: User) -> list[str]:
    """Codes that count once each, instead of those that there were. They can be read here and never again."""
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        StaticDevice.objects.filter(user=user).delete()
        device = StaticDevice.objects.create(user=user, name=RECOVERY)
        StaticToken.objects.bulk_create(StaticToken(device=device, token=_kept(code)) for code in codes)
    return [f"{code[:4]}-{code[4:]}" for code in codes]


def recovery_codes_left(user: User) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


def secret(app: TOTPDevice) -> str:
    """For typing: groups of four letters."""
    letters = b32encode(app.bin_key).decode()
    return " ".join(letters[i : i + 4] for i in range(0, len(letters), 4))


def qr_code(app: TOTPDevice) -> SafeString:
    """For scanning: inline SVG, black on white in dark mode too."""
    code = segno.make(app.config_url, error="m", micro=False)
    return mark_safe(code.svg_inline(scale=5, light="white", svgclass=None, lineclass=None))  # noqa: S308 (segno's own)


def _try(device: TOTPDevice | StaticDevice, code: str) -> bool:
    """Whether this is a code of the device. A wrong one makes the next try wait: 1 s, 2 s, 4 s and so on."""
    return bool(device.verify_token(code))


def _refuse(device: TOTPDevice | StaticDevice | None, wanted: str) -> NoReturn:
    """Raises RefusedCode, with how long to wait if that is why."""
    if device is not None:
        _, why = device.verify_is_allowed()
        if why and (wait := math.ceil((why["locked_until"] - timezone.now()).total_seconds())) > 1:
            raise RefusedCode(f"That code is not right, or came too soon: wait {wait} seconds before the next one.")
    raise RefusedCode(f"That code is not right: type {wanted}.")


def _plain(code: str) -> str:
    return re.sub(r"[\s-]", "", code).lower()


def _kept(code: str) -> str:
    """What is stored of a recovery code: whoever reads the database cannot use it."""
    return salted_hmac("study.accounts.recovery", code, algorithm="sha256").hexdigest()[:_KEPT]
