"""Words of ssh that no server on this machine can be made to say; the others are heard in ``test_tunnel.py``."""

from __future__ import annotations

import pytest

from catalyst_ml.errors import CatalystError, ConfigurationError, SourceUnavailable
from catalyst_ml.store.ssh_failures import Ends, explain_forward, explain_login, quoted

ENDS = Ends("joe@droplet:22", "droplet", "droplet", 22, "/keys/id", "/keys/hosts", 5000, "10.0.0.5:5432")


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        ("ssh: connect to host droplet port 22: Connection timed out", SourceUnavailable, "does not answer"),
        ("ssh: connect to host droplet port 22: No route to host", SourceUnavailable, "does not answer"),
        (
            "Unable to negotiate with 1.2.3.4 port 22: no matching key exchange method found. Their offer: sha1",
            ConfigurationError,
            "no cipher, key exchange or host key type in common (Unable to negotiate with 1.2.3.4",
        ),
        ("joe@droplet: Permission denied (publickey,password).", ConfigurationError, "refused the key /keys/id"),
        ("Received disconnect: Too many authentication failures", ConfigurationError, "refused the key /keys/id"),
        ("something new", SourceUnavailable, "before the tunnel was open (something new). Try again"),
        ("", SourceUnavailable, "(ssh said nothing)"),
    ],
)
def test_a_login_that_fails_is_explained(said: str, kind: type[CatalystError], expected: str) -> None:
    error = explain_login(said.splitlines(), ENDS, was_open=False)
    assert type(error) is kind
    assert str(error).startswith("SSH tunnel joe@droplet:22: ")
    assert expected in str(error)


def test_a_tunnel_that_was_open_was_lost_whatever_is_said_at_its_end() -> None:
    error = explain_login(["Connection reset by 1.2.3.4 port 22", "Permission denied"], ENDS, was_open=True)
    assert type(error) is SourceUnavailable
    assert "the connection was lost (Connection reset by 1.2.3.4 port 22 / Permission denied)" in str(error)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("connect failed: Connection timed out", "from that server: connect failed: Connection timed out. Check"),
        ("connect failed: open failed", "from that server: connect failed: open failed. Check"),
        ("administratively prohibited: open failed", "does not allow forwarding there. Allow it"),
    ],
)
def test_a_target_out_of_reach_is_explained(reason: str, expected: str) -> None:
    error = explain_forward(f"channel 12: open failed: {reason}\r\n", ENDS)
    assert type(error) is SourceUnavailable
    assert "is open, but 10.0.0.5:5432 cannot be reached" in str(error)
    assert expected in str(error)
    assert explain_forward("Warning: remote port forwarding", ENDS) is None


def test_what_the_other_side_says_can_neither_flood_nor_control_the_terminal() -> None:
    words = quoted(["\x1b[2J\x07harmless", "x" * 100_000])
    assert words.isprintable()
    assert len(words) < 400
    assert "harmless" in quoted(["\x1b[2J\x07harmless"])
