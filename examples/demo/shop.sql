-- A small shop to try origins with: a thousand products in an SQLite database, for examples/demo/larder.yaml.
--
--   python3 -c 'import sqlite3; sqlite3.connect("shop.db").executescript(open("examples/demo/shop.sql").read())'
PRAGMA journal_mode = WAL;

CREATE TABLE IF NOT EXISTS products (
  id TEXT PRIMARY KEY,
  body TEXT,                          -- NULL: deleted
  version INTEGER NOT NULL DEFAULT 0  -- of larder's last write; an older one changes nothing
);

CREATE TABLE IF NOT EXISTS categories (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL,
  etag TEXT NOT NULL                  -- names the content, so that an unchanged one is not sent again
);

INSERT OR IGNORE INTO products (id, body)
WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 1000)
SELECT CAST(n AS TEXT),
       json_object('id', n, 'name', 'Product ' || n, 'price', 100 + (n * 7) % 900, 'category', 'c' || (n % 10))
FROM number;

-- By then somebody may have stored products that are no JSON, or are in no category.
INSERT OR IGNORE INTO categories (name, body, etag)
SELECT category, json_group_array('product:' || id), 'v' || count(*)
FROM (SELECT id, CASE WHEN json_valid(CAST(body AS TEXT)) THEN json_extract(CAST(body AS TEXT), '$.category') END AS category
      FROM products)
WHERE category IS NOT NULL GROUP BY category;
