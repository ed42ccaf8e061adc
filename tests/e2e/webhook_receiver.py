"""A merchant's own server: takes what the router tells, verifies it with the standard's own library, and answers as it is told to.

POST /hooks/NAME           a message; answered with 204, or as scripted
POST /script/NAME          {"secret": …, "public_key": …, "answers": [{"status": …, "retry_after": …, "size": …, "delay": …, "type": …}]}: each is used
                           once, in order, by the first message it fits ("type", if it has one); "always": {"status": …} for all others
GET  /seen/NAME            what came, in order
"""

import base64
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

LOCK = threading.Lock()
SEEN, SCRIPTS = {}, {}


def verified(secret, body, headers):
    if secret is None:
        return None
    try:
        Webhook(secret).verify(body, {k.lower(): v for k, v in headers.items()})
        return True
    except WebhookVerificationError:
        return False


def proven(public_key, body, headers):
    """Whether the router's own signature (`v1a`) is on it: the standard's library does not know that one."""
    if public_key is None:
        return None
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    own = [it.removeprefix("v1a,") for it in headers["webhook-signature"].split(" ") if it.startswith("v1a,")]
    try:
        key.verify(base64.b64decode(own[0]), signed)
        return len(own) == 1
    except InvalidSignature:
        return False


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body=None, headers=()):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        with LOCK:
            self.reply(200, SEEN.get(name, []))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        _, kind, name = self.path.split("?")[0].split("/", 2)
        if kind == "script":
            with LOCK:
                SCRIPTS.setdefault(name, {}).update(json.loads(body))
            return self.reply(204)
        told = json.loads(body)
        with LOCK:
            script = SCRIPTS.setdefault(name, {})
            fits = lambda it: it.get("type") in (None, told["type"])
            answers = script.setdefault("answers", [])
            answer = next((it for it in answers if fits(it)), None)
            if answer is None:
                answer = script.get("always", {"status": 204})
            else:
                answers.remove(answer)
            SEEN.setdefault(name, []).append(
                {
                    "id": self.headers["webhook-id"],
                    "agent": self.headers["user-agent"],
                    "signatures": len(self.headers["webhook-signature"].split(" ")),
                    "proven": proven(script.get("public_key"), body, self.headers),
                    "verified": verified(script.get("secret"), body, self.headers),
                    "answered": answer["status"],
                    "timestamp": int(self.headers["webhook-timestamp"]),
                    "path": self.path,
                    "told": told,
                }
            )
        time.sleep(answer.get("delay", 0))
        extra = [("retry-after", str(answer["retry_after"]))] if "retry_after" in answer else []
        self.reply(answer["status"], "x" * answer["size"] if "size" in answer else None, extra)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
sys.stdout.close()
server.serve_forever()
