"""Example contents: a promotion, a stay on rules, too little evidence, and the least a run can say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.report.content import ReportContent

ARMS = (
    ("challenger", "Challenger", "arm"),
    ("rules", "Rules, calibrated", "arm"),
    ("pattern_base_rate", "Base rate per pattern", "reference"),
    ("base_rate", "Base rate", "reference"),
    ("xgboost", "XGBoost", "member"),
    ("forest", "Random forest", "member"),
    ("net", "Neural net", "member"),
    ("logistic", "Logistic regression", "member"),
)
VERDICTS = {
    "promote": (
        "The challenger takes over from the rules",
        "From the open the model answers signals at stage 10 %; the rules keep the rest and take over "
        "at once if anything is wrong.",
    ),
    "stay": (
        "Stay on rules: the challenger has not shown that it is better",
        "Nothing changes. The rules keep answering every signal; the challenger goes on predicting in "
        "the shadow and is judged again next Sunday.",
    ),
    "not_enough_evidence": (
        "Not enough evidence yet: 38 of 65 sessions are settled",
        "Nothing changes. 27 more sessions with settled outcomes are needed before anything is judged.",
    ),
    "failed": ("The run stopped: the training set broke two critical rules", "Nothing changes."),
}


def full_content(verdict: str = "stay", *, seed: int = 7) -> ReportContent:
    """Every section filled with plausible numbers; ``promote`` gets an edge, the others none."""
    rng = np.random.default_rng(seed)
    edge = {"promote": -0.011, "stay": -0.0012, "not_enough_evidence": -0.0031}.get(verdict, 0.0)
    n_sessions = 38 if verdict == "not_enough_evidence" else 118
    sessions = [d.date() for d in pd.bdate_range(end="2026-11-20", periods=n_sessions)]
    headline, tomorrow = VERDICTS[verdict]
    return ReportContent.model_validate(
        {
            "run": _run(verdict),
            "verdict": {"verdict": verdict, "headline": headline, "tomorrow": tomorrow},
            "record": {
                "rows": 91 * n_sessions,
                "n_eff": 3.4 * n_sessions,
                "sessions": n_sessions,
                "first_session": sessions[0],
                "last_session": sessions[-1],
                "base_rate": _estimate(0.493, 0.021),
                "pattern_base_rate_low": 0.458,
                "pattern_base_rate_high": 0.541,
                "detectable_difference": 0.0064,
            },
            "gate": _gate(verdict, edge, n_sessions),
            "arms": [_arm(*arm, i, edge, n_sessions) for i, arm in enumerate(ARMS)],
            "calibration": [_calibration("challenger", 0.9, rng), _calibration("rules", 0.5, rng)],
            "risk_coverage": [_risk("challenger", 0.075 - 3 * edge), _risk("rules", 0.02)],
            "importances": _importances(rng),
            "importance_method": "Out-of-fold rows, whole sessions shuffled together, 20 repeats.",
            "equity": _equity(sessions, edge, rng),
            "selective": _selective(calls=verdict == "promote"),
            "evidence": [_evidence(arm, sessions, edge, rng) for arm, _, _ in ARMS[1:4]],
            "base_rate_by_month": [
                {
                    "month": f"{m}",
                    "rate": _estimate(float(rng.normal(0.493, 0.04)), 0.05),
                    "n": int(rng.integers(1500, 2100)),
                }
                for m in pd.period_range(end="2026-11", periods=12, freq="M")
            ],
            "leak_contrast": _leaks(),
            "slices": _slices(edge, rng),
            "catalysts": {
                "with_news": 812,
                "n_eff": 640.0,
                "sessions": 240,
                "uncovered": 5_120,
                "rate_with": 0.497,
                "rate_without": 0.492,
                "difference": _estimate(0.005, 0.012),
                "ratio": _estimate(1.01, 0.024),
                "words": "no difference can be told from chance; twice as often is ruled out",
                "predictor_rows": 402,
                "vs_base": _estimate(0.0011, 0.004),
                "vs_pattern": _estimate(0.0009, 0.004),
            },
            "slice_test": {"n_tested": 9, "alpha": 0.05},
            "drivers": _drivers(),
            "drivers_method": "Shapley values on 400 events of 80 sessions.",
            "newest_events": _newest_events(),
            "leaderboard": _leaderboard(edge),
            "mistakes": [_mistake(k, rng) for k in range(10)],
            "ensemble": _ensemble(),
            "quality": _quality(),
            "timings": _timings(),
            "analysis": {
                "status": "written",
                "model": "claude-sonnet-5",
                "paragraphs": [
                    "The week's evidence is thin. The challenger's log-loss lies 0.0012 below the base "
                    "rate, but the interval reaches from 0.0069 better to 0.0045 worse: the sign is open.",
                    "What skill there is sits in quiet months and in volume surges; gaps down cost more than "
                    "they brought. Before adding models I would look at the 4 symbols whose news arrived late.",
                ],
            },
            "settings": {
                "timeframe": "1d",
                "horizon_sessions": 5,
                "barrier_atr": 1.0,
                "cost_bps_per_side": 5,
                "seed": 20261120,
                "train_window_days": 730,
                "min_sessions": 65,
                "coverage": 0.2,
                "spaces": None,
                "gpu": False,
            },
        }
    )


def minimal_content() -> ReportContent:
    """A run that stopped early: no model, no champion's numbers, no Claude, no measured duration."""
    return ReportContent.model_validate(
        {
            "run": {
                "run_id": "r-0001",
                "dataset": "demo",
                "timeframe": "1d",
                "as_of": datetime(2026, 11, 20, 21, tzinfo=UTC),
                "started": datetime(2026, 11, 22, 7, tzinfo=UTC),
            },
            "verdict": {
                "verdict": "not_enough_evidence",
                "headline": "No settled outcome yet",
                "tomorrow": "Nothing changes tomorrow; the rules answer.",
            },
            "record": {"rows": 0, "sessions": 0},
        }
    )


@pytest.fixture
def make_content() -> Callable[..., ReportContent]:
    return full_content


@pytest.fixture
def make_minimal() -> Callable[[], ReportContent]:
    return minimal_content


@pytest.fixture(scope="module")
def shared_content() -> ReportContent:
    return full_content("stay")


@pytest.fixture(scope="module")
def content_by_name() -> Callable[[str], ReportContent]:
    return lambda name: minimal_content() if name == "minimal" else full_content(name)


def _estimate(value: float, half: float, **more: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, **more}


def _run(verdict: str) -> dict[str, object]:
    return {
        "run_id": "2026-W47-real-daily-1d-7f3a91",
        "dataset": "real-daily",
        "timeframe": "1d",
        "as_of": datetime(2026, 11, 20, 21, tzinfo=UTC),
        "started": datetime(2026, 11, 22, 7, 0, 4, tzinfo=UTC),
        "duration_s": 134.0,
        "device": "CPU, 2 cores (no CUDA device found)",
        "code_commit": "4be02d7c19a5",
        "label_version": "symmetric-1atr-5s-v1",
        "champion": "rules" if verdict != "stay" else "rules (calibrated)",
        "challenger": "v2026.47.0",
        "versions": {
            "python": "3.11.7",
            "numpy": "2.4.6",
            "scikit-learn": "1.9.1",
            "xgboost": "3.2.0",
            "torch": "2.13.0",
        },
    }


def _gate(verdict: str, edge: float, n_sessions: int) -> list[dict[str, object]]:
    enough, better = n_sessions >= 65, verdict == "promote"
    judged = better if enough else None
    return [
        {
            "name": "sessions",
            "title": "Enough settled sessions",
            "value": n_sessions,
            "bound": ">= 65",
            "passed": enough,
            "reason": f"{n_sessions} sessions have settled outcomes; the test needs 65.",
        },
        {
            "name": "beats_champion",
            "title": "Forecasts better than the champion",
            "value": 0.004 if better else 0.31,
            "bound": "p <= 0.05",
            "passed": judged,
            "reason": f"Mean log-loss difference {edge - 0.0006:+.4f} per row; chance alone gives that "
            f"in {'0.4' if better else '31'} of 100 cases."
            if enough
            else "Not judged: too few sessions.",
        },
        {
            "name": "beats_base_rate",
            "title": "Forecasts better than the base rate",
            "value": 0.011 if better else 0.36,
            "bound": "p <= 0.05",
            "passed": judged,
            "reason": "" if enough else "Not judged: too few sessions.",
        },
        {
            "name": "beats_pattern_base_rate",
            "title": "Forecasts better than each pattern's own base rate",
            "value": 0.021 if better else 0.44,
            "bound": "p <= 0.05",
            "passed": judged,
            "reason": "",
        },
        {
            "name": "profit",
            "title": "Profit at equal coverage not worse",
            "value": 4.1 if better else -0.7,
            "bound": 0.0,
            "passed": judged,
            "reason": "Mean net return per trade against the champion's, 20 % of signals, basis points.",
        },
        {
            "name": "calibration",
            "title": "Says what it means (calibration)",
            "value": 0.018,
            "bound": "<= 0.03",
            "passed": True,
            "reason": "Forecast and observed shares differ by 1.8 points on average.",
        },
        {
            "name": "parity",
            "title": "The served file agrees with the trainer",
            "value": 1.2e-7,
            "bound": 1e-4,
            "passed": True,
            "reason": "Largest difference of a probability over 4,096 rows.",
        },
        {
            "name": "plus_one_point",
            "title": "The plan's +1 point of accuracy",
            "value": 0.6,
            "bound": 1.0,
            "passed": False,
            "decisive": False,
            "reason": "Printed for comparison with the plan; it decides nothing.",
        },
    ]


def _arm(name: str, title: str, kind: str, i: int, edge: float, n_sessions: int) -> dict[str, object]:
    difference = {"challenger": edge, "rules": 0.0006, "pattern_base_rate": -0.0007, "base_rate": 0.0}.get(
        name, 0.003 + 0.004 * (i - 4)
    )
    reference = kind == "reference"
    return {
        "name": name,
        "title": title,
        "kind": kind,
        "log_loss": _estimate(0.6931 + difference, 0.004),
        "log_loss_vs_base": {"value": 0.0} if name == "base_rate" else _estimate(difference, 0.0057 + 0.0006 * i),
        "auc": {"value": 0.5} if name == "base_rate" else _estimate(0.517 - 2 * difference, 0.02),
        "auc_within": {"value": None} if reference else _estimate(0.506 - difference, 0.013),
        "accuracy": _estimate(0.516 - 2 * difference, 0.025),
        "base_rate": 0.493,
        "ece": _estimate(0.018 + 0.002 * i, 0.008),
        "brier": _estimate(0.2498 + 0.4 * difference, 0.002),
        "n": 91 * n_sessions,
        "n_eff": 3.4 * n_sessions,
        "sessions": n_sessions,
    }


def _calibration(arm: str, slope: float, rng: np.random.Generator) -> dict[str, object]:
    forecast = np.linspace(0.42, 0.58, 8)
    observed = 0.493 + slope * (forecast - 0.493) + rng.normal(0, 0.008, 8)
    points = [
        {
            "predicted": float(p),
            "observed": float(o),
            "low": float(o - 0.035),
            "high": float(o + 0.035),
            "count": 1_342 + (k % 2),
        }
        for k, (p, o) in enumerate(zip(forecast, observed, strict=True))
    ]
    return {"arm": arm, "points": points}


def _risk(arm: str, gain: float) -> dict[str, object]:
    coverage = np.linspace(0.05, 1.0, 20)
    error = 0.484 - gain * (1 - coverage) ** 2
    points = [
        {
            "coverage": float(c),
            "error": float(e),
            "low": float(e - 0.02 / c**0.5),
            "high": float(e + 0.02 / c**0.5),
            "count": int(10_738 * c),
        }
        for c, e in zip(coverage, error, strict=True)
    ]
    return {"arm": arm, "points": points}


def _importances(rng: np.random.Generator) -> list[dict[str, object]]:
    names = [
        "volume_surge",
        "rsi_14",
        "market_breadth",
        "bb_position",
        "adx_strength",
        "rule_score",
        "vix_level",
        "macd_histogram",
        "spy_correlation",
        "sector_momentum",
        "premarket_gap",
        "news_present",
        "body_to_range_ratio",
        "upper_shadow_ratio",
    ]
    sizes = np.sort(rng.exponential(0.0012, len(names)))[::-1] - 0.0002
    return [
        {"feature": n, "group": "technical", "importance": _estimate(float(s), 0.0006)}
        for n, s in zip(names, sizes, strict=True)
    ]


def _equity(sessions: list[date], edge: float, rng: np.random.Generator) -> dict[str, object]:
    curves = []
    for arm, drift in (("challenger", -0.09 * edge), ("rules", 0.0001), ("base_rate", -0.0003)):
        daily = rng.normal(drift, 0.004, len(sessions))
        sharpe = float(daily.mean() / daily.std() * 252**0.5)
        curves.append(
            {
                "arm": arm,
                "sessions": sessions,
                "cumulative": np.cumsum(daily).tolist(),
                "sharpe": _estimate(sharpe, 2.3),
                "probability": 0.81,
                "deflated": 0.37 if arm == "challenger" else None,
                "trades": 18 * len(sessions),
                "mean_net_bps": _estimate(1e4 * float(daily.mean()) / 4, 6.0),
            }
        )
    return {"coverage": 0.2, "cost_bps_per_side": 5.0, "curves": curves, "trials": _trials()}


def _trials() -> dict[str, object]:
    return {
        "trials": 7,
        "effective": 4,
        "searched": 40,
        "best_of_noise": 1.24,
        "probability": 0.81,
        "deflated": 0.37,
        "overfitting": 0.42,
        "overfitting_trials": 3,
        "words": "7 attempts on record, worth 4 independent: the best of them would show +1.24 a year without skill; "
        "the chance of a true Sharpe above that is 37 %",
    }


def _selective(*, calls: bool) -> dict[str, object]:
    weeks = [
        {
            "week": f"record-{k}",
            "tau": 0.61 if calls and k % 3 else None,
            "events": 455,
            "calls": 60 if calls and k % 3 else 0,
            "accuracy": _estimate(0.68 + 0.01 * k, 0.14) if calls and k % 3 else {},
            "base_rate": 0.53 if calls and k % 3 else None,
        }
        for k in range(10)
    ]
    kept = (
        "calls with confidence 0.612 or more keep 70 % accuracy (right in 74.1 %, which proves 70.3 %) "
        "on 12 % of events"
    )
    none = (
        "no threshold keeps 70 % accuracy: the model abstains (the best one was right in 56.2 %, which proves 49.8 %)"
    )
    return {
        "target": 0.7,
        "base_rate": 0.493,
        "now": {
            "tau": 0.612 if calls else None,
            "coverage": 0.12,
            "accuracy": 0.741 if calls else 0.562,
            "promised": 0.703 if calls else 0.498,
            "n": 1_288,
            "n_eff": 340.0,
            "words": kept if calls else none,
        },
        "weeks": weeks,
        "too_early": 14,
        "abstained": 4 if calls else 10,
        "calls": 360 if calls else 0,
        "coverage": 0.08 if calls else 0.0,
        "accuracy": _estimate(0.724, 0.05) if calls else {},
        "followed_base_rate": 0.53 if calls else None,
        "outcome": "undecided" if calls else "abstained",
        "at_coverage": [
            {
                "coverage": c,
                "n": int(10_738 * c),
                "accuracy": _estimate(0.56 - 0.05 * c, 0.04),
                "base_rate": 0.52,
                "reaches_target": "no",
            }
            for c in (0.05, 0.1, 0.2, 0.5, 1.0)
        ],
        "area": _estimate(0.462, 0.02),
        "error_of_all": 0.49,
        "false_positives": {
            "rate": 0.47,
            "rules_rate": 0.51,
            "base_rate": 0.507,
            "coverage": 0.19,
            "rules_coverage": 0.21,
            "ratio": _estimate(0.92, 0.11),
            "sessions": 113,
        },
    }


def _evidence(against: str, sessions: list[date], edge: float, rng: np.random.Generator) -> dict[str, object]:
    daily = rng.normal(-91 * edge, 2.1, len(sessions))
    return {"against": against, "sessions": sessions, "cumulative": np.cumsum(daily).tolist()}


def _leaks() -> list[dict[str, object]]:
    rows = (
        (
            "in_sample",
            "The test week inside training",
            False,
            1.0,
            1.0,
            0.05,
            "What the plan's first recipe reports.",
        ),
        (
            "shuffled",
            "Rows shuffled, then split",
            False,
            0.62,
            0.67,
            0.651,
            "Neighbouring days leak into training.",
        ),
        ("purged", "Forward in time, purged", True, 0.509, 0.503, 0.6938, "What can be earned."),
    )
    return [
        {
            "name": n,
            "title": t,
            "honest": h,
            "accuracy": {"value": a} if a == 1.0 else _estimate(a, 0.02),
            "auc": {"value": u} if u == 1.0 else _estimate(u, 0.02),
            "log_loss": {"value": ll},
            "n": 6_214,
            "note": note,
        }
        for n, t, h, a, u, ll, note in rows
    ]


def _slices(edge: float, rng: np.random.Generator) -> list[dict[str, object]]:
    values = {
        "pattern": ["volume_surge", "engulfing", "doji", "hammer", "gap_up", "gap_down"],
        "direction": ["long", "short"],
        "catalyst": ["with news", "without news"],
    }
    return [
        {
            "group": group,
            "value": value,
            "n": int(n := rng.integers(600, 6000)),
            "n_eff": float(n / 27),
            "base_rate": _estimate(float(rng.normal(0.493, 0.02)), 0.03),
            "log_loss_vs_base": _estimate(float(rng.normal(edge, 0.003)), 0.009),
            "accuracy": _estimate(float(rng.normal(0.515, 0.01)), 0.035),
            "auc_within": _estimate(float(rng.normal(0.505, 0.01)), 0.03),
        }
        for group, names in values.items()
        for value in names
    ]


def _drivers() -> list[dict[str, object]]:
    sizes = {"Volume surge relative to the day’s stocks": 0.13, "RSI relative to the day’s stocks": 0.04, "VIX": 0.0}
    return [
        {
            "words": words,
            "size": _estimate(size, 0.01),
            "when_low": -size if size else None,
            "when_high": 1.2 * size if size else None,
            "by_member": {"XGBoost": size, "Random forest": 0.9 * size},
        }
        for words, size in sizes.items()
    ]


def _newest_events() -> list[dict[str, object]]:
    drivers = [
        {"words": "RSI relative to the day’s stocks", "contribution": 0.031, "error": 0.004},
        {"words": "Candlestick patterns", "contribution": -0.02, "error": 0.003},
    ]
    return [{"title": "AAPL long, 20 Nov 2026", "p": 0.581, "day": 0.497, "drivers": drivers, "rest": 0.327}]


def _leaderboard(edge: float) -> dict[str, object]:
    rows = [
        {
            "title": title,
            "log_loss": _estimate(0.6931 + edge, 0.004),
            "log_loss_vs_base": _estimate(edge, 0.005),
            "auc": _estimate(0.52, 0.02),
            "auc_within": _estimate(0.51, 0.02),
            "weight": weight,
            "dropped": dropped,
            "fit_seconds": 1.3,
            "predict_ms": 0.4,
            "tree_nodes": 2_000 if title == "XGBoost" else 0,
            "onnx_bytes": 63_539,
        }
        for title, weight, dropped in (
            ("Ensemble, calibrated", None, ""),
            ("XGBoost", 0.27, ""),
            ("Logistic regression", 0.15, ""),
            ("Base rate", 0.58, ""),
            ("Neural net", 0.0, "weight 0.004, below 0.01 in every fold"),
        )
    ]
    correlation = [[1.0, 0.91, 0.84], [0.91, 1.0, 0.88], [0.84, 0.88, 1.0]]
    return {
        "rows": rows,
        "correlated": ["XGBoost", "Logistic regression", "Neural net"],
        "correlation": correlation,
        "rows_judged": 10_738,
        "sessions": 118,
    }


def _mistake(k: int, rng: np.random.Generator) -> dict[str, object]:
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.02, 33)))
    open_ = np.r_[100.0, close[:-1]]
    days = pd.bdate_range("2026-09-01", periods=33, tz="UTC") + pd.Timedelta(hours=20)
    bars = [
        {"ts": day, "open": o, "high": max(o, c) * 1.01, "low": min(o, c) * 0.99, "close": c}
        for day, o, c in zip(days, open_, close, strict=True)
    ]
    has_barriers = k % 5 != 4
    return {
        "symbol": f"SYM{k}",
        "ts": days[24],
        "direction": "long" if k % 2 else "short",
        "p": 0.69 - 0.01 * k,
        "base_rate": 0.49,
        "won": k == 3,
        "net_return": 0.011 if k == 3 else -0.03,
        "outcome": "target" if k == 3 else "stop",
        "patterns": ["volume_surge", "gap_up"] if k % 2 else [],
        "headlines": ["Company beats estimates"] if k == 1 else [],
        "entry": float(open_[25]),
        "exit": float(close[27]),
        "stop": float(open_[25]) * 0.97 if has_barriers else None,
        "target": float(open_[25]) * 1.03 if has_barriers else None,
        "bars": bars,
        "decided": 24,
        "entered": 25,
        "left": 27,
    }


def _ensemble() -> dict[str, object]:
    return {
        "weights": [
            {"member": "Base rate", "weight": _estimate(0.58, 0.2)},
            {"member": "XGBoost", "weight": _estimate(0.27, 0.15)},
            {"member": "Logistic regression", "weight": {"value": 0.15}},
        ],
        "dropped": [{"member": "Neural net", "reason": "weight 0.004, below 0.01 in every fold"}],
        "calibration": "beta calibration, fitted on earlier folds",
    }


def _quality() -> dict[str, object]:
    return {
        "rules": [
            {
                "name": "high_not_below_low",
                "severity": "critical",
                "passed": True,
                "observed": "0 of 712,930",
                "expected": "0",
            },
            {
                "name": "label_ends_after_the_decision",
                "severity": "critical",
                "passed": True,
                "observed": "0",
                "expected": "0",
            },
            {
                "name": "vix_level_is_present",
                "severity": "warning",
                "passed": False,
                "observed": "3.1 % missing",
                "expected": "at most 1 %",
                "examples": ["2024-12-24 AAPL", "2024-12-24 MSFT"],
            },
        ],
        "skipped_symbols": [{"symbol": "ARM", "reason": "312 bars, 500 are needed"}],
        "refused_rows": [
            {
                "rule": "bar_not_in_the_future",
                "count": 2,
                "reason": "stamped after as_of",
                "examples": ["TSLA 2026-11-24"],
            }
        ],
        "row_counts": [
            {"step": "bars read", "rows": 712_930},
            {"step": "events detected", "rows": 76_214},
            {"step": "events with settled labels", "rows": 75_102, "note": "1,112 still pending"},
            {"step": "training set", "rows": 75_102},
        ],
    }


def _timings() -> list[dict[str, object]]:
    steps = (
        ("extract bars", 6.2, True),
        ("detect events and labels", 4.1, True),
        ("features", 3.3, False),
        ("validate", 5.0, False),
        ("walk-forward", 78.4, False),
        ("ensemble and calibration", 2.1, False),
        ("gate", 1.4, False),
        ("final fit and export", 24.0, False),
        ("report", 1.6, False),
    )
    return [{"step": s, "seconds": t, "cached": c} for s, t, c in steps]
