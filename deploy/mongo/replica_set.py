"""Makes a single mongod the replica set rs0, and waits until it accepts writes. Transactions need a replica set.

replica_set.py HOST:PORT          initiates it, or changes its address; ends when it is a writable primary
replica_set.py --check HOST:PORT  only checks: exits with 0 if it is a writable primary
"""

import os
import sys
import time

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

NAME = "rs0"
NOT_YET_INITIALIZED = 94
DEADLINE = 30  # seconds


def writable(admin):
    return admin.command("hello").get("isWritablePrimary", False)


def configure(admin, address):
    members = [{"_id": 0, "host": address}]
    try:
        config = admin.command("replSetGetConfig")["config"]
    except OperationFailure as failure:
        if failure.code != NOT_YET_INITIALIZED:
            raise
        admin.command("replSetInitiate", {"_id": NAME, "members": members})
        return
    if [member["host"] for member in config["members"]] != [address]:
        # The port has changed. No member has the address in the configuration, so the set has no primary: hence "force".
        config["members"] = members
        config["version"] += 1
        admin.command("replSetReconfig", config, force=True)


def main():
    check = sys.argv[1] == "--check"
    address = sys.argv[-1]
    client = MongoClient(address, directConnection=True, serverSelectionTimeoutMS=1000 if check else DEADLINE * 1000)
    if check:
        return 0 if writable(client.admin) else 1
    configure(client.admin, address)
    deadline = time.monotonic() + DEADLINE
    while not writable(client.admin):
        if time.monotonic() > deadline:
            print(f"{address} did not become primary in {DEADLINE} s", file=sys.stderr)
            return 1
        time.sleep(0.05)
    return 0


if __name__ == "__main__":
    try:
        code = main()
    except PyMongoError as error:
        print(f"{sys.argv[-1]}: {error}", file=sys.stderr)
        code = 1
    sys.stderr.flush()
    os._exit(code)  # not sys.exit: at exit pymongo waits half a second for its own threads
