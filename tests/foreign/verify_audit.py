#!/usr/bin/env python3
"""Verifies an export of the audit log offline, like `rollcall audit verify` but without Rollcall's code: every leaf,
every tree, every signature, and the chain of checkpoints. The format is in services/audit/README.md.

verify_audit.py FILE...   prints one line per finding; exit code 1 if there is a finding

Needs only Python 3.9 and its standard library.
"""

import base64
import hashlib
import json
import sys

FIELDS = {
    "export": ["kind", "format"],
    "key": ["kind", "key_id", "public_key"],
    "checkpoint": ["kind", "text", "signature"],
    "entry": ["kind", "topic", "partition", "index", "leaf", "leaf_hash", "content", "value"],
}
STAGES = list(FIELDS)
LEAF = ["v", "topic", "partition", "offset", "timestamp", "recorded_at", "key", "foreign_key", "headers", "sha256",
        "kept", "content_sha256"]
CHECKPOINT = ["number", "id", "signed_at", "key", "previous"]


def sha256(data):
    return hashlib.sha256(data).digest()


# Ed25519 (RFC 8032, section 5.1), verification only.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def point(data):
    """Returns a point in extended coordinates: X, Y, Z, T."""
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, p):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, p)
        p = add(p, p)
        scalar >>= 1
    return result


def same(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = point(BASE_Y.to_bytes(32, "little"))


def is_signed(public_key, message, signature):
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, r = point(public_key), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= L:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    h = int.from_bytes(digest, "little") % L
    return same(multiply(s, BASE), add(r, multiply(h, key)))


# Merkle trees (RFC 6962, section 2.1).

class Tree:
    def __init__(self, name):
        self.name, self.size, self.peaks, self.offset = name, 0, [], -1

    def append(self, leaf_hash):
        self.size += 1
        level, node = 0, leaf_hash
        while self.peaks and self.peaks[-1][0] == level:
            node = sha256(b"\x01" + self.peaks.pop()[1] + node)
            level += 1
        self.peaks.append((level, node))

    def root(self):
        root = None
        for _, peak in reversed(self.peaks):
            root = peak if root is None else sha256(b"\x01" + peak + root)
        return (sha256(b"") if root is None else root).hex()


def number(text):
    """Parses a number in its canonical form."""
    return int(text) if text.isdecimal() and str(int(text)) == text else None


def from_base64(text):
    """Returns None if the text is not in canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


class Verifier:
    def __init__(self):
        self.line = self.stage = self.checkpoints = self.entries = 0
        self.findings, self.keys, self.signers, self.claims, self.newest = [], {}, set(), {}, {}
        self.tree = self.previous = None

    def wrong(self, what):
        self.findings.append((self.line, what))

    def take(self, data):
        self.line += 1
        try:
            line = json.loads(data.decode())
            rewritten = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()
            if rewritten != data or list(line) != FIELDS[line["kind"]]:
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError):
            return self.wrong("this is no line of an export")
        stage = STAGES.index(line["kind"])
        if stage < self.stage or (stage == 0) != (self.line == 1):
            self.wrong("it stands in the wrong place")
        self.stage = stage
        try:
            getattr(self, line.pop("kind"))(**line)
        except (AttributeError, KeyError, TypeError, ValueError):
            self.wrong("a field is of another type")

    def export(self, format):
        if format != 1:
            self.wrong("the format is not known here")

    def key(self, key_id, public_key):
        key = from_base64(public_key)
        if key is None or point(key) is None:
            self.wrong("this is no Ed25519 key")
        elif sha256(key)[:16].hex() != key_id:
            self.wrong("the key has another id")
        elif key_id in self.keys:
            self.wrong("the key is there twice")
        else:
            self.keys[key_id] = key

    def checkpoint(self, text, signature):
        self.checkpoints += 1
        lines = text.split("\n")
        names = [line.split(" ")[0] for line in lines[1:6]]
        if lines[0] != "rollcall audit checkpoint 1" or names != CHECKPOINT or lines.pop() != "":
            return self.wrong("the checkpoint's text is none")
        values = {name: line[len(name) + 1:] for name, line in zip(names, lines[1:6])}
        if values["number"] != str(self.checkpoints):
            self.wrong("the checkpoint's number is not the next one")
        if values["previous"] != ("-" if self.previous is None else self.previous):
            self.wrong("the checkpoint does not follow the one before")
        self.previous = sha256(text.encode()).hex()
        key, signature = self.keys.get(values["key"]), from_base64(signature)
        if key is None or signature is None or not is_signed(key, text.encode(), signature):
            self.wrong("the checkpoint's signature is not of its text and key")
        else:
            self.signers.add(values["key"])
        heads = {}
        for line in lines[6:]:
            words = line.split(" ")
            if len(words) != 4 or number(words[1]) is None or number(words[2]) is None:
                self.wrong("the checkpoint's text is none")
                continue
            tree, size, root = (words[0], int(words[1])), int(words[2]), words[3]
            heads[tree] = size
            if self.claims.setdefault(tree, {}).setdefault(size, root) != root:
                self.wrong("two checkpoints have signed different roots")
        if any(heads.get(tree, -1) < size for tree, size in self.newest.items()):
            self.wrong("a tree has shrunk")
        self.newest = heads

    def entry(self, topic, partition, index, leaf, leaf_hash, content, value):
        self.entries += 1
        name = (topic, partition)
        if self.tree is None or self.tree.name != name:
            if self.tree is not None and self.tree.name > name:
                self.wrong("the tree stands in the wrong place")
            self.leave()
            if name not in self.newest:
                self.wrong("no checkpoint has signed this tree")
            self.tree = Tree(name)
        tree = self.tree
        if index != tree.size:
            self.wrong(f"the entry has index {index}, and {tree.size} is next")
        if leaf is None:
            return self.wrong("the entry's leaf is left out")
        own = sha256(b"\x00" + leaf.encode())
        if own.hex() != leaf_hash:
            self.wrong("the leaf hash is not that of the leaf")
        self.asserts(tree, leaf, content, value)
        tree.append(own)
        claim = self.claims.get(name, {}).pop(tree.size, None)
        if claim is not None and claim != tree.root():
            self.wrong(f"the first {tree.size} entries are not those that a checkpoint has signed")

    def asserts(self, tree, text, content, value):
        try:
            leaf = json.loads(text)
            if list(leaf) != LEAF or leaf["v"] != 1:
                raise ValueError
        except (TypeError, ValueError):
            return self.wrong("the leaf is none")
        if (leaf["topic"], leaf["partition"]) != tree.name:
            self.wrong("the entry is of another topic or partition")
        if leaf["offset"] <= tree.offset:
            self.wrong("the entry's offset does not follow the one before")
        tree.offset = leaf["offset"]
        if content is not None and sha256(content.encode()).hex() != leaf["content_sha256"]:
            self.wrong("the content is not what the leaf has hashed")
        if value is not None:
            data = from_base64(value)
            if data is None or not leaf["kept"] or sha256(data).hex() != leaf["sha256"]:
                self.wrong("the bytes are not those that the leaf has hashed")

    def leave(self):
        if self.tree is not None:
            for size in self.claims.pop(self.tree.name, {}):
                self.wrong(f"a checkpoint has signed {size} entries of {self.tree.name}, and they are not here")

    def end(self):
        self.leave()
        if not self.checkpoints:
            self.wrong("there is no checkpoint")
        if len(self.keys) > len(self.signers):
            self.wrong("there is a key that has signed nothing")
        for tree in self.claims:
            self.wrong(f"checkpoints have signed {tree}, and its entries are not here")


def verify(lines):
    """Reads a whole export, and stores the findings in the verifier."""
    verifier = Verifier()
    for line in lines:
        if line.endswith(b"\n"):
            verifier.take(line[:-1])
        else:
            verifier.line += 1
            verifier.wrong("the file ends within a line")
    verifier.end()
    return verifier


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    found = False
    for name in sys.argv[1:]:
        with open(name, "rb") as export:
            verifier = verify(export)
        for line, what in verifier.findings:
            print(f"{name}: line {line}: {what}")
        found = found or bool(verifier.findings)
        if not verifier.findings:
            print(f"{name}: {verifier.entries} entries and {verifier.checkpoints} checkpoints are what was signed")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
