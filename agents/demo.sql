-- The demo agent's database. It may run on every start: nothing is created or filled twice.

CREATE TABLE IF NOT EXISTS slots (
    weekday INTEGER NOT NULL,           -- 1 is Monday, 5 is Friday
    time    TEXT    NOT NULL,           -- 15:30
    PRIMARY KEY (weekday, time)
);

CREATE TABLE IF NOT EXISTS appointments (
    id        INTEGER PRIMARY KEY,
    day       TEXT NOT NULL,            -- 2026-10-14
    time      TEXT NOT NULL,            -- 15:30
    name      TEXT NOT NULL,
    call_id   TEXT,
    booked_at TEXT NOT NULL,
    UNIQUE (day, time)
);

CREATE TABLE IF NOT EXISTS accounts (
    number TEXT PRIMARY KEY,            -- five digits
    holder TEXT NOT NULL,
    cents  INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS callback_requests (
    id       INTEGER PRIMARY KEY,
    caller   TEXT,
    call_id  TEXT,
    asked_at TEXT NOT NULL,
    done     INTEGER NOT NULL DEFAULT 0
);

INSERT OR IGNORE INTO slots (weekday, time) VALUES
    (1, '09:00'), (1, '10:30'), (1, '14:00'), (1, '15:30'),
    (2, '09:30'), (2, '11:00'), (2, '14:00'), (2, '15:30'),
    (3, '09:00'), (3, '11:30'), (3, '13:00'), (3, '16:00'),
    (4, '10:00'), (4, '11:30'), (4, '14:30'), (4, '15:30'),
    (5, '09:00'), (5, '10:30'), (5, '12:00'), (5, '13:30');

INSERT OR IGNORE INTO accounts (number, holder, cents) VALUES
    ('12345', 'Smith',  24850),
    ('42110', 'Miller', 118000),
    ('73092', 'Brown',  730),
    ('55501', 'Davis',  0);
