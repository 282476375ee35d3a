"""STORAGE_URL, and what is said of one that is wrong."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from study.storage_url import storage_of

SECRET = "hush+hush"


def test_without_an_address_files_stay_on_this_host() -> None:
    assert storage_of("") == {"BACKEND": "django.core.files.storage.FileSystemStorage"}


def test_an_address_says_everything() -> None:
    url = "s3://a%2Fkey:s%40f%3Ae@bucket/some/where/?endpoint=https://s3.example.org&region=eu-west-1"
    assert storage_of(url)["OPTIONS"] == {
        "bucket_name": "bucket",
        "location": "some/where",
        "access_key": "a/key",
        "secret_key": "s@f:e",
        "endpoint_url": "https://s3.example.org",
        "region_name": "eu-west-1",
    }


def test_credentials_may_be_left_to_the_machine() -> None:
    assert storage_of("s3://bucket")["OPTIONS"] == {"bucket_name": "bucket", "location": ""}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"https://key:{SECRET}@bucket", "does not begin with s3://"),
        (f"s3://key:{SECRET}@", "name of a bucket"),
        (f"s3://key:{SECRET}@bucket:9000/", "without a port"),
        (f"s3://key:{SECRET}@bucket:x/", "percent-encoded"),
        (f"s3://key:{SECRET}/s@bucket/", "percent-encoded"),
        (f"s3://:{SECRET}@bucket", "not both"),
        (f"s3://key:{SECRET}@bucket?zone=eu", "not zone"),
        (f"s3://key:{SECRET}@bucket?endpoint=s3.example.org", "endpoint is not an https"),
    ],
)
def test_a_wrong_address_gets_one_sentence_without_its_secret(url: str, reason: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=reason) as refusal:
        storage_of(url)
    assert SECRET not in str(refusal.value)
    assert str(refusal.value).count(".") == 1
