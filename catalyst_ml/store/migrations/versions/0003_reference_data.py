"""What is known about symbols beside their bars: stories in full, earnings, sectors, index membership, other names."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE catalyst_ml.news
    ADD COLUMN source text NOT NULL DEFAULT '',
    ADD COLUMN kind text NOT NULL DEFAULT 'story' CHECK (kind IN ('story', 'update', 'roundup', 'tweet')),
    ADD COLUMN label text,
    ADD COLUMN tier smallint,
    ADD COLUMN is_date_only boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN catalyst_ml.news.symbol IS 'as the source wrote it; view named_news has today''s name';
COMMENT ON COLUMN catalyst_ml.news.label IS 'what the source itself calls the story, e.g. topStory';
COMMENT ON COLUMN catalyst_ml.news.is_date_only IS 'the source names a day only; published_at is its end in New York';

CREATE TABLE catalyst_ml.symbol_names (
    dataset  text NOT NULL,
    alias    text NOT NULL,
    symbol   text NOT NULL,
    PRIMARY KEY (dataset, alias),
    CHECK (alias <> symbol)
);
COMMENT ON TABLE catalyst_ml.symbol_names IS 'other names of symbols, applied when news and reference data are read';

CREATE VIEW catalyst_ml.named_news AS
    SELECT DISTINCT ON (n.dataset, coalesce(m.symbol, n.symbol), n.published_at, n.news_id)
           n.dataset, coalesce(m.symbol, n.symbol) AS symbol, n.published_at, n.news_id, n.symbol AS symbol_as_found,
           n.source, n.kind, n.label, n.tier, n.is_date_only, n.headline, n.catalyst_type, n.sentiment, n.score
    FROM catalyst_ml.news n LEFT JOIN catalyst_ml.symbol_names m ON m.dataset = n.dataset AND m.alias = n.symbol
    ORDER BY n.dataset, coalesce(m.symbol, n.symbol), n.published_at, n.news_id, n.symbol;
CREATE VIEW catalyst_ml.company_news AS
    SELECT * FROM catalyst_ml.named_news WHERE kind IN ('story', 'update');
COMMENT ON VIEW catalyst_ml.company_news IS 'what may be a company''s catalyst: no round-ups, no tweets';

CREATE TABLE catalyst_ml.earnings (
    dataset       text NOT NULL,
    symbol        text NOT NULL,
    report_date   date NOT NULL,
    release_time  text CHECK (release_time IN ('pre', 'post')),
    known_at      timestamptz NOT NULL,
    eps           double precision,
    eps_estimate  double precision,
    quarter       text,
    is_suspect    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (dataset, symbol, report_date, known_at)
);
COMMENT ON COLUMN catalyst_ml.earnings.known_at IS 'from when the result counts as known; a correction adds a row';
COMMENT ON COLUMN catalyst_ml.earnings.is_suspect IS 'EPS beyond 100 dollars: restated for later reverse splits';

CREATE TABLE catalyst_ml.sectors (
    dataset   text NOT NULL,
    symbol    text NOT NULL,
    taxonomy  text NOT NULL,
    sector    text NOT NULL,
    industry  text,
    name      text,
    as_of     date NOT NULL,
    PRIMARY KEY (dataset, symbol, taxonomy, as_of)
);

CREATE TABLE catalyst_ml.index_members (
    dataset     text NOT NULL,
    index_name  text NOT NULL,
    symbol      text NOT NULL,
    start_date  date NOT NULL,
    end_date    date,
    PRIMARY KEY (dataset, index_name, symbol, start_date)
);
COMMENT ON COLUMN catalyst_ml.index_members.end_date IS 'first day outside; NULL means still a member';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, ())


def downgrade() -> None:
    raise NotImplementedError("reference data is not thrown away by a step back; restore a dump instead")
