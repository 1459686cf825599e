"""Snapshots of source tables: Parquet by month on this disk, brought up to date by what has changed since.

A table is compared with what we have of it day by day: for every day the server gives the number of rows and a sum over
the traces of its rows (see ``source_tables``), which changes whenever a row is added, altered or removed. Only days
that differ are fetched, and what came must add up to the same count and sum. Between two full comparisons only the
newest days are compared (``OVERLAP_DAYS`` before the newest one we know): late rows come there, and a correction
further back waits for the next full one, a day by default.

One pull of a table is one transaction, so a snapshot is the table as it was at one moment, however long it takes. A
month that is finished is kept at once; after a lost connection or a kill the next pull starts from there. The manifest
comes last, and a snapshot without one does not exist.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from catalyst_ml.errors import ArtifactRefused, ConfigurationError, SourceUnavailable
from catalyst_ml.store.source_manifest import Manifest, folder_name, read_pointer
from catalyst_ml.store.source_partitions import verified_file
from catalyst_ml.store.source_pull import PullResult, TablePull
from catalyst_ml.store.source_tables import SourceTable


class SourceSnapshots:
    """Snapshots of the tables of one source database below ``root``; made on the first pull."""

    def __init__(self, root: Path, database: str) -> None:
        self.database = database
        self.root = root / "source" / folder_name(database)

    def pull(
        self,
        engine: Engine,
        table: SourceTable,
        *,
        now: datetime,
        recheck_after: timedelta = timedelta(days=1),
        timeout_s: int = 1_800,
        progress: Callable[[str, float], None] | None = None,
    ) -> PullResult:
        """Bring the snapshot of a table up to date; safe to repeat, to interrupt, and to run twice at once.

        Parameters
        ----------
        now : datetime
            Aware; kept as the moment of the pull.
        recheck_after : timedelta
            Compare all days if the last full comparison is older than this, else the newest ones.
        progress : callable, optional
            Called with the table's name and the fraction fetched.

        Raises
        ------
        SourceUnavailable
            If the source is lost, or our disk is full; months that were finished stay.
        DataContractError
            If the source's values do not fit their declared types.
        ConfigurationError
            If the role may not read the table.
        """
        if now.tzinfo is None:
            raise ConfigurationError(f"now={now} has no time zone; expected an aware moment.")
        folder = self.folder(table.full_name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "pull.lock", timeout=timeout_s):
                run = TablePull(folder, table, self.database, progress)
                return run.execute(engine, now, recheck_after, timeout_s)
        except Timeout as error:
            raise SourceUnavailable(
                f"{table.full_name}: another pull of it has been running for {timeout_s} s. Wait, then run again."
            ) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise SourceUnavailable(
                f"{folder}: the disk is full. Finished months are kept; free some space and run the same command again."
            ) from error

    def folder(self, table: str) -> Path:
        """Where the files of a table are."""
        return self.root / folder_name(table)

    def manifest(self, table: str, sha256: str | None = None) -> Manifest:
        """The current snapshot of a table, or an earlier one by its hash.

        Raises
        ------
        ArtifactRefused
            If there is none, or its manifest was altered.
        """
        folder = self.folder(table)
        pointer = read_pointer(folder)
        digest = sha256 or (pointer.manifest if pointer else None)
        if digest is None:
            raise ArtifactRefused(f"there is no snapshot of {table} in {self.root}. Pull it: catalyst-ml source pull.")
        return Manifest.model_validate_json(verified_file(folder, f"{digest}.json", digest).read_bytes())

    def files(self, table: str, sha256: str | None = None) -> Iterator[tuple[str, Path]]:
        """Month and verified Parquet file of a snapshot, oldest first, ``undated`` last.

        Raises like :meth:`manifest`.
        """
        manifest = self.manifest(table, sha256)
        for name, month in sorted(manifest.months.items()):
            yield name, verified_file(self.folder(table), month.path, month.sha256)
