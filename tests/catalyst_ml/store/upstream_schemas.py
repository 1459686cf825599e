"""Tables of the trading system in each of its generations, as the upstream reference describes them (section 1)."""

from __future__ import annotations

from sqlalchemy import Connection

TRAINING = """
CREATE SCHEMA IF NOT EXISTS trading;
CREATE TABLE trading.pattern_training_data (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), symbol varchar(10) NOT NULL, timestamp timestamptz NOT NULL,
    pattern_type varchar(50) NOT NULL,
    open_price decimal(10,4) NOT NULL, high_price decimal(10,4) NOT NULL, low_price decimal(10,4) NOT NULL,
    close_price decimal(10,4) NOT NULL, volume bigint NOT NULL,
    body_to_range_ratio decimal(5,4), upper_shadow_ratio decimal(5,4), lower_shadow_ratio decimal(5,4),
    volume_surge decimal(6,2), rsi_14 decimal(5,2), rsi_divergence boolean DEFAULT false, bb_position decimal(5,4),
    bb_width decimal(5,4), macd_value decimal(10,4), macd_signal decimal(10,4), macd_histogram decimal(10,4),
    market_trend varchar(20), vix_level decimal(5,2), spy_correlation decimal(5,4), sector_strength decimal(5,2),
    news_catalyst boolean DEFAULT false, news_sentiment decimal(3,2), news_relevance decimal(3,2),
    earnings_proximity integer, pattern_completed boolean DEFAULT false, pattern_success boolean,
    max_gain decimal(6,4), max_loss decimal(6,4), time_to_max_gain integer, time_to_max_loss integer,
    optimal_hold_time integer, final_outcome_pct decimal(6,4)
);
"""
"""GML, all 36 columns (1.2)."""

SKETCH = """
CREATE TABLE pattern_training_data (
    id serial PRIMARY KEY, symbol varchar(10), timestamp timestamp, pattern_type varchar(50), volume_spike boolean,
    rsi_14 decimal(5,2), pattern_completed boolean, pattern_success boolean, max_gain decimal(6,4)
);
"""
"""Strategy sketch: unprefixed, naive times, no MACD."""

G1 = """
CREATE TABLE pattern_analysis (
    id serial PRIMARY KEY, symbol varchar(10), detection_timestamp timestamptz, timeframe varchar(10) DEFAULT '5min',
    pattern_type varchar(50), pattern_direction varchar(10), confidence decimal(5,2), has_catalyst boolean,
    catalyst_type varchar(50), pattern_completed boolean, actual_move decimal(5,2), success boolean
);
CREATE TABLE news_raw (
    id bigserial PRIMARY KEY, news_id varchar(64) UNIQUE, symbol varchar(10), headline text NOT NULL,
    source varchar(100), published_timestamp timestamptz NOT NULL, collected_timestamp timestamptz DEFAULT now(),
    mentioned_tickers jsonb, source_tier int, is_pre_market boolean
);
CREATE TABLE trading_signals (signal_id text PRIMARY KEY, symbol varchar(10), signal_type varchar(10),
    confidence decimal(5,2), generated_timestamp timestamptz);
CREATE TABLE scan_market_data (id serial PRIMARY KEY, scan_id varchar(50), symbol varchar(10),
    scan_timestamp timestamptz, price decimal(10,2), sector varchar(50), industry varchar(100),
    UNIQUE (scan_id, symbol));
CREATE TABLE configuration (key text PRIMARY KEY, value text);
"""
"""Public, v2.0.0."""

G2 = """
CREATE TABLE pattern_analysis (
    id serial PRIMARY KEY, symbol varchar(10), detection_timestamp timestamptz, timeframe varchar(10),
    pattern_type varchar(50), confidence decimal(5,2) NOT NULL, catalyst_aligned boolean, start_price decimal(10,2),
    current_price decimal(10,2), pattern_data jsonb, created_at timestamptz DEFAULT now()
);
CREATE TABLE news_raw (
    id bigserial PRIMARY KEY, news_id varchar(100) UNIQUE, symbol varchar(10), headline text,
    source varchar(100), published_timestamp timestamptz, mentioned_tickers jsonb
);
"""
"""Public, v2.1.0."""

G3 = """
CREATE TABLE pattern_analysis (
    id serial PRIMARY KEY, symbol varchar(10), detection_timestamp timestamp, timeframe varchar(10),
    pattern_type varchar(50), metadata jsonb
);
CREATE TABLE news_raw (
    news_id varchar(255) PRIMARY KEY, symbol varchar(10), headline text, source varchar(100),
    published_timestamp timestamp, collected_at timestamp DEFAULT now(), mentioned_tickers text[],
    sentiment_score decimal(3,2)
);
CREATE TABLE trading_signals (id serial PRIMARY KEY, symbol varchar(10), signal_type varchar(10),
    action varchar(10), entry_price decimal(10,2), created_at timestamp);
"""
"""What the July-2025 services made for themselves at run time; naive times."""

OCTOBER = """
CREATE TABLE securities (security_id serial PRIMARY KEY, symbol varchar(10) UNIQUE, name text);
CREATE TABLE time_dimension (time_id bigserial PRIMARY KEY, timestamp timestamptz UNIQUE);
CREATE TABLE pattern_analysis (
    id serial PRIMARY KEY, security_id int REFERENCES securities, time_id bigint REFERENCES time_dimension,
    pattern_type varchar(50), pattern_subtype varchar(50), confidence_score decimal(5,4),
    price_at_detection decimal(10,2)
);
"""
"""Normalised, October 2025."""

G100_BARS = """
CREATE TABLE security_data_daily (id serial PRIMARY KEY, symbol varchar(10), timestamp timestamptz,
    open decimal(10,2), high decimal(10,2), low decimal(10,2), close decimal(10,2), volume bigint);
CREATE TABLE security_data_high_freq (id serial PRIMARY KEY, symbol varchar(10), timestamp timestamptz,
    open decimal(10,2), high decimal(10,2), low decimal(10,2), close decimal(10,2), volume bigint, spread numeric);
CREATE TABLE market_data (symbol varchar(10), timestamp timestamptz, timeframe varchar(10), open decimal(10,4),
    high decimal(10,4), low decimal(10,4), close decimal(10,4), volume bigint, scan_id varchar(50));
"""

BARS_ONLY = """
CREATE TABLE "My Prices %" (ticker text, "date" date, "Open" numeric, "High" numeric, "Low" numeric,
    "Close" numeric, "Volume" numeric);
"""
"""Somebody else's bars, with a name that has to be quoted."""


def run(connection: Connection, statements: str) -> None:
    """Execute some statements as they are."""
    connection.exec_driver_sql(statements.replace("%", "%%"))


DAILY_BARS = """
INSERT INTO {table} (symbol, timestamp, open, high, low, close, volume)
SELECT s, d, 100, 102, 99, 101 + extract(day FROM d) / 100, 1000
FROM unnest(ARRAY['AAPL', 'MSFT']) s, generate_series(timestamptz '2025-03-03', '2025-05-30', '1 day') d
WHERE extract(isodow FROM d) < 6;
"""
