-- Personal data, beside the journal: it can't be rebuilt from there, so that it can be erased here.
CREATE TABLE profiles (
    user_id       uuid PRIMARY KEY,
    email         text NOT NULL,
    username      text NOT NULL,
    full_name     text NOT NULL,
    date_of_birth date NOT NULL,
    time_zone     text NOT NULL
);

-- Who holds an e-mail (in lower case) or a username. One table, so that one sorted insert claims both kinds and two
-- workers can't wait for each other.
CREATE TABLE names (
    kind    text NOT NULL CHECK (kind IN ('email', 'username')),
    name    text COLLATE "C" NOT NULL,
    user_id uuid NOT NULL,
    PRIMARY KEY (kind, name)
);
