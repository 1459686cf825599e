"""An SSH tunnel to a database, opened when it is first needed and kept open as long as this process lives.

OpenSSH's own client does the work (decision record 0018). Here it is started with nothing but what the settings say,
watched, started again when the connection dies, and explained when it cannot be opened. It never outlives us: the
system kills it with the thread that watches it, also after kill -9.

Hosts, ports and files appear in messages; keys and passwords are never handled here.
"""

from __future__ import annotations

import contextvars
import logging
import os
import random
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Self

from catalyst_ml.errors import CatalystError, ConfigurationError, SourceUnavailable
from catalyst_ml.settings import TunnelSettings
from catalyst_ml.store.ssh_failures import Ends, explain_forward, explain_login

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0  # shorter than a caller waits (TUNNEL_CONNECT_TIMEOUT_S), so that each sees a try of its own
_STEADY_S = 5.0  # open for so long, the next loss counts as the first
_TRIES_FOR_A_FREE_PORT = 5
_GRACE_S = 5.0

# Started by a fresh interpreter and not through preexec_fn, which may deadlock in a process with threads. SIGKILL is
# asked for from the kernel first, then the parent is looked at: whenever it dies, one of the two sees it.
_BECOME_SSH = """
import ctypes, os, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""


class Tunnel:
    """A port of this machine that leads to ``host:port`` as the SSH server reaches it.

    Opened by :meth:`open` or a ``with`` block; from then on a lost connection is opened again, with growing pauses,
    until :meth:`close`. Safe to use from many threads.

    Parameters
    ----------
    settings : TunnelSettings
    host, port : str, int
        The database, unless ``remote_host`` and ``remote_port`` of the settings say otherwise.

    Raises
    ------
    ConfigurationError
        If a setting is missing or cannot be what it should be.
    """

    def __init__(self, settings: TunnelSettings, *, host: str, port: int) -> None:
        _refuse_incomplete(settings)
        self.host = _checked(settings.remote_host or host, "TUNNEL_REMOTE_HOST")
        self.port = settings.remote_port or port
        self._settings = settings
        self._changed = threading.Condition()
        self._supervisor: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._open_port: int | None = None
        self._tried_port = settings.local_port or 0
        self._closing = threading.Event()
        self._error: CatalystError | None = None
        self._forward_problem: tuple[float, CatalystError] | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        return f"SSH tunnel {self._ends().server} to {self._ends().target}"

    @property
    def pid(self) -> int | None:
        """Process id of the ``ssh`` at work, None while there is none."""
        process = self._process
        return process.pid if process is not None else None

    @property
    def is_open(self) -> bool:
        """True while the connection to the SSH server stands."""
        return self._open_port is not None

    def open(self) -> int:
        """Local port of the tunnel; opens it first, or waits for a reconnection under way.

        Raises
        ------
        SourceUnavailable
            If the server cannot be reached in time; supervision of a tunnel that was open before goes on.
        ConfigurationError
            If the server does not let us in, or is not the one that ``known_hosts`` names.
        """
        with self._changed:
            if self._supervisor is None:
                self._closing = threading.Event()
                self._error = None
                # In the caller's context: Prefect finds there which run a message of the thread belongs to.
                supervise = contextvars.copy_context().run
                self._supervisor = threading.Thread(target=supervise, args=(self._supervise,), daemon=True)
                self._supervisor.start()
            self._changed.wait_for(
                lambda: self._open_port is not None or self._supervisor is None,
                timeout=self._settings.connect_timeout_s + 2,  # the watchdog of ssh needs one of them
            )
            if self._open_port is not None:
                return self._open_port
            if self._error is None:
                raise self._late()
            later = " It is being opened again; try again in a moment." if self._supervisor is not None else ""
            raise type(self._error)(f"{self._error}{later}")

    def close(self) -> None:
        """End ``ssh`` and its supervision; does nothing on a closed tunnel. It may be opened again."""
        with self._changed:
            supervisor = self._supervisor
            self._closing.set()
            if self._process is not None:
                # Not SIGTERM: ssh may miss one that comes between two waits, and there is nothing it could lose.
                self._process.kill()
        if supervisor is not None:
            supervisor.join(timeout=_GRACE_S)

    def forward_problem(self, *, since: float) -> CatalystError | None:
        """Why the database could not be reached from the SSH server, if that was said after ``since`` (monotonic)."""
        deadline = time.monotonic() + 0.3  # the other side of the pipe may be a moment late
        while time.monotonic() < deadline:
            if self._forward_problem is not None and self._forward_problem[0] >= since:
                return self._forward_problem[1]
            time.sleep(0.02)
        return None

    def by_hand(self, *, local_port: int = 15432) -> str:
        """Shell command that opens the same tunnel for other tools, e.g. ``psql``."""
        settings = self._settings
        return shlex.join(
            ["ssh", "-N", "-L", self._forwarding(local_port), "-p", str(settings.port),
             "-i", str(Path(str(settings.key_file)).expanduser()),
             "-o", f"UserKnownHostsFile={Path(str(settings.known_hosts_file)).expanduser()}",
             f"{settings.user}@{settings.host}"]
        )  # fmt: skip

    # --- the supervising thread -----------------------------------------------------------------------

    def _supervise(self) -> None:
        n_losses, was_open_before, port_tries = 0, False, 0
        try:
            while not self._closing.is_set():
                started = time.monotonic()
                try:
                    error, was_open = self._run_ssh()
                except CatalystError as refused:
                    error, was_open = refused, False
                except OSError as failure:
                    problem = f"{self}: ssh could not be started ({failure.strerror}). Try again."
                    error, was_open = SourceUnavailable(problem), False
                with self._changed:
                    self._open_port, self._process, self._error = None, None, error
                if self._closing.is_set():
                    return
                port_tries += 1
                if self._lost_the_race_for_a_port(error) and port_tries < _TRIES_FOR_A_FREE_PORT:
                    continue
                was_open_before |= was_open
                if not was_open_before or isinstance(error, ConfigurationError):
                    return
                n_losses = 0 if was_open and time.monotonic() - started > _STEADY_S else n_losses
                pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**n_losses) * random.uniform(0.5, 1.0)  # noqa: S311
                n_losses, port_tries = n_losses + 1, 0
                log.warning("%s Opening it again in %.1f s.", error, pause)
                self._closing.wait(pause)
        finally:
            with self._changed:
                self._supervisor = None
                self._changed.notify_all()

    def _run_ssh(self) -> tuple[CatalystError, bool]:
        """Run one ``ssh`` to its end; return why it ended, and whether the tunnel had been open."""
        self._tried_port = self._settings.local_port or _free_port()
        sign = f"open-{secrets.token_hex(8)}"
        with self._changed:
            if self._closing.is_set():
                return self._late(), False
            # A session of its own: Ctrl-C must not take the database away from what still has to be recorded.
            self._process = process = subprocess.Popen(  # noqa: S603 - words of ours, settings checked
                [sys.executable, "-I", "-S", "-c", _BECOME_SSH, str(os.getpid()), *self._command(sign)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", env=_environment(), cwd="/", start_new_session=True,
            )  # fmt: skip
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        watchdog = threading.Timer(self._settings.connect_timeout_s + 1, give_up)
        watchdog.daemon = True
        watchdog.start()
        said: deque[str] = deque(maxlen=40)
        was_open = False
        assert process.stdout is not None
        with process.stdout as output:
            for line in iter(lambda: output.readline(4096), ""):
                if sign in line and not was_open:
                    watchdog.cancel()
                    was_open = True
                    said.clear()
                    self._has_opened()
                elif line.strip():
                    said.append(line.strip())
                    self._note_forward_problem(line)
        process.wait()
        watchdog.cancel()
        if late.is_set() and not was_open:
            return self._late(), False
        return explain_login(said, self._ends(), was_open=was_open), was_open

    def _has_opened(self) -> None:
        with self._changed:
            self._open_port, self._error = self._tried_port, None
            self._changed.notify_all()
        log.info("%s is open.", self)

    def _note_forward_problem(self, line: str) -> None:
        problem = explain_forward(line, self._ends())
        if problem is not None:
            self._forward_problem = time.monotonic(), problem

    def _lost_the_race_for_a_port(self, error: CatalystError) -> bool:
        return self._settings.local_port is None and f"port {self._tried_port} of this machine is taken" in str(error)

    # --- what is run, and words -----------------------------------------------------------------------

    def _command(self, sign: str) -> list[str]:
        settings = self._settings
        program = shutil.which("ssh")
        if program is None:
            raise ConfigurationError(
                "SSH tunnel: the program ssh is not installed (or not in PATH). Install it (apt-get install "
                "openssh-client), or unset the TUNNEL_ variables if the database is reached without a tunnel."
            )
        key = _readable(settings.key_file, "TUNNEL_KEY_FILE")
        known_hosts = _readable(settings.known_hosts_file, "TUNNEL_KNOWN_HOSTS_FILE")
        options = {
            "BatchMode": "yes",
            "PreferredAuthentications": "publickey",
            "IdentityFile": _config_word(key, "TUNNEL_KEY_FILE"),
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": _config_word(known_hosts, "TUNNEL_KNOWN_HOSTS_FILE"),
            "GlobalKnownHostsFile": "/dev/null",
            "UpdateHostKeys": "no",
            "ControlPath": "none",
            "ForwardAgent": "no",
            "ExitOnForwardFailure": "yes",
            "ConnectTimeout": str(settings.connect_timeout_s),
            "ServerAliveInterval": str(settings.keep_alive_s),
            "ServerAliveCountMax": "3",
            "LogLevel": "INFO",
            # Run by ssh once it is logged in and listens: the only sign that no other program can give by accident.
            "PermitLocalCommand": "yes",
            "LocalCommand": f"echo {sign}",
        }
        # -F none: only the settings count, as for every other service; nothing of ~/.ssh/config.
        return [
            program, "-F", "none", "-N", "-T",
            *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
            "-L", self._forwarding(self._tried_port), "-p", str(settings.port), "-l", str(settings.user),
            "--", str(settings.host),
        ]  # fmt: skip

    def _forwarding(self, local_port: int) -> str:
        return f"{LOOPBACK}:{local_port}:{_bracketed(self.host)}:{self.port}"

    def _ends(self) -> Ends:
        settings = self._settings
        host = str(settings.host)
        return Ends(
            server=f"{settings.user}@{_bracketed(host)}:{settings.port}",
            host=host,
            known_as=host if settings.port == 22 else f"[{host}]:{settings.port}",
            port=settings.port,
            key_file=str(settings.key_file),
            known_hosts_file=str(settings.known_hosts_file),
            local_port=self._tried_port,
            target=f"{_bracketed(self.host)}:{self.port}",
        )

    def _late(self) -> SourceUnavailable:
        return SourceUnavailable(
            f"SSH tunnel {self._ends().server}: not open after {self._settings.connect_timeout_s} s "
            "(TUNNEL_CONNECT_TIMEOUT_S). Check that the server is an SSH server and not overloaded, and try again."
        )


def _refuse_incomplete(settings: TunnelSettings) -> None:
    parts = {
        "TUNNEL_HOST": settings.host,
        "TUNNEL_USER": settings.user,
        "TUNNEL_KEY_FILE": settings.key_file,
        "TUNNEL_KNOWN_HOSTS_FILE": settings.known_hosts_file,
    }
    unset = [name for name, value in parts.items() if not value]
    if unset:
        raise ConfigurationError(
            f"SSH tunnel: {', '.join(unset)} not set, expected all of {', '.join(parts)}. "
            "Set what is missing, or unset the others if the database is reached without a tunnel."
        )
    if re.search(r"PRIVATE KEY|\n", str(settings.key_file)):
        raise ConfigurationError("TUNNEL_KEY_FILE holds a key, expected the path of the file that holds it. Mend it.")
    _checked(str(settings.host), "TUNNEL_HOST")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", str(settings.user)):
        raise ConfigurationError(
            f"TUNNEL_USER is {settings.user!r}, expected the name of an account, as in 'catalyst'."
        )


def _checked(host: str, variable: str) -> str:
    """A name or address and nothing else: a word that begins with a dash would be an option of ssh."""
    if not re.fullmatch(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*", host):
        raise ConfigurationError(f"{variable} is {host!r}, expected a name or an address, as in 'droplet.example.com'.")
    return host


def _readable(path: Path | None, variable: str) -> Path:
    path = Path(str(path)).expanduser().absolute()
    try:
        with path.open("rb") as file:
            begins = file.read(12)
    except OSError as error:
        raise ConfigurationError(
            f"SSH tunnel: {variable}={path} cannot be read ({error.strerror}). Set {variable} to an existing file "
            "of yours."
        ) from error
    if variable == "TUNNEL_KEY_FILE" and begins.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        raise ConfigurationError(f"TUNNEL_KEY_FILE={path} is the public key. Name the private one (without .pub).")
    return path


def _config_word(path: Path, variable: str) -> str:
    """A path as ssh's configuration reads it: quoted, with the signs it would replace made literal."""
    if re.search(r'["\\$\x00-\x1f]', str(path)):
        raise ConfigurationError(
            f"{variable}={str(path)!r}: ssh cannot be told of a path with quotes, $ or backslashes."
        )
    return '"' + str(path).replace("%", "%%") + '"'


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """Only what ssh needs: passwords in our environment are none of its business."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "SSH_AUTH_SOCK") if name in os.environ}
    return {**kept, "LC_ALL": "C", "SHELL": "/bin/sh"}
