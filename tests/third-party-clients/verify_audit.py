#!/usr/bin/env python3
"""Verifies an export of the audit log offline, like `rollcall audit verify` but without Rollcall's code: every leaf,
tree and signature, and the chain of checkpoints. The format is described in services/audit/README.md.

verify_audit.py FILE...   prints one line per finding; exits with 1 if there are any

Requires only Python 3.9 or newer and its standard library.
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
SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def decode_point(data):
    """Returns a point in extended coordinates (X, Y, Z, T), or None if the data is not a point."""
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


def is_same_point(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = decode_point(BASE_Y.to_bytes(32, "little"))


def is_valid_signature(public_key, message, signature):
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, r = decode_point(public_key), decode_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= L:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    h = int.from_bytes(digest, "little") % L
    return is_same_point(multiply(s, BASE), add(r, multiply(h, key)))


# Merkle trees (RFC 6962, section 2.1).

class Tree:
    def __init__(self, tree_id):
        self.id, self.size, self.peaks, self.last_offset = tree_id, 0, [], -1

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


def parse_number(text):
    """Returns None if the text is not a number in canonical form."""
    return int(text) if text.isdecimal() and str(int(text)) == text else None


def from_base64(text):
    """Returns None if the text is not base64 in canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def display_name(tree_id):
    topic, partition = tree_id
    return f"{topic}-{partition}"


class Verifier:
    def __init__(self):
        self.line = self.stage = self.checkpoints = self.entries = 0
        self.findings, self.keys, self.signers, self.signed_roots, self.newest = [], {}, set(), {}, {}
        self.tree = self.previous = None

    def add_finding(self, description):
        self.findings.append((self.line, description))

    def take(self, data):
        self.line += 1
        try:
            line = json.loads(data.decode())
            rewritten = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()
            if rewritten != data or list(line) != FIELDS[line["kind"]]:
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError):
            return self.add_finding("this is not a valid export line")
        stage = STAGES.index(line["kind"])
        if stage < self.stage or (stage == 0) != (self.line == 1):
            self.add_finding("this kind of line is not allowed here")
        self.stage = stage
        try:
            getattr(self, line.pop("kind"))(**line)
        except (AttributeError, KeyError, TypeError, ValueError):
            self.add_finding("a field has the wrong type")

    def export(self, format):
        if format != 1:
            self.add_finding(f"format {format} is not supported")

    def key(self, key_id, public_key):
        key = from_base64(public_key)
        if key is None or decode_point(key) is None:
            self.add_finding("this is not an Ed25519 key")
        elif sha256(key)[:16].hex() != key_id:
            self.add_finding("the key id does not match the key")
        elif key_id in self.keys:
            self.add_finding("the key occurs twice")
        else:
            self.keys[key_id] = key

    def checkpoint(self, text, signature):
        self.checkpoints += 1
        lines = text.split("\n")
        names = [line.split(" ")[0] for line in lines[1:6]]
        if lines[0] != "rollcall audit checkpoint 1" or names != CHECKPOINT or lines.pop() != "":
            return self.add_finding("the checkpoint's text is malformed")
        values = {name: line[len(name) + 1:] for name, line in zip(names, lines[1:6])}
        if values["number"] != str(self.checkpoints):
            self.add_finding(f"the checkpoint has number {values['number']} instead of {self.checkpoints}")
        if values["previous"] != ("-" if self.previous is None else self.previous):
            self.add_finding("the checkpoint does not refer to the previous one")
        self.previous = sha256(text.encode()).hex()
        key, signature = self.keys.get(values["key"]), from_base64(signature)
        if key is None:
            self.add_finding("the checkpoint's key is not in the export")
        elif signature is None or not is_valid_signature(key, text.encode(), signature):
            self.add_finding("the checkpoint's signature does not match its text and key")
        else:
            self.signers.add(values["key"])
        heads = {}
        for line in lines[6:]:
            words = line.split(" ")
            if len(words) != 4 or parse_number(words[1]) is None or parse_number(words[2]) is None:
                self.add_finding("the checkpoint's text is malformed")
                continue
            tree, size, root = (words[0], int(words[1])), int(words[2]), words[3]
            heads[tree] = size
            if self.signed_roots.setdefault(tree, {}).setdefault(size, root) != root:
                self.add_finding(f"two checkpoints contain different roots of {display_name(tree)}")
        for tree, size in self.newest.items():
            if heads.get(tree, -1) < size:
                self.add_finding(f"{display_name(tree)} has shrunk")
        self.newest = heads

    def entry(self, topic, partition, index, leaf, leaf_hash, content, value):
        self.entries += 1
        tree_id = (topic, partition)
        if self.tree is None or self.tree.id != tree_id:
            if self.tree is not None and self.tree.id > tree_id:
                self.add_finding(f"the entries of {display_name(tree_id)} are not in order")
            self.leave()
            if tree_id not in self.newest:
                self.add_finding(f"the newest checkpoint does not cover {display_name(tree_id)}")
            self.tree = Tree(tree_id)
        tree = self.tree
        if index != tree.size:
            self.add_finding(f"the entry has index {index} instead of {tree.size}")
        if leaf is None:
            return self.add_finding("the entry has no leaf, so it cannot be verified")
        actual = sha256(b"\x00" + leaf.encode())
        if actual.hex() != leaf_hash:
            self.add_finding("the leaf hash does not match the leaf")
        self.check_leaf(tree, leaf, content, value)
        tree.append(actual)
        signed = self.signed_roots.get(tree_id, {}).pop(tree.size, None)
        if signed is not None and signed != tree.root():
            self.add_finding(f"the first {tree.size} entries of {display_name(tree_id)} differ from those covered "
                             "by a checkpoint")

    def check_leaf(self, tree, text, content, value):
        try:
            leaf = json.loads(text)
            if list(leaf) != LEAF or leaf["v"] != 1:
                raise ValueError
        except (TypeError, ValueError):
            return self.add_finding("the leaf is malformed")
        if (leaf["topic"], leaf["partition"]) != tree.id:
            self.add_finding("the leaf belongs to another topic or partition")
        if leaf["offset"] <= tree.last_offset:
            self.add_finding("the entry's offset is not greater than that of the previous entry")
        tree.last_offset = leaf["offset"]
        if content is not None and sha256(content.encode()).hex() != leaf["content_sha256"]:
            self.add_finding("the content does not match its hash in the leaf")
        if value is not None:
            data = from_base64(value)
            if data is None or not leaf["kept"] or sha256(data).hex() != leaf["sha256"]:
                self.add_finding("the bytes do not match their hash in the leaf")

    def leave(self):
        if self.tree is not None:
            tree_id = self.tree.id
            for size in self.signed_roots.pop(tree_id, {}):
                self.add_finding(f"a checkpoint covers {size} entries of {display_name(tree_id)}, but the export "
                                 "lacks some of them")

    def end(self):
        self.leave()
        if not self.checkpoints:
            self.add_finding("the export has no checkpoint")
        if len(self.keys) > len(self.signers):
            self.add_finding("the export has a key that signed no checkpoint")
        for tree in self.signed_roots:
            self.add_finding(f"checkpoints cover {display_name(tree)}, but the export has none of its entries")


def verify(lines):
    """Verifies the lines of an export and returns the verifier with its findings."""
    verifier = Verifier()
    for line in lines:
        if line.endswith(b"\n"):
            verifier.take(line[:-1])
        else:
            verifier.line += 1
            verifier.add_finding("the file ends in the middle of a line")
    verifier.end()
    return verifier


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    found = False
    for name in sys.argv[1:]:
        with open(name, "rb") as export:
            verifier = verify(export)
        for line, description in verifier.findings:
            print(f"{name}: line {line}: {description}")
        found = found or bool(verifier.findings)
        if not verifier.findings:
            print(f"{name}: valid, with {verifier.entries} entries and {verifier.checkpoints} checkpoints")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
