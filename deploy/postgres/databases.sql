-- Creates a database and a role with the same name for each service, and for the schema registry. A role can open only
-- its own database. Requires psql 15 or newer, and a superuser. It can be run again: it adds missing roles and
-- databases, and sets the passwords to those of the environment.
\set ON_ERROR_STOP on
\getenv gateway_password GATEWAY_DB_PASSWORD
\getenv users_password USERS_DB_PASSWORD
\getenv events_password EVENTS_DB_PASSWORD
\getenv registrations_password REGISTRATIONS_DB_PASSWORD
\getenv registry_password REGISTRY_DB_PASSWORD

CREATE TEMPORARY TABLE wanted (name text, password text);
INSERT INTO wanted VALUES
    ('gateway', :'gateway_password'),
    ('users', :'users_password'),
    ('events', :'events_password'),
    ('registrations', :'registrations_password'),
    ('registry', :'registry_password');

SELECT format('CREATE ROLE %I', name) FROM wanted WHERE name NOT IN (SELECT rolname FROM pg_roles)
\gexec
SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', name, password) FROM wanted
\gexec
SELECT format('CREATE DATABASE %I OWNER %I', name, name) FROM wanted WHERE name NOT IN (SELECT datname FROM pg_database)
\gexec
-- By default, every role may connect to every database.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM pg_database
WHERE datname IN (SELECT name FROM wanted) OR datname IN ('postgres', 'template1')
\gexec
