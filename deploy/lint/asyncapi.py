"""Validates docs/asyncapi.json with the schema of the AsyncAPI version that it names.

asyncapi.py SCHEMAS DOCUMENT

SCHEMAS is the folder `schemas` of the package @asyncapi/specs. Prints every violation; exits with 1 if there are any.
"""

import json
import sys
from pathlib import Path

from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match


def main():
    document = json.loads(Path(sys.argv[2]).read_text())
    schema = json.loads((Path(sys.argv[1]) / f"{document['asyncapi']}.json").read_text())
    # The schema consists of alternatives. The best match is the violation that the author of the document can fix.
    problems = [best_match([error]) for error in Draft7Validator(schema).iter_errors(document)]
    for problem in problems:
        print(f"{'/'.join(map(str, problem.absolute_path))}: {problem.message[:500]}")
    if not problems:
        print(f"{len(document['channels'])} channels, {len(document['components']['messages'])} messages")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
