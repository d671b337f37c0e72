-- Who holds which e-mail and username. The primary keys are what makes them unique.

CREATE TABLE emails (
    -- In lower case: two that differ in case only are one.
    email   text PRIMARY KEY,
    user_id uuid NOT NULL UNIQUE
);

-- A username is never given twice, so its row outlives the account.
CREATE TABLE usernames (
    username text PRIMARY KEY,
    user_id  uuid NOT NULL UNIQUE
);

-- Personal data: beside the journal, so that it can be erased.
CREATE TABLE profiles (
    user_id       uuid   PRIMARY KEY,
    email         text   NOT NULL,
    username      text   NOT NULL,
    full_name     text   NOT NULL,
    date_of_birth date   NOT NULL,
    time_zone     text   NOT NULL,
    version       bigint NOT NULL
);
