"""A real sshd on this machine: keys, configuration and log in one folder, an ordinary process."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from pathlib import Path
from typing import Any, Self

from catalyst_ml.settings import TunnelSettings
from tests.fakes.processes import ServerProcess, free_port, program

PASSPHRASE = "pl4nted-passphrase"


class SshServer:
    """Lets in ``user_key``; ``limited_key`` may forward to port 1 only, ``strange_key`` not at all.

    ``locked_key`` would be let in, but has the passphrase ``PASSPHRASE``.

    Runs while the ``with`` block runs; :meth:`stop` and :meth:`start` in between are an outage.
    """

    def __init__(self, folder: Path) -> None:
        self._program = program("sshd", "openssh-server")
        self.folder = folder
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        for name in ("host_key", "other_host_key", "user_key", "limited_key", "strange_key", "locked_key"):
            phrase = PASSPHRASE if name == "locked_key" else ""
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-f", str(folder / name)], check=True)
        keys = [self._public("user_key"), self._public("locked_key")]
        keys.append(f'permitopen="127.0.0.1:1" {self._public("limited_key")}')
        (folder / "authorized_keys").write_text("\n".join(keys) + "\n")
        self.write_known_hosts("known_hosts", "host_key")
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder / 'host_key'}\n"
            f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd of root confines its children

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [self._program, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        self._process: ServerProcess | None = ServerProcess(command, port=self.port, log_file=self.folder / "sshd.log")

    def stop(self) -> None:
        if self._process is not None:
            self.cut()
            self._process.stop()
            self._process = None

    def cut(self) -> None:
        """Kill the server's end of every connection, as a crash or a reboot does."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Let the server's end of every connection fall silent, as a lost network does; new ones are answered."""
        self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        for pid in _descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def write_known_hosts(self, name: str, key: str) -> Path:
        path = self.folder / name
        path.write_text(f"[127.0.0.1]:{self.port} {self._public(key)}\n")
        return path

    def settings(self, **changes: Any) -> TunnelSettings:
        given = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "key_file": self.folder / "user_key",
            "known_hosts_file": self.folder / "known_hosts",
            "connect_timeout_s": 10,
        }
        return TunnelSettings(**{**given, **changes})

    def environment(self) -> dict[str, str]:
        """The same settings as environment variables."""
        return {f"TUNNEL_{name.upper()}": str(value) for name, value in self.settings().model_dump().items() if value}

    def _public(self, name: str) -> str:
        return " ".join((self.folder / f"{name}.pub").read_text().split()[:2])


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(each for child in children for each in _descendants(child))]
