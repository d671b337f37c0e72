-- Personal data. It is not in the journal and cannot be rebuilt from it, so erasing it here is enough.
CREATE TABLE profiles (
    user_id       uuid PRIMARY KEY,
    email         text NOT NULL,
    username      text NOT NULL,
    full_name     text NOT NULL,
    date_of_birth date NOT NULL,
    time_zone     text NOT NULL
);

-- Reserved e-mail addresses (in lower case) and usernames, with their users. One table for both, so one sorted insert
-- reserves both and two workers cannot deadlock.
CREATE TABLE names (
    kind    text NOT NULL CHECK (kind IN ('email', 'username')),
    name    text COLLATE "C" NOT NULL,
    user_id uuid NOT NULL,
    PRIMARY KEY (kind, name)
);
