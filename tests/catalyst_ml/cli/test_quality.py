"""``catalyst-ml quality`` on a real database: check, show, release."""

from __future__ import annotations

import re
from functools import partial

import pandas as pd
import pytest
from sqlalchemy import Engine

from catalyst_ml.cli.quality import app
from catalyst_ml.errors import ConfigurationError
from catalyst_ml.store.bar_import import write_bars
from catalyst_ml.store.bars import extract_bars
from tests.catalyst_ml.cli.command_line import run_app
from tests.catalyst_ml.quality.dirty_bars import CLOSES, quiet_bars, with_price_scale

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("environment")]

run = partial(run_app, app)

NOW = pd.Timestamp("2026-01-05", tz="UTC")


def store(engine: Engine, *broken: str) -> None:
    bars = quiet_bars(200)
    for symbol in broken:
        bars = with_price_scale(bars, symbol, 60, 2.0)
    write_bars(engine, bars, dataset="real", timeframe="1d", source="vendor", name="file", now=NOW)


def first_id() -> str:
    return re.search(r"^ *(\d+) ", run("show").stdout, re.MULTILINE)[1]


def test_a_break_is_found_shown_and_released_with_its_factor(database: Engine) -> None:
    store(database, "BBB")
    checked = run("check", "--dataset", "real")
    assert checked.exit_code == 0
    assert "price_scale_holds_overnight" in checked.stdout
    assert "Set aside: 1 (1 new" in checked.stdout
    assert "a factor of 2 fits" in run("show", "--dataset", "real").stdout

    released = run("release", first_id(), "--reason", "2-for-1 split", "--split-factor", "2", "--by", "trader")

    assert "as a split, factor 2: 2-for-1 split" in released.stdout
    bars = extract_bars(database, dataset="real", timeframe="1d", as_of=NOW)
    assert bars.loc[bars["split_factor"] == 2.0, "ts"].tolist() == [CLOSES[60]]
    assert "Set aside: 0" in run("check", "--dataset", "real").stdout
    assert "Nothing is set aside" in run("show").stdout
    story = run("show", "--id", "1").stdout
    assert "found by quality check" in story
    assert "released by trader, split factor 2: 2-for-1 split" in story


def test_checking_again_sets_nothing_aside_twice_and_a_real_move_stays_released(database: Engine) -> None:
    store(database, "BBB")
    run("check", "--dataset", "real")
    assert "Set aside: 1 (0 new" in run("check", "--dataset", "real").stdout

    run("release", first_id(), "--reason", "it was real")

    assert "Set aside: 0 (0 new, 0 opened again); released earlier: 1" in run("check", "--dataset", "real").stdout
    assert "as real: it was real" in run("show", "--all").stdout


def test_a_flood_of_breaks_is_critical_and_set_aside_all_the_same(database: Engine) -> None:
    store(database, "AAA", "BBB", "CCC")

    checked = run("check", "--dataset", "real")

    assert checked.exit_code == 1
    assert "few_stock_days_see_a_break" in checked.stdout
    assert "Set aside: 3 (3 new" in checked.stdout


def test_a_past_moment_is_checked_with_what_was_known_then(database: Engine) -> None:
    store(database, "BBB")

    before = run("check", "--dataset", "real", "--as-of", f"{CLOSES[59]:%Y-%m-%dT%H:%M:%S}+0000")

    assert "Set aside: 0" in before.stdout
    assert "240 bars of 4 symbols" in before.stdout


def test_an_unknown_id_is_named() -> None:
    assert isinstance(run("release", "77", "--reason", "x").exception, ConfigurationError)
