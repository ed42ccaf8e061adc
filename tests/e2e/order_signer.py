"""Signs one request as a merchant would, by a library that nobody here wrote. A JSON document on standard input says what; the
headers to send are printed as JSON."""

import datetime
import json
import sys
from types import SimpleNamespace

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

asked = json.load(sys.stdin)


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return load_pem_private_key(asked["key"].encode(), password=None)


message = SimpleNamespace(method=asked["method"], url="http://router.example" + asked["path"], headers=dict(asked["headers"]))
signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Keys())
now = datetime.datetime.now(datetime.timezone.utc)
signer.sign(
    message,
    key_id=asked["key_id"],
    created=now - datetime.timedelta(seconds=asked.get("age_s", 0)),
    covered_component_ids=asked["covers"],
    label="order",
    nonce=asked.get("nonce"),
    body=asked["body"].encode(),
)
print(json.dumps(dict(message.headers)))
