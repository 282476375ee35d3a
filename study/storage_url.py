"""The address of the storage that hosts share: one environment variable becomes Django's settings of a storage."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

FORM = "s3://KEY:SECRET@BUCKET/PREFIX?endpoint=https://HOST&region=REGION"
OPTIONS = {"endpoint": "endpoint_url", "region": "region_name"}
LOCAL = {"BACKEND": "django.core.files.storage.FileSystemStorage"}


def storage_of(url: str) -> dict[str, Any]:
    """What STORAGES["default"] is: the files of this host when the address is empty, else a bucket.

    Key and secret are percent-encoded; without them, the usual environment variables or the role of the machine count.
    Raises ImproperlyConfigured with one sentence, which never repeats the address: a secret is in it.
    """
    if not url:
        return dict(LOCAL)
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        bucket, port = parts.hostname, parts.port
    except ValueError:
        raise _wrong("it cannot be read as an address (is the secret percent-encoded?)") from None
    if parts.scheme != "s3":
        raise _wrong("it does not begin with s3://")
    if not bucket or port is not None:
        raise _wrong("it needs the name of a bucket, without a port")
    if bool(parts.username) != bool(parts.password):
        raise _wrong("it has a key or a secret, but not both")
    if unknown := sorted(options.keys() - OPTIONS):
        raise _wrong(f"it knows the options {' and '.join(OPTIONS)}, not {', '.join(unknown)}")
    if "endpoint" in options and not _is_web_address(options["endpoint"]):
        raise _wrong("its endpoint is not an https:// or http:// address")
    credentials = (
        {"access_key": unquote(parts.username), "secret_key": unquote(parts.password)}
        if parts.username and parts.password
        else {}
    )
    return {
        "BACKEND": "study.lab.bucket.Bucket",
        "OPTIONS": {
            "bucket_name": bucket,
            "location": unquote(parts.path).strip("/"),
            **credentials,
            **{OPTIONS[name]: value for name, value in options.items()},
        },
    }


def _is_web_address(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _wrong(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"STORAGE_URL must look like {FORM}, but {reason}.")
