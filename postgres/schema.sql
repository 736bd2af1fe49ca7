-- What the store needs, in the schema for which S stands here. All of it is one message;
-- nodes that start at the same time wait for one another.
--
-- There is a row a document, with the revision and a nonce of its last change, and one
-- row that counts the changes. Who changes a document locks that row first and holds it
-- until the commit: so revisions rise in the order in which changes take effect, without
-- gaps. A document that is gone stays as a row without a value for some 1,000 changes, so
-- that feeds which were away learn of it; floor is the revision up to which such rows are
-- gone. There is no index on revisions: it would make each change dearer.
BEGIN;
SELECT pg_advisory_xact_lock(hashtext('S.put'));
CREATE SCHEMA IF NOT EXISTS S;
CREATE TABLE IF NOT EXISTS S.counter (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	rev bigint NOT NULL,
	nonce uuid NOT NULL,
	floor bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO S.counter VALUES (true, 1, gen_random_uuid(), 1) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS S.document (
	key text COLLATE "C" PRIMARY KEY,
	rev bigint NOT NULL,
	nonce uuid NOT NULL,
	value text
) WITH (fillfactor = 50);

-- put writes v, or deletes if v is null, if the document is at revision guard. It returns
-- the revision of the change; or, negative or 0, that at which the document is, and no
-- more than that: who does not read a long answer would hold the lock.
--
-- Each statement sees what was committed when it begins, and so, once it has the lock,
-- all changes before. The commit waits for the disk, and for the standbys if the server
-- has such, whatever synchronous_commit says elsewhere.
CREATE OR REPLACE FUNCTION S.put(k text, v text, guard bigint) RETURNS bigint LANGUAGE plpgsql AS $put$
DECLARE
	c S.counter;
	held bigint;
	mark uuid := gen_random_uuid();
	news text;
BEGIN
	IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
		PERFORM set_config('synchronous_commit', 'on', true);
	END IF;
	SELECT * INTO STRICT c FROM S.counter FOR UPDATE;
	SELECT d.rev INTO held FROM S.document d WHERE d.key = k AND d.value IS NOT NULL;
	IF coalesce(held, 0) <> guard OR (v IS NULL AND guard = 0) THEN
		RETURN -coalesce(held, 0);
	END IF;
	c.rev := c.rev + 1;
	INSERT INTO S.document VALUES (k, c.rev, mark, v)
		ON CONFLICT (key) DO UPDATE SET rev = excluded.rev, nonce = excluded.nonce, value = excluded.value;
	news := concat_ws(E'\n', c.rev, c.nonce, mark, k, CASE WHEN v IS NULL THEN '-' ELSE '=' || v END);
	IF octet_length(news) > 7999 THEN -- more than NOTIFY takes
		news := concat_ws(E'\n', c.rev, c.nonce, mark, k, '?');
	END IF;
	PERFORM pg_notify('S.document', news);
	IF c.rev % 1000 = 0 THEN
		c.floor := greatest(c.floor, c.rev - 1000);
		DELETE FROM S.document d WHERE d.value IS NULL AND d.rev <= c.floor;
	END IF;
	UPDATE S.counter SET rev = c.rev, nonce = mark, floor = c.floor;
	RETURN c.rev;
END $put$;
COMMIT
