"""The artifact store in DigitalOcean Spaces, or any other S3 endpoint, through boto3.

Uses only what every S3-compatible store offers: plain PUT, GET, HEAD and LIST. No conditional writes: who
may write which version is decided in PostgreSQL.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from catalyst_ml.errors import (
    ArtifactRefused,
    CatalystError,
    ConfigurationError,
    SourceUnavailable,
    UnknownVersion,
)
from catalyst_ml.registry.artifact_store import MAX_ARTIFACT_BYTES, check_key
from catalyst_ml.settings import SpacesSettings

PART_BYTES = 8 * 1024 * 1024
"""Larger objects are sent in parts of this size: what a bad line loses is one part, not twelve megabytes."""

_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_DENIED = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AccessDenied",
        "403",
        "Forbidden",
        "AuthFailure",
        "InvalidToken",
    }
)
_AGAIN = frozenset({"SlowDown", "RequestTimeout", "Throttling", "TooManyRequests", "BadDigest", "IncompleteBody"})


def open_spaces(settings: SpacesSettings) -> SpacesStore:
    """Return the store of the configured bucket; no request is made yet.

    Credentials come from the settings alone: whatever other S3 profile this machine has stays unused.

    Raises
    ------
    ConfigurationError
        If the endpoint, the bucket, the key or the secret is not set or the endpoint is not a URL.
    """
    parts = {
        "SPACES_ENDPOINT": settings.endpoint,
        "SPACES_BUCKET": settings.bucket,
        "SPACES_KEY": settings.key.get_secret_value() if settings.key else None,
        "SPACES_SECRET": settings.secret.get_secret_value() if settings.secret else None,
    }
    unset = [name for name, value in parts.items() if not value]
    if unset:
        raise ConfigurationError(
            f"Spaces: {', '.join(unset)} not set, expected all of {', '.join(parts)}. "
            "Set what is missing, or unset SPACES_ENDPOINT and SPACES_BUCKET to keep artifacts on this machine only."
        )
    if "@" in str(parts["SPACES_ENDPOINT"]):
        raise ConfigurationError(
            "Spaces: SPACES_ENDPOINT holds a user or password before an @, which would be shown and ignored. "
            "Write https://<region>.digitaloceanspaces.com there; credentials go into SPACES_KEY and SPACES_SECRET."
        )
    try:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=parts["SPACES_ENDPOINT"],
            region_name=settings.region,
            aws_access_key_id=parts["SPACES_KEY"],
            aws_secret_access_key=parts["SPACES_SECRET"],
            config=_client_config(settings.timeout_s),
        )
    except ValueError as error:
        raise ConfigurationError(
            f"Spaces: SPACES_ENDPOINT is {settings.endpoint!r}, expected https://<region>.digitaloceanspaces.com."
        ) from error
    return SpacesStore(client, bucket=str(settings.bucket), prefix=settings.prefix)


class SpacesStore:
    """The store that is a bucket; keys live below ``prefix``."""

    def __init__(self, client: Any, *, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix.strip("/")

    def put_bytes(self, key: str, data: bytes) -> None:
        """Upload ``data``; the server checks its MD5 on arrival, we check size and SHA-256 afterwards.

        Raises
        ------
        ArtifactRefused
            If the bucket afterwards shows another size or digest than was sent.
        """
        digest = hashlib.sha256(data).hexdigest()
        place = {"Bucket": self._bucket, "Key": self._full(key)}
        metadata = {"sha256": digest, "bytes": str(len(data))}
        with self._translated_errors("upload", key):
            if len(data) > PART_BYTES:
                self._put_in_parts(place, data, metadata)
            else:
                self._client.put_object(**place, Body=data, ContentMD5=_md5(data), Metadata=metadata)
            head = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        stored = head["ContentLength"], head["Metadata"].get("sha256")
        if stored != (len(data), digest):
            raise ArtifactRefused(
                f"{self.uri(key)}: sent {len(data):,} bytes, SHA-256 {digest}; the bucket shows {stored}. "
                "Another writer uses the same key, or the endpoint drops metadata; publish again."
            )

    def _put_in_parts(self, place: dict[str, str], data: bytes, metadata: dict[str, str]) -> None:
        """Upload part by part; the object appears whole when the last one is confirmed, or not at all.

        Not boto3's transfer manager: it sends no digest with a part unless CRC headers are allowed, which
        S3-compatible stores may refuse.
        """
        upload = self._client.create_multipart_upload(**place, Metadata=metadata)["UploadId"]
        try:
            parts = []
            for number, start in enumerate(range(0, len(data), PART_BYTES), start=1):
                part = data[start : start + PART_BYTES]
                answer = self._client.upload_part(
                    **place, UploadId=upload, PartNumber=number, Body=part, ContentMD5=_md5(part)
                )
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # Parts that nobody completes are stored, and paid for, without being seen.
            with suppress(ClientError, BotoCoreError, OSError):
                self._client.abort_multipart_upload(**place, UploadId=upload)
            raise

    def get_bytes(self, key: str, *, max_bytes: int = MAX_ARTIFACT_BYTES) -> bytes:
        with self._translated_errors("read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._full(key))
            # Not ``with answer["Body"]``: that hands out the stream below, whose errors botocore does not translate.
            with closing(answer["Body"]) as body:
                size = answer["ContentLength"]
                if size > max_bytes:
                    raise ArtifactRefused(f"{self.uri(key)}: {size:,} bytes, allowed are {max_bytes:,}.")
                # One byte more than allowed, should the answer be longer than it says.
                data: bytes = body.read(max_bytes + 1)
        if len(data) != size:
            raise SourceUnavailable(f"{self.uri(key)}: {len(data):,} of {size:,} bytes came. Read it again.")
        claimed = answer["Metadata"].get("sha256")
        if claimed and claimed != hashlib.sha256(data).hexdigest():
            raise ArtifactRefused(f"{self.uri(key)}: bytes and stored SHA-256 do not match. Publish again.")
        return data

    def exists(self, key: str) -> bool:
        try:
            with self._translated_errors("look for", key):
                self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        except UnknownVersion:
            return False
        return True

    def list_keys(self, prefix: str) -> list[str]:
        """Keys below the folder ``prefix``, sorted, through as many pages as there are."""
        folder = self._full(prefix.rstrip("/")) + "/"
        with self._translated_errors("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder)
            found = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        own = len(self._prefix) + 1 if self._prefix else 0
        return sorted(key[own:] for key in found)

    def delete(self, key: str) -> None:
        with self._translated_errors("delete", key):
            self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._full(key)}"

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{check_key(key)}" if self._prefix else check_key(key)

    @contextmanager
    def _translated_errors(self, action: str, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._answer_error(action, key, error) from error
        except (BotoCoreError, OSError) as error:
            endpoint = self._client.meta.endpoint_url
            raise SourceUnavailable(
                f"Spaces at {endpoint}: could not {action} {key!r}: {type(error).__name__}. "
                "Check the connection and SPACES_ENDPOINT; the step can be run again."
            ) from error

    def _answer_error(self, action: str, key: str, error: ClientError) -> CatalystError:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        endpoint = self._client.meta.endpoint_url
        where = f"Spaces bucket {self._bucket!r} at {endpoint}: could not {action} {key!r}"
        if code == "NoSuchBucket":
            return ConfigurationError(f"{where}: the bucket does not exist. Create it or mend SPACES_BUCKET.")
        if code in _MISSING:
            return UnknownVersion(f"{where}: no such object. Publish it again.")
        if code in _DENIED:
            return ConfigurationError(
                f"{where}: access refused ({code}). Check SPACES_KEY, SPACES_SECRET and that key's rights."
            )
        if code in _AGAIN or status >= 500:
            return SourceUnavailable(f"{where}: the service answered {code}. The step can be run again.")
        return ConfigurationError(f"{where}: the service answered {code}. Check the SPACES_ settings.")


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _client_config(timeout_s: float) -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=timeout_s / 6,
        read_timeout=timeout_s,
        retries={"max_attempts": 4, "mode": "standard"},
        # boto3 adds CRC32 headers by default, which S3-compatible stores may refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
