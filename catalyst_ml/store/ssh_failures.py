"""What the words of OpenSSH's client mean, and what to do about each.

``ssh`` ends with status 255 whatever went wrong; only its words tell a changed host key from a closed port. They have
been the same since OpenSSH 7 and are not translated. Text that nobody here knows is quoted as it came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from catalyst_ml.errors import CatalystError, ConfigurationError, SourceUnavailable

_MAX_QUOTED = 300


@dataclass(frozen=True)
class Ends:
    """The places a tunnel connects, for messages; nothing here is secret."""

    server: str  # user@host:port
    host: str
    known_as: str  # in known_hosts: host, or [host]:port beside port 22
    port: int
    key_file: str
    known_hosts_file: str
    local_port: int
    target: str  # host:port of the database as the SSH server reaches it


# First match wins: what ssh says about a key file comes before the refusal that follows from it.
_LOGIN: tuple[tuple[str, type[CatalystError], str, str], ...] = (
    (
        r"REVOKED HOST KEY|revoked in file",
        ConfigurationError,
        "the server shows a host key that {known_hosts_file} marks as revoked",
        "Somebody may stand in between: do not go on before you know why",
    ),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed",
        ConfigurationError,
        "the server shows another host key than {known_hosts_file} holds",
        "It was installed anew, or somebody stands in between: compare fingerprints on the server's own console "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); if it is the server, remove the old line (ssh-keygen -R "
        "'{known_as}' -f {known_hosts_file}) and add the new one",
    ),
    (
        r"No \S+ host key is known|Host key verification failed",
        ConfigurationError,
        "{known_hosts_file} holds no host key of {known_as}",
        "Fetch it (ssh-keyscan -p {port} {host}), compare its fingerprint with the one on the server's own console, "
        "and append the line to that file",
    ),
    (
        r"Could not resolve hostname",
        SourceUnavailable,
        "the name of the server is not known to the name service",
        "Check TUNNEL_HOST and this machine's connection to the internet",
    ),
    (
        r"bad permissions|UNPROTECTED PRIVATE KEY",
        ConfigurationError,
        "others may read the key {key_file}, so ssh does not use it",
        "Make it yours alone: chmod 600 {key_file}",
    ),
    (
        r"Load key .*(invalid format|error in libcrypto|incorrect passphrase|unknown or unsupported)",
        ConfigurationError,
        "{key_file} is no private key that can be read without a passphrase",
        "Name the private key (not the .pub file) in TUNNEL_KEY_FILE; one with a passphrase must be in the ssh-agent",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods",
        ConfigurationError,
        "the server refused the key {key_file} for this user",
        "Check TUNNEL_USER, and that the key's .pub line stands in authorized_keys of that account; a key with a "
        "passphrase must be in the ssh-agent",
    ),
    (
        r"Address already in use|cannot listen to port|Could not request local forwarding",
        ConfigurationError,
        "port {local_port} of this machine is taken",
        "Unset TUNNEL_LOCAL_PORT to take any free one, or end the program that holds it (ss -ltnp 'sport = "
        ":{local_port}')",
    ),
    (
        r"Connection refused",
        SourceUnavailable,
        "nothing listens on that port",
        "Check TUNNEL_PORT, the server's firewall, and that sshd runs there",
    ),
    (
        r"timed out|No route to host|Network is unreachable|did not respond",
        SourceUnavailable,
        "the server does not answer",
        "Check TUNNEL_HOST, the firewall on the way, and that the server runs",
    ),
    (
        r"Unable to negotiate",
        ConfigurationError,
        "server and client have no cipher, key exchange or host key type in common ({quoted})",
        "Bring the older of the two up to date",
    ),
    (
        r"kex_exchange_identification|banner exchange|Connection (reset|closed) by",
        SourceUnavailable,
        "the server, or something before it, closed the connection before the login ({quoted})",
        "Check that an SSH server listens on TUNNEL_PORT, and that it has not banned this machine (fail2ban)",
    ),
)

_FORWARD: tuple[tuple[str, str, str], ...] = (
    (
        r"administratively prohibited",
        "the SSH server does not allow forwarding there",
        "Allow it: AllowTcpForwarding and PermitOpen in sshd_config, permitopen in authorized_keys",
    ),
    (
        r"Connection refused",
        "nothing listens there",
        "Check TUNNEL_REMOTE_HOST and TUNNEL_REMOTE_PORT (or host and port of the URL), seen from the SSH server, and "
        "that the database runs",
    ),
    (
        r"name resolution|Name or service not known|not known",
        "the SSH server does not know that name",
        "Check TUNNEL_REMOTE_HOST (or the host of the URL), seen from the SSH server",
    ),
    (
        r"",
        "{quoted}",
        "Check TUNNEL_REMOTE_HOST and TUNNEL_REMOTE_PORT (or host and port of the URL), seen from the SSH server",
    ),
)

_SEPARATORS = re.compile(r"@{5,}|^Warning: Permanently added|^\*\* ")
_FORWARD_FAILED = re.compile(r"channel \d+: open failed: (.*)")


def explain_login(said: Sequence[str], ends: Ends, *, was_open: bool) -> CatalystError:
    """Error for an ``ssh`` that ended, from what it said.

    Parameters
    ----------
    said : sequence of str
        Its lines, oldest first.
    was_open : bool
        The tunnel had been open: it was lost, not refused.

    Returns
    -------
    CatalystError
        ``SourceUnavailable`` where waiting can help, ``ConfigurationError`` where only a person can.
    """
    text = "\n".join(said)
    for pattern, kind, problem, remedy in () if was_open else _LOGIN:
        if re.search(pattern, text):
            words = {**vars(ends), "quoted": quoted(said)}
            return kind(f"SSH tunnel {ends.server}: {problem.format(**words)}. {remedy.format(**words)}.")
    why = quoted(said) or "ssh said nothing"
    if was_open:
        return SourceUnavailable(f"SSH tunnel {ends.server}: the connection was lost ({why}).")
    return SourceUnavailable(f"SSH tunnel {ends.server}: ssh ended before the tunnel was open ({why}). Try again.")


def explain_forward(line: str, ends: Ends) -> CatalystError | None:
    """Error for a line that says that the database could not be reached from the SSH server; None for other lines."""
    found = _FORWARD_FAILED.search(line)
    if found is None:
        return None
    reason = found.group(1)
    problem, remedy = next((what, todo) for pattern, what, todo in _FORWARD if re.search(pattern, reason))
    return SourceUnavailable(
        f"SSH tunnel {ends.server} is open, but {ends.target} cannot be reached from that server: "
        f"{problem.format(quoted=quoted([reason]))}. {remedy}."
    )


def quoted(said: Sequence[str]) -> str:
    """The last telling lines in one line, without control characters: part of them comes from the other side."""
    telling = [line for line in said if line and not _SEPARATORS.search(line)][-3:]
    words = " / ".join("".join(c if c.isprintable() else " " for c in line).strip().rstrip(".") for line in telling)
    return words if len(words) <= _MAX_QUOTED else f"...{words[-_MAX_QUOTED:]}"
