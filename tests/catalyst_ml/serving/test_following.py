"""Where the model comes from: the order of places, what is refused, what answers when nothing can be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalyst_ml.errors import SourceUnavailable
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.lines import version_key
from catalyst_ml.registry.signatures import Signer, create_key
from catalyst_ml.serving.following import ChannelFollower, StorePlace
from tests.catalyst_ml.serving.small_versions import LINE, Promoter, tiny_onnx


class FlakyStore(FolderStore):
    """A store that can be switched off."""

    is_down = False

    def get_bytes(self, key: str, **options: Any) -> bytes:
        if self.is_down:
            raise SourceUnavailable("switched off")
        return super().get_bytes(key, **options)

    def list_keys(self, prefix: str) -> list[str]:
        if self.is_down:
            raise SourceUnavailable("switched off")
        return super().list_keys(prefix)


class Setting:
    """A server's folders: ``far`` stands for Spaces, ``cache`` for its own disk."""

    def __init__(self, root: Path, signer: Signer) -> None:
        self.far, self.cache = FlakyStore(root / "far"), FlakyStore(root / "cache")
        self.last_good = FolderStore(root / "last_good")
        self.signer = signer

    def follower(self, *, key: Signer | None = None) -> ChannelFollower:
        places = [StorePlace("disk", self.cache, is_cache=True), StorePlace("spaces", self.far)]
        public = (key or self.signer).public_keys
        return ChannelFollower(LINE, places, public_key=public, channel="production", last_good=self.last_good)


@pytest.fixture
def setting(tmp_path: Path, signer: Signer) -> Setting:
    return Setting(tmp_path, signer)


def test_the_promoted_version_answers_and_fills_the_cache(setting: Setting, promoter: Promoter) -> None:
    manifest = promoter.publish(setting.far, tiny_onnx(0.7))
    promoter.promote(setting.far, manifest, stage="30")

    snapshot = setting.follower().refresh()

    assert (snapshot.version_id, snapshot.sequence, snapshot.stage, snapshot.share) == (
        manifest.version_id,
        1,
        "30",
        0.3,
    )
    assert (snapshot.place, snapshot.fallback) == ("spaces", None)
    setting.far.is_down = True
    again = setting.follower().refresh()
    assert (again.version_id, again.place, again.fallback) == (manifest.version_id, "disk", None)


def test_nothing_promoted_leaves_the_rules_with_the_reason(setting: Setting) -> None:
    snapshot = setting.follower().refresh()
    assert (snapshot.version_id, snapshot.place) == (None, "rules")
    assert snapshot.fallback == "nothing was ever promoted on demo/1d/atr1-h5-v1"


def test_without_a_pinned_key_no_model_is_believed(setting: Setting, promoter: Promoter) -> None:
    promoter.promote(setting.far, promoter.publish(setting.far, tiny_onnx(0.7)))
    follower = ChannelFollower(
        LINE, [StorePlace("spaces", setting.far)], public_key=None, channel="production", last_good=setting.last_good
    )
    snapshot = follower.refresh()
    assert snapshot.graph is None
    assert snapshot.fallback is not None
    assert "SIGNING_PUBLIC_KEY" in snapshot.fallback


def test_a_pointer_of_another_key_is_refused_and_named(setting: Setting, promoter: Promoter, tmp_path: Path) -> None:
    promoter.promote(setting.far, promoter.publish(setting.far, tiny_onnx(0.7)))
    stranger = create_key(tmp_path / "stranger.pem")
    snapshot = setting.follower(key=stranger).refresh()
    assert snapshot.graph is None
    assert any("not made over these bytes by the pinned key" in step.reason for step in snapshot.steps)


def test_a_version_that_cannot_be_loaded_leaves_the_last_good_one(setting: Setting, promoter: Promoter) -> None:
    first = promoter.publish(setting.far, tiny_onnx(0.7))
    promoter.promote(setting.far, first)
    follower = setting.follower()
    follower.refresh()
    second = promoter.publish(setting.far, tiny_onnx(0.6), seed=8)
    promoter.promote(setting.far, second)
    setting.far.put_bytes(version_key(second.version_id, "model.onnx"), b"altered")

    snapshot = follower.refresh()

    assert (snapshot.version_id, snapshot.place) == (first.version_id, "last good")
    assert snapshot.fallback is not None
    assert second.version_id in snapshot.fallback
    restarted = setting.follower().refresh()
    assert (restarted.version_id, restarted.place) == (first.version_id, "last good")
    setting.far.put_bytes(version_key(second.version_id, "model.onnx"), tiny_onnx(0.6))
    healed = follower.refresh()
    assert (healed.version_id, healed.place, healed.fallback) == (second.version_id, "spaces", None)


def test_a_graph_that_does_not_answer_is_refused(setting: Setting, promoter: Promoter) -> None:
    manifest = promoter.publish(setting.far, b"no graph at all")
    promoter.promote(setting.far, manifest)
    snapshot = setting.follower().refresh()
    assert snapshot.graph is None
    assert snapshot.fallback is not None
    assert snapshot.fallback.endswith("the rules answer")


def test_an_old_pointer_is_refused_also_after_a_restart(setting: Setting, promoter: Promoter) -> None:
    first = promoter.publish(setting.far, tiny_onnx(0.7))
    old = promoter.promote(setting.far, first)
    second = promoter.publish(setting.far, tiny_onnx(0.6), seed=8)
    promoter.promote(setting.far, second)
    setting.follower().refresh()
    for store in (setting.far, setting.cache):
        for key, data in old.items():
            store.put_bytes(key, data)

    snapshot = setting.follower().refresh()

    assert any("sequence 1, already seen was 2" in step.reason for step in snapshot.steps)
    assert (snapshot.version_id, snapshot.place) == (second.version_id, "last good")


def test_when_no_place_answers_the_version_in_memory_goes_on_and_says_so(setting: Setting, promoter: Promoter) -> None:
    manifest = promoter.publish(setting.far, tiny_onnx(0.7))
    promoter.promote(setting.far, manifest)
    follower = setting.follower()
    follower.refresh()
    setting.far.is_down = setting.cache.is_down = True

    lost = follower.refresh()

    assert (lost.version_id, lost.place) == (manifest.version_id, "last good")
    assert lost.fallback is not None
    setting.far.is_down = setting.cache.is_down = False
    assert follower.refresh().fallback is None


def test_a_rollback_to_the_rules_keeps_their_calibration(setting: Setting, promoter: Promoter) -> None:
    manifest = promoter.publish(setting.far, tiny_onnx(0.7))
    promoter.promote(setting.far, manifest)
    follower = setting.follower()
    follower.refresh()
    promoter.promote(setting.far, None)

    snapshot = follower.refresh()

    assert (snapshot.version_id, snapshot.fallback, snapshot.share) == (None, None, 0.0)
    assert snapshot.rules is not None
    assert snapshot.rules_from == manifest.version_id
    restarted = setting.follower().refresh()
    assert restarted.rules_from == manifest.version_id


def test_a_new_stage_moves_the_share_without_loading_the_model_again(setting: Setting, promoter: Promoter) -> None:
    manifest = promoter.publish(setting.far, tiny_onnx(0.7))
    promoter.promote(setting.far, manifest, stage="10")
    follower = setting.follower()
    before = follower.refresh()
    promoter.promote(setting.far, manifest, stage="70")

    after = follower.refresh()

    assert (before.share, after.share, after.sequence) == (0.1, 0.7, 2)
    assert after.graph is before.graph


def test_a_cache_that_lost_its_files_is_filled_again(setting: Setting, promoter: Promoter) -> None:
    manifest = promoter.publish(setting.far, tiny_onnx(0.7))
    promoter.promote(setting.far, manifest)
    follower = setting.follower()
    follower.refresh()
    for path in sorted(setting.cache.root.rglob("*.json")):
        path.unlink()
    follower.refresh()
    assert setting.cache.exists("channels/demo-1d-atr1-h5-v1-production.json")
