"""Following the production channel: where the model comes from, how it is replaced, and what happens when it cannot be.

Redis, the disk and Spaces are asked for the newest signed pointer; the model it names is taken from the first of them
that holds a proved copy. If none does, the last good version goes on; if there never was one, the rules. The snapshot
that answers is replaced by one assignment, so a request sees the old one or the new one, never both.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from catalyst_ml.errors import ArtifactRefused, CatalystError, SourceUnavailable, UnknownVersion
from catalyst_ml.market.rules import DEFAULT_RULE_ARM, RULE_ARMS
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.redis_store import RedisStore
from catalyst_ml.registry.served import FollowedPointer, ServedModel, follow_pointer, load_served
from catalyst_ml.registry.signatures import PublicKeys
from catalyst_ml.serving.companions import ServedCompanions
from catalyst_ml.serving.graph import ServedGraph
from catalyst_ml.serving.snapshot import Place, Snapshot, Step, rules_only

log = logging.getLogger(__name__)

POINTER_PATIENCE_S = 1.0
"""A place that has not answered by then is asked again at the next look, and does not hold up the others."""
BLOB_PATIENCE_S = 45.0
BELL_PATIENCE_S = 5.0

T = TypeVar("T")


class Store(Protocol):
    """What following reads from and, as a cache, writes to; see ``ArtifactStore``."""

    def get_bytes(self, key: str, *, max_bytes: int = ...) -> bytes: ...

    def put_bytes(self, key: str, data: bytes) -> None: ...

    def list_keys(self, prefix: str) -> list[str]: ...

    def uri(self, key: str) -> str: ...


@dataclass(frozen=True)
class StorePlace:
    """A store under the name that answers show; ``is_cache``: what was proved elsewhere is written here too."""

    name: Place
    store: Store
    is_cache: bool = False


class ChannelFollower:
    """Holds the snapshot that answers and keeps it at what the channel says.

    ``snapshot`` may be read from any thread. ``refresh`` is called at start, then by ``start``'s thread; it never
    raises for what stores or artifacts do.
    """

    def __init__(
        self,
        line: ModelLine,
        places: Sequence[StorePlace],
        *,
        public_key: PublicKeys | None,
        channel: str,
        last_good: FolderStore,
        redis: RedisStore | None = None,
        poll_s: float = 10.0,
        on_swap: Callable[[Snapshot], None] | None = None,
    ) -> None:
        self.line, self.channel = line, channel
        self._places = tuple(places)
        self._public_key = public_key
        self._last_good = last_good
        self._redis = redis
        self._poll_s = poll_s
        self._on_swap = on_swap
        self._asked: dict[str, Future[FollowedPointer]] = {}
        self._pool = ThreadPoolExecutor(max_workers=max(2, 2 * len(self._places)), thread_name_prefix="stores")
        self._state_key = f"state/{line.dataset}-{line.timeframe}-{line.label_version}-{channel}.json"
        self._lock = threading.Lock()
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._sequence = self._remembered_sequence()
        self._confirmed_at: float | None = None
        self.bell = "no Redis is configured; the stores are polled" if redis is None else "not connected yet"
        self.snapshot = rules_only("no model was looked for yet", now=_now())

    @property
    def confirmed_s_ago(self) -> float | None:
        """Seconds since a place last said what the channel holds; None if none ever did."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    def start(self) -> None:
        """Look once, then follow in the background until ``stop``."""
        self.refresh()
        self._run("follow", self._follow)
        if self._redis is not None:
            self._run("bell", self._listen)

    def stop(self) -> None:
        """End the threads; the snapshot stays."""
        self._stopped.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=2 * BELL_PATIENCE_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def refresh(self) -> Snapshot:
        """Ask every place what the channel holds; load it if it is not what answers already."""
        with self._lock:
            before = self.snapshot
            try:
                after = self._refreshed(before)
            except Exception as error:  # a server must not lose its follower to a surprise; it is logged and shown
                log.exception("following the channel failed")
                after = self._degraded(before, (Step("server", False, f"{type(error).__name__}"),), "an internal error")
            if after is not before:
                self.snapshot = after
                if (after.version_id, after.sequence, after.place) != (
                    before.version_id, before.sequence, before.place,
                ):  # fmt: skip
                    log.info(
                        "now answering: %s",
                        after.version_id or "the rules",
                        extra={"sequence": after.sequence, "place": after.place, "fallback": after.fallback},
                    )
                    if self._on_swap is not None:
                        self._on_swap(after)
            return after

    def _refreshed(self, before: Snapshot) -> Snapshot:
        if self._public_key is None:
            reason = "SIGNING_PUBLIC_KEY is not set, so no model can be proved"
            return before if before.fallback == reason else rules_only(reason, now=_now())
        found, steps, failures = self._pointers(self._public_key)
        if not found:
            return self._without_pointer(before, steps, failures)
        followed = max((one for _, one in found), key=lambda one: one.pointer.sequence)
        pointer = followed.pointer
        self._confirmed_at = time.monotonic()
        same = (before.sequence, before.version_id) == (pointer.sequence, pointer.version_id)
        if same and before.place != "last good" and before.fallback is None:
            self._mend_caches(followed.documents, found, steps)
            return replace(before, steps=(*steps, *(s for s in before.steps if s.place.startswith("model"))))
        if pointer.version_id is None:
            self._remember(pointer.sequence)
            self._mend_caches(followed.documents, found, steps)
            return self._by_decision(before, pointer.sequence, steps)
        if before.graph is not None and before.version_id == pointer.version_id and before.place != "last good":
            # Only stage, share or sequence moved: the same proved bytes go on.
            self._remember(pointer.sequence)
            self._cache(followed.documents)
            return replace(
                before, sequence=pointer.sequence, stage=pointer.stage, share=pointer.share, fallback=None,
                steps=tuple(steps), loaded_at=_now(),
            )  # fmt: skip
        return self._load(before, followed, steps)

    def _pointers(
        self, key: PublicKeys
    ) -> tuple[list[tuple[StorePlace, FollowedPointer]], list[Step], list[CatalystError]]:
        """Ask all places at once and wait a little; a slow one is neither waited for nor asked twice at a time."""
        for place in self._places:
            if place.name + str(id(place)) not in self._asked:
                self._asked[place.name + str(id(place))] = self._pool.submit(
                    follow_pointer, [place.store], key, self.line, channel=self.channel, last_sequence=self._sequence
                )
        deadline = time.monotonic() + POINTER_PATIENCE_S
        found: list[tuple[StorePlace, FollowedPointer]] = []
        steps: list[Step] = []
        failures: list[CatalystError] = []
        for place in self._places:
            asked = self._asked[place.name + str(id(place))]
            try:
                followed = asked.result(timeout=max(0.0, deadline - time.monotonic()))
            except FutureTimeout:
                steps.append(Step(place.name, False, "no answer yet; asked again at the next look"))
                failures.append(SourceUnavailable(f"{place.name}: no answer yet"))
                continue
            except CatalystError as error:
                steps.append(Step(place.name, False, str(error)))
                failures.append(error)
            else:
                steps.append(Step(place.name, True, f"pointer {followed.pointer.sequence}"))
                if followed.pointer.sequence >= self._sequence:  # it may have been asked before the last swap
                    found.append((place, followed))
            del self._asked[place.name + str(id(place))]
        return found, steps, failures

    def _load(self, before: Snapshot, followed: FollowedPointer, steps: list[Step]) -> Snapshot:
        pointer = followed.pointer
        for place in self._places:
            try:
                served = self._within(BLOB_PATIENCE_S, load_served, [place.store], self._public_key, followed)
                snapshot = _snapshot(served, place.name)
            except CatalystError as error:
                steps.append(Step(f"model from {place.name}", False, str(error)))
                continue
            steps.append(Step(f"model from {place.name}", True, f"version {pointer.version_id} is proved and warm"))
            self._remember(pointer.sequence)
            self._cache(served.documents)
            self._keep_as_last_good(served)
            return replace(snapshot, steps=tuple(steps))
        reason = f"version {pointer.version_id} (sequence {pointer.sequence}) could not be loaded from any place"
        return self._degraded(before, tuple(steps), reason)

    def _degraded(self, before: Snapshot, steps: tuple[Step, ...], reason: str) -> Snapshot:
        """The last good version, in memory or from the disk; else the rules."""
        if before.graph is not None:
            kept = f"{reason}; version {before.version_id} answers"
            return replace(before, place="last good", fallback=kept, steps=steps)
        if self._public_key is not None:
            try:
                served = self._from_last_good(self._public_key)
                snapshot = _snapshot(served, "last good")
            except CatalystError as error:
                steps = (*steps, Step("last good", False, str(error)))
            else:
                steps = (*steps, Step("last good", True, f"version {served.pointer.version_id}"))
                kept = f"{reason}; version {served.pointer.version_id} answers"
                return replace(snapshot, steps=steps, fallback=kept)
        return replace(rules_only(f"{reason}; the rules answer", now=_now(), steps=steps), rules=before.rules,
                       rules_from=before.rules_from, rule_arm_name=before.rule_arm_name)  # fmt: skip

    def _without_pointer(self, before: Snapshot, steps: list[Step], failures: list[CatalystError]) -> Snapshot:
        if failures and all(isinstance(error, UnknownVersion) for error in failures):
            reason = f"nothing was ever promoted on {self.line}"
            if before.graph is None:
                return replace(rules_only(reason, now=before.loaded_at, steps=tuple(steps)))
            return self._degraded(before, tuple(steps), "the pointer is gone from every place")
        if before.graph is not None or before.place != "rules":
            # The bytes in memory were proved; that nobody confirms them now changes the reason, not the answer.
            if before.fallback is not None and before.place == "last good":
                return replace(before, steps=tuple(steps))
            reason = "no place says what the channel holds now"
            kept = f"{reason}; version {before.version_id} answers"
            return replace(before, place="last good", fallback=kept, steps=tuple(steps))
        if before.fallback is None:  # on the rules by decision
            return replace(before, steps=tuple(steps))
        return self._degraded(before, tuple(steps), "no place says what the channel holds")

    def _by_decision(self, before: Snapshot, sequence: int, steps: list[Step]) -> Snapshot:
        """The rules by decision, calibrated by the last version that was seen."""
        base = rules_only(None, now=_now(), steps=tuple(steps), sequence=sequence)
        rules, source, arm = before.rules, before.rules_from, before.rule_arm_name
        if rules is None and self._public_key is not None:
            try:
                served = self._from_last_good(self._public_key)
                rules = ServedGraph(served.onnx or b"").rules
                source, arm = served.pointer.version_id, _rule_arm_of(served)
            except CatalystError as error:
                log.info("no earlier version calibrates the rules: %s", error)
        return replace(base, rules=rules, rules_from=source, rule_arm_name=arm)

    def _from_last_good(self, key: PublicKeys) -> ServedModel:
        followed = follow_pointer([self._last_good], key, self.line, channel=self.channel)
        served = load_served([self._last_good], key, followed)
        if served.is_rules:
            raise UnknownVersion("the last good pointer names no version")
        return served

    def _mend_caches(
        self, documents: Any, found: Sequence[tuple[StorePlace, FollowedPointer]], steps: Sequence[Step]
    ) -> None:
        """Write the newest pointer to a cache that lost it or holds an older one."""
        newest = max(followed.pointer.sequence for _, followed in found)
        holds = {id(place): followed.pointer.sequence for place, followed in found}
        for place in self._places:
            if place.is_cache and holds.get(id(place), -1) < newest and id(place) not in self._unanswered():
                self._put(place, documents)

    def _unanswered(self) -> set[int]:
        return {id(place) for place in self._places if place.name + str(id(place)) in self._asked}

    def _cache(self, documents: Any) -> None:
        for place in self._places:
            if place.is_cache:
                self._put(place, documents)

    def _put(self, place: StorePlace, documents: Any) -> None:
        try:
            # The pointer comes first in the documents and must lie there last.
            for key, data in reversed(list(documents.items())):
                place.store.put_bytes(key, data)
        except CatalystError as error:
            log.warning("%s could not be filled: %s", place.name, error)

    def _keep_as_last_good(self, served: ServedModel) -> None:
        try:
            for key, data in reversed(list(served.documents.items())):
                self._last_good.put_bytes(key, data)
        except CatalystError as error:
            log.warning("the last good version could not be kept: %s", error)

    def _remember(self, sequence: int) -> None:
        """Keep the sequence over restarts, so that an old pointer stays refused."""
        self._sequence = max(self._sequence, sequence)
        try:
            self._last_good.put_bytes(self._state_key, json.dumps({"sequence": self._sequence}).encode())
        except CatalystError as error:
            log.warning("the sequence could not be kept: %s", error)

    def _remembered_sequence(self) -> int:
        try:
            return int(json.loads(self._last_good.get_bytes(self._state_key, max_bytes=1_024))["sequence"])
        except (CatalystError, ValueError, KeyError, TypeError) as error:
            log.debug("no sequence is remembered: %s", error)
            return 0

    def _within(self, seconds: float, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return self._pool.submit(call, *arguments).result(timeout=seconds)
        except FutureTimeout:
            raise SourceUnavailable(f"no answer within {seconds:g} s") from None

    def _follow(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._poll_s)
            self._wake.clear()
            if not self._stopped.is_set():
                self.refresh()

    def _listen(self) -> None:
        """Wake the follower at every ring, and after every reconnect for rings that were missed."""
        pause = 0.5
        while not self._stopped.is_set() and self._redis is not None:
            try:
                for rang in self._redis.heard(timeout_s=1.0):
                    self.bell, pause = "connected", 0.5
                    if rang:
                        self._wake.set()
                    if self._stopped.is_set():
                        return
            except CatalystError as error:
                self.bell = str(error)
            except Exception as error:  # a client library's surprise must not end the bell
                log.exception("listening to Redis failed")
                self.bell = f"{type(error).__name__}"
            self._stopped.wait(pause)
            pause = min(2 * pause, BELL_PATIENCE_S)

    def _run(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)


def _snapshot(served: ServedModel, place: Place) -> Snapshot:
    """Open both graphs of a version; it answers whole or not at all."""
    graph = ServedGraph(served.onnx or b"")
    companions = ServedCompanions(served.companions) if served.companions is not None else None
    manifest = served.manifest
    if manifest is None:
        raise ArtifactRefused("a pointer without a version has no model to load.")
    return Snapshot(
        version_id=manifest.version_id,
        sequence=served.pointer.sequence,
        stage=served.pointer.stage,
        share=served.pointer.share,
        place=place,
        fallback=None,
        graph=graph,
        rules=graph.rules,
        rules_from=manifest.version_id,
        rule_arm_name=_rule_arm_of(served),
        as_of=manifest.as_of,
        loaded_at=_now(),
        metrics=dict(manifest.metrics),
        companions=companions,
    )


def _rule_arm_of(served: ServedModel) -> str:
    named = (served.manifest.procedure if served.manifest else {}).get("rule_arm")
    return str(named) if named in RULE_ARMS else DEFAULT_RULE_ARM


def _now() -> datetime:
    return datetime.now(UTC)
