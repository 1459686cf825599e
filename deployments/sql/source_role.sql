-- Role that catalyst-ml reads the trading system's database with. Run as the owner of its tables (doadmin on
-- DigitalOcean), once, and again after a new schema appears; running it again changes nothing:
--
--     psql "$ADMIN_URL" --single-transaction -f deployments/sql/source_role.sql
--     psql "$ADMIN_URL" -c "\password catalyst_ml_reader"        -- the role cannot log in before
--
-- The role may SELECT, and that is what keeps it from writing. default_transaction_read_only comes on top: a slip is
-- refused even where PostgreSQL 14 and older let everybody create tables in schema public. It is no fence, a session
-- may switch it off; whoever wants one there runs: REVOKE CREATE ON SCHEMA public FROM PUBLIC (upstream's services make
-- tables at run time, so grant CREATE to their role first).

DO $$
DECLARE
    source_schema name;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'catalyst_ml_reader') THEN
        CREATE ROLE catalyst_ml_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT CONNECTION LIMIT 5;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO catalyst_ml_reader', current_database());
    FOREACH source_schema IN ARRAY ARRAY['public', 'trading']::name[] LOOP
        IF EXISTS (SELECT FROM pg_namespace WHERE nspname = source_schema) THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO catalyst_ml_reader', source_schema);
            EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO catalyst_ml_reader', source_schema);
            -- Tables that this owner makes later; for those of another owner run the same as that owner.
            EXECUTE format(
                'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO catalyst_ml_reader', source_schema
            );
        END IF;
    END LOOP;
END
$$;

-- Role settings work behind a transaction-mode pooler, which startup options do not.
ALTER ROLE catalyst_ml_reader SET default_transaction_read_only = on;
ALTER ROLE catalyst_ml_reader SET statement_timeout = '30min';
ALTER ROLE catalyst_ml_reader SET idle_in_transaction_session_timeout = '5min';
ALTER ROLE catalyst_ml_reader SET lock_timeout = '10s';
