"""The trial page: with data and without, escaped, self-contained, readable; in a real browser without complaints."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving.charts import Mark, Series, line_chart
from catalyst_ml.serving.following import StorePlace
from catalyst_ml.serving.page import STYLE
from catalyst_ml.serving.trial_view import TrialSource, TrialView, trial_key
from tests.catalyst_ml.serving.running import RunningServer, make_service
from tests.catalyst_ml.serving.small_versions import LINE, Promoter, tiny_onnx
from tests.fakes.processes import program

SESSIONS = [date(2026, 9, 1) + timedelta(days=i) for i in range(40)]
HOSTILE = "<script>alert(1)</script>&\"'"


def trial_document(**changes: Any) -> bytes:
    document = {
        "updated_at": "2026-11-27T06:00:00Z",
        "stage": "30",
        "verdict": HOSTILE,
        "next_stage_needs": "E of 10 or more; it is 2.1",
        "n_sessions": 40,
        "n_settled": 812,
        "accuracy": 0.561,
        "base_rate": 0.492,
        "evidence": [{"session": f"{s}", "e_better": 1.02**i, "e_worse": 0.98**i} for i, s in enumerate(SESSIONS)],
        "equity": [{"session": f"{s}", "ml": 0.001 * i, "rules": -0.0004 * i} for i, s in enumerate(SESSIONS)],
        "moves": [{"at": "2026-10-01T06:00:00Z", "stage": "10", "reason": HOSTILE}],
    }
    return json.dumps({**document, **changes}).encode()


class Outline(HTMLParser):
    """Collects what a reader's software needs: tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def full(tmp_path: Path, signer: Signer) -> Iterator[RunningServer]:
    store, promoter = FolderStore(tmp_path / "store"), Promoter(signer)
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.72)), stage="30")
    store.put_bytes(trial_key(LINE), trial_document())
    service = make_service(tmp_path, [StorePlace("disk", store)], signer.public_keys, poll_s=60.0)
    with RunningServer(service, trial=TrialSource([store], LINE)) as running:
        for i in range(3):
            running.ask(
                "/v1/signals",
                {"symbol": f"S{i}", "direction": 1, "features": {"rule_score": 65.0, "rule_agreement": 1.0}},
            )
        yield running


@pytest.fixture
def empty(tmp_path: Path, signer: Signer) -> Iterator[RunningServer]:
    with RunningServer(make_service(tmp_path / "empty", [], signer.public_keys)) as running:
        yield running


def test_the_page_shows_version_stage_evidence_equity_signals_and_health(full: RunningServer) -> None:
    reply = full.ask("/")
    page = Outline(reply.body.decode())
    version = full.service.follower.snapshot.version_id
    for words in (
        str(version),
        "30 %",
        "E of 10 or more",
        "56.1%; base rate 49.2%",
        "S2",
        "P(success)",
        "Nothing is wrong",
    ):
        assert words in page.text, words
    assert len(page.all("svg")) == 2
    assert len(page.all("polyline")) == 4


def test_the_page_without_data_says_what_is_missing(empty: RunningServer) -> None:
    page = Outline(empty.ask("/").body.decode())
    for words in ("No evidence to show", "No settled trade yet", "No signal was asked for today", "degraded"):
        assert words in page.text, words
    assert page.all("svg") == []


def test_nothing_from_outside_reaches_the_page_as_markup(full: RunningServer) -> None:
    html = full.ask("/").body.decode()
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2


def test_the_page_loads_nothing_and_its_policy_forbids_it(full: RunningServer) -> None:
    reply = full.ask("/")
    html, page = reply.body.decode(), Outline(reply.body.decode())
    assert not re.findall(r"https?://", html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object", "form", "base"})
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in page.tags)
    assert reply.headers["x-frame-options"] == "DENY"


def test_keyboard_and_screen_reader_find_their_way(full: RunningServer) -> None:
    page = Outline(full.ask("/").body.decode())
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("a")[0]["href"] == "#main"
    assert page.all("main")[0]["id"] == "main"
    assert len(page.all("h1")) == 1
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert len(ids) == sum("id" in attributes for _, attributes in page.tags)
    for section in page.all("section"):
        assert section["aria-labelledby"] in ids
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert set(str(svg["aria-labelledby"]).split()) <= ids
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(head["scope"] == "col" for head in page.all("th"))
    assert "width=device-width" in str(page.all("meta")[1]["content"])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_colour_has_a_contrast_of_four_and_a_half(scheme: int) -> None:
    colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", re.findall(r":root\{([^}]*)\}", STYLE)[scheme]))
    for ink in ("ink", "muted", "a", "b", "good", "bad"):
        for ground in ("paper", "card"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["warn-ink"], colours["warn"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("document", [b"{", b"[]", b'{"updated_at": "never"}', trial_document(accuracy=7)])
def test_a_broken_trial_document_is_shown_as_a_problem(tmp_path: Path, document: bytes) -> None:
    store = FolderStore(tmp_path)
    store.put_bytes(trial_key(LINE), document)
    source = TrialSource([store], LINE)
    assert source.view() is None
    assert source.problem is not None
    assert "no trial document" in source.problem


def test_charts_of_one_session_and_of_thousands() -> None:
    one = line_chart("x", SESSIONS[:1], [Series("a", "a", [0.0])], title="t", description="d", log_scale=True)
    assert one.count("<circle") == 1
    days = [date(2000, 1, 1) + timedelta(days=i) for i in range(5_000)]
    many = line_chart(
        "x", days, [Series("a", "a", [10.0 ** (i / 700 - 3) for i in range(5_000)])], title="t", description="d",
        marks=[Mark(20.0, "E = 20")], log_scale=True,
    )  # fmt: skip
    assert many.count(",") < 500
    numbers = [float(text) for text in re.findall(r'(?:[xy][12]?|c[xy])="(-?[0-9.]+)"', many)]
    assert all(-5 <= number <= 405 for number in numbers)
    assert TrialView.model_validate_json(trial_document()).thresholds == (3.0, 10.0, 20.0)


@pytest.mark.server
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_both_pages_without_a_complaint(
    full: RunningServer, empty: RunningServer, tmp_path: Path, width: int
) -> None:
    chromium = program("chromium", "chromium")
    for server in (full, empty):
        picture = tmp_path / f"{server.port}.png"
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
             f"--window-size={width},1500", f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", f"http://127.0.0.1:{server.port}/"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line or "Refused to" in line]
        assert complaints == []
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 10_000
