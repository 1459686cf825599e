"""Keys and signatures: made once, readable by one user, checked by any tool, believed only if pinned."""

import base64
import multiprocessing
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from catalyst_ml.errors import ArtifactRefused, ConfigurationError
from catalyst_ml.registry.signatures import (
    PublicKeys,
    Signer,
    create_key,
    key_path,
    load_signer,
    open_signer,
    read_signatures,
    require_signature,
    signature_file,
)
from catalyst_ml.settings import HomeSettings, Settings, SigningSettings


def settings(home: Path, **signing: object) -> Settings:
    return Settings(home=HomeSettings(home=home), signing=SigningSettings(**signing))


def test_a_key_is_readable_by_its_user_alone_and_its_folder_too(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    before = os.umask(0)  # whatever the umask allows
    try:
        create_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["signing.pem"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    create_key(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is not overwritten"):
        create_key(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["signing.pem"]


def _try_to_create(path: str) -> bool:
    try:
        create_key(Path(path))
    except ConfigurationError:
        return False
    return True


def test_of_several_creators_exactly_one_makes_the_key(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        made = pool.map(_try_to_create, [str(path)] * 16, chunksize=1)
    assert sum(made) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["signing.pem"]


def test_what_a_key_signs_its_public_half_verifies_after_reading_both_back(tmp_path: Path) -> None:
    create_key(tmp_path / "k.pem")
    signer = load_signer(tmp_path / "k.pem")
    pinned = PublicKeys.parse(str(signer.public_keys))
    signature = signer.sign(b"manifest")
    assert len(signature) == 64
    assert pinned.verifies(b"manifest", signature)
    assert not pinned.verifies(b"manifesT", signature)
    assert not pinned.verifies(b"manifest", bytes(64))
    assert not pinned.verifies(b"manifest", signature[:-1])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_agrees(tmp_path: Path) -> None:
    signer = create_key(tmp_path / "k.pem")
    (tmp_path / "data").write_bytes(b"exactly these bytes")
    (tmp_path / "sig").write_bytes(signer.sign(b"exactly these bytes"))
    verify = ["openssl", "pkeyutl", "-verify", "-inkey", tmp_path / "k.pem", "-rawin"]
    command = [*verify, "-in", tmp_path / "data", "-sigfile", tmp_path / "sig"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (tmp_path / "data").write_bytes(b"exactly those bytes")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_open_to_others_is_not_used(tmp_path: Path, mode: int) -> None:
    create_key(tmp_path / "k.pem")
    (tmp_path / "k.pem").chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:o}, expected 600"):
        load_signer(tmp_path / "k.pem")


def test_other_files_are_no_key(tmp_path: Path) -> None:
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"-----BEGIN", rsa):
        path = tmp_path / "k.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigurationError, match="expected an unencrypted Ed25519 key"):
            load_signer(path)
    with pytest.raises(ConfigurationError, match="keys create"):
        load_signer(tmp_path / "none.pem")


def test_a_key_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"a file where the folder should be")
    with pytest.raises(ConfigurationError, match=r"cannot be made: .* SIGNING_PRIVATE_KEY_FILE"):
        open_signer(settings(tmp_path))


def test_a_private_key_in_the_place_of_the_public_one_is_not_repeated(tmp_path: Path) -> None:
    create_key(tmp_path / "k.pem")
    text = (tmp_path / "k.pem").read_text()
    with pytest.raises(ConfigurationError) as caught:
        PublicKeys.parse(text)
    assert text.splitlines()[1] not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_the_first_use_makes_the_key_and_later_ones_take_it(tmp_path: Path) -> None:
    first = open_signer(settings(tmp_path))
    assert open_signer(settings(tmp_path)).public_keys == first.public_keys
    assert key_path(settings(tmp_path)) == tmp_path / "keys" / "signing.pem"


def test_a_configured_key_file_is_never_made_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        open_signer(settings(tmp_path, private_key_file=tmp_path / "mounted.pem"))
    assert not (tmp_path / "mounted.pem").exists()


def test_a_trainer_whose_key_is_not_the_pinned_one_says_so_before_signing(tmp_path: Path) -> None:
    other = create_key(tmp_path / "other.pem").public_keys
    with pytest.raises(ConfigurationError, match="SIGNING_PUBLIC_KEY pins"):
        open_signer(settings(tmp_path, public_key=str(other)))
    own = open_signer(settings(tmp_path)).public_keys
    assert open_signer(settings(tmp_path, public_key=f"{other}, {own}")).public_keys == own


def test_while_a_key_is_replaced_both_are_believed(tmp_path: Path) -> None:
    old, new, third = (create_key(tmp_path / f"{n}.pem") for n in range(3))
    pinned = PublicKeys.parse(f"{old.public_keys},{new.public_keys}")
    assert [pinned.verifies(b"x", signer.sign(b"x")) for signer in (old, new, third)] == [True, True, False]


@pytest.mark.parametrize(
    "text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 44, "A" * 43 + "=", "ed25519:" + "é" * 44, "ed25519:x,"]
)
def test_what_is_no_public_key_is_refused_by_the_settings_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGNING_PUBLIC_KEY"):
        PublicKeys.parse(text)


def test_a_signature_file_pairs_with_the_document_before_and_after_a_replacement(tmp_path: Path) -> None:
    signer = create_key(tmp_path / "k.pem")
    both = signature_file([signer.sign(b"new"), signer.sign(b"old"), signer.sign(b"older")])
    require_signature("p.json", b"new", both, signer.public_keys)
    require_signature("p.json", b"old", both, signer.public_keys)
    with pytest.raises(ArtifactRefused, match="not made over these bytes by the pinned key"):
        require_signature("p.json", b"older", both, signer.public_keys)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"A" * 88,
        b"not base64!" * 8 + b"\n",
        base64.b64encode(bytes(63)) + b"\n",
        base64.b64encode(bytes(64)) + b"\r\n",
        base64.b64encode(bytes(64)) + b"\n\n",
        (base64.b64encode(bytes(64)) + b"\n") * 3,
        b" " + base64.b64encode(bytes(64)) + b"\n",
        "é".encode() * 44 + b"\n",
    ],
)
def test_a_damaged_signature_file_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactRefused, match=r"p\.json\.sig"):
        read_signatures("p.json.sig", data)


def test_the_private_half_is_not_shown_by_accident(tmp_path: Path) -> None:
    signer = create_key(tmp_path / "k.pem")
    assert isinstance(signer, Signer)
    secret = (tmp_path / "k.pem").read_text().splitlines()[1]
    assert secret not in f"{signer!r} {signer} {signer.public_keys}"
