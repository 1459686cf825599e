"""First tables: imports and bars, instruments, news, runs, versions and channels."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE catalyst_ml.imports (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset         text NOT NULL,
    timeframe       text NOT NULL,
    source          text NOT NULL,
    file_name       text NOT NULL,
    sha256          text NOT NULL,
    stamp           text NOT NULL CHECK (stamp IN ('start', 'end')),
    rows_read       bigint NOT NULL DEFAULT 0,
    rows_new        bigint NOT NULL DEFAULT 0,
    rows_unchanged  bigint NOT NULL DEFAULT 0,
    rows_corrected  bigint NOT NULL DEFAULT 0,
    rows_refused    bigint NOT NULL DEFAULT 0,
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz
);

CREATE TABLE catalyst_ml.bars (
    dataset       text NOT NULL,
    source        text NOT NULL,
    timeframe     text NOT NULL,
    symbol        text NOT NULL,
    ts            timestamptz NOT NULL,
    open          double precision NOT NULL,
    high          double precision NOT NULL,
    low           double precision NOT NULL,
    close         double precision NOT NULL,
    volume        double precision NOT NULL,
    split_factor  double precision NOT NULL DEFAULT 1,
    known_at      timestamptz NOT NULL,
    -- no foreign key: it would be checked row by row
    import_id     bigint NOT NULL,
    PRIMARY KEY (dataset, source, timeframe, symbol, ts, known_at)
);
COMMENT ON COLUMN catalyst_ml.bars.ts IS 'close of the bar';
COMMENT ON COLUMN catalyst_ml.bars.known_at IS 'since when these values are known; a correction adds a row';

CREATE TABLE catalyst_ml.refused_rows (
    import_id  bigint NOT NULL REFERENCES catalyst_ml.imports (id) ON DELETE CASCADE,
    row        bigint NOT NULL,
    symbol     text NOT NULL,
    ts_text    text NOT NULL,
    rule       text NOT NULL,
    detail     text NOT NULL
);
CREATE INDEX refused_rows_import ON catalyst_ml.refused_rows (import_id);

CREATE TABLE catalyst_ml.instruments (
    dataset  text NOT NULL,
    symbol   text NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('stock', 'index', 'volatility')),
    sector   text,
    PRIMARY KEY (dataset, symbol)
);

CREATE TABLE catalyst_ml.news (
    dataset        text NOT NULL,
    symbol         text NOT NULL,
    published_at   timestamptz NOT NULL,
    news_id        text NOT NULL,
    headline       text,
    catalyst_type  text,
    sentiment      text NOT NULL CHECK (sentiment IN ('positive', 'negative', 'neutral')),
    score          double precision NOT NULL,
    PRIMARY KEY (dataset, symbol, published_at, news_id)
);

CREATE TABLE catalyst_ml.runs (
    run_id       text PRIMARY KEY,
    flow         text NOT NULL,
    dataset      text NOT NULL,
    timeframe    text NOT NULL,
    as_of        timestamptz NOT NULL,
    parameters   jsonb NOT NULL,
    status       text NOT NULL CHECK (status IN ('running', 'finished', 'failed')),
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    summary      jsonb,
    report_path  text
);
CREATE INDEX runs_started ON catalyst_ml.runs (started_at DESC);

CREATE TABLE catalyst_ml.versions (
    version_id       text PRIMARY KEY,
    dataset          text NOT NULL,
    timeframe        text NOT NULL,
    label_version    text NOT NULL,
    procedure_id     text NOT NULL,
    as_of            timestamptz NOT NULL,
    run_id           text,
    manifest         jsonb NOT NULL,
    manifest_sha256  text NOT NULL,
    artifact_uri     text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE catalyst_ml.channels (
    dataset        text NOT NULL,
    timeframe      text NOT NULL,
    label_version  text NOT NULL,
    channel        text NOT NULL,
    version_id     text REFERENCES catalyst_ml.versions (version_id),
    sequence       bigint NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, timeframe, label_version, channel)
);
COMMENT ON COLUMN catalyst_ml.channels.version_id IS 'NULL means the rules';

CREATE TABLE catalyst_ml.channel_history (
    id                   bigserial PRIMARY KEY,
    dataset              text NOT NULL,
    timeframe            text NOT NULL,
    label_version        text NOT NULL,
    channel              text NOT NULL,
    version_id           text REFERENCES catalyst_ml.versions (version_id),
    previous_version_id  text REFERENCES catalyst_ml.versions (version_id),
    action               text NOT NULL CHECK (action IN ('promote', 'rollback', 'shadow')),
    forced               boolean NOT NULL DEFAULT false,
    reason               text,
    gate                 jsonb,
    actor                text,
    at                   timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION catalyst_ml.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'catalyst_ml.%% is append-only: %% refused', TG_TABLE_NAME, TG_OP;
END
$$;

CREATE TRIGGER channel_history_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalyst_ml.channel_history
    FOR EACH STATEMENT EXECUTE FUNCTION catalyst_ml.refuse_change();
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError("the first migration has nothing to go back to; drop schema catalyst_ml instead")
