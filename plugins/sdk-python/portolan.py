"""What a partner writes an adapter with, in Python. An operation is a coroutine: it awaits replies, and what it returns is
the outcome. The router drives it by hand, once for each answer, so nothing is waited for in here.

    @operations
    class Payments(exports.Payments):
        async def authorize(self, ctx, request):
            reply = await ctx.send(post("api", "/charges").json({...}).header("idempotency-key", ctx.next_key()))
            if not reply.ok:
                return unknown(reply.why)

Not here: sockets, threads, `time`, `random`. Time is `ctx.now_ms`, randomness is `ctx.entropy`.
"""

import functools
import importlib
import inspect
import json
from urllib.parse import quote

from componentize_py_types import Err, Ok
from wit_world.imports import keys, log, types

DEPTH_MAX = 100


def fault(case: str, value) -> Err:
    """The adapter could not do its work: raise it. Unsupported, Invalid, Protocol, Misconfigured, StaleSession, Other."""
    return Err(getattr(types, f"Fault_{case}")(value))


def unsupported(text: str) -> Err:
    return fault("Unsupported", text)


def invalid(field: str, why: str) -> Err:
    return fault("Invalid", (field, why))


def protocol(text: str) -> Err:
    return fault("Protocol", text)


def misconfigured(text: str) -> Err:
    return fault("Misconfigured", text)


def stale_session(name: str) -> Err:
    return fault("StaleSession", name)


class Request:
    """A request that was made and never sent would be lost without a word: the driver counts them."""

    made = 0

    def __init__(self, endpoint: str, method: str, path: str, effect: types.Effect):
        self.it = types.Request(endpoint, method, path, [], b"", effect, 30_000, [])
        Request.made += 1

    def header(self, name: str, value: str) -> "Request":
        self.it.headers.append(types.Header(name, value))
        return self

    def bearer(self, handle: str) -> "Request":
        return self.header("authorization", f"Bearer {handle}")

    def json(self, value) -> "Request":
        self.it.body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        return self.header("content-type", "application/json")

    def form(self, fields) -> "Request":
        pairs = (f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in fields)
        self.it.body = "&".join(pairs).encode()
        return self.header("content-type", "application/x-www-form-urlencoded")

    def prepares(self) -> "Request":
        """This write only prepares; the operator's grant decides."""
        self.it.effect = types.Effect.PREPARE
        return self

    def reads(self) -> "Request":
        """This POST only looks; the operator's grant decides."""
        self.it.effect = types.Effect.READ
        return self

    def timeout(self, ms: int) -> "Request":
        self.it.timeout_ms = ms
        return self

    @property
    def body(self) -> bytes:
        return self.it.body


def get(endpoint: str, path: str) -> Request:
    """A read: repeating it is free."""
    return Request(endpoint, "GET", path, types.Effect.READ)


def post(endpoint: str, path: str) -> Request:
    """A write: it is on the router's disk before it leaves."""
    return Request(endpoint, "POST", path, types.Effect.WRITE)


class Reply:
    """What came back. `ok`: there is a response, whatever its status. `why`: why there is none."""

    def __init__(self, answer: types.Answer):
        self.at_ms = answer.at_ms
        self.ok = isinstance(answer.reply, Ok)
        if self.ok:
            self.status = answer.reply.value.status
            self.headers = answer.reply.value.headers
            self.body = answer.reply.value.body
        else:
            no = answer.reply.value
            self.not_sent = isinstance(no, types.NoResponse_NotSent)
            self.why = f"{'not sent' if self.not_sent else 'no answer'}: {no.value}"

    def json(self):
        try:
            text = self.body.decode()
            # The parser calls itself once for each level, and the stack in here is small.
            depth = most = 0
            for char in text:
                depth += (char in "[{") - (char in "]}")
                most = max(most, depth)
            if most > DEPTH_MAX:
                raise ValueError("nested too deeply")
            return json.loads(text)
        except ValueError:
            raise protocol(f"status {self.status} with a body that is not JSON") from None


class _Sending:
    def __init__(self, request: Request):
        self.request = request

    def __await__(self):
        return (yield self.request)


class Ctx:
    """What an operation may know; the contract's context with its settings read."""

    def __init__(self, context: types.Context):
        self._context = context
        self._used = 0
        self.settings = json.loads(context.settings)

    def __getattr__(self, name):
        return getattr(self._context, name)

    def send(self, request: Request):
        """Await it: the reply."""
        return _Sending(request)

    def secret(self, name: str) -> str:
        """The handle of a granted secret or an open session."""
        for known, handle in self.secrets:
            if known == name:
                return handle
        raise misconfigured(f'the secret "{name}" is not configured')

    def next_key(self) -> str:
        """The next write's idempotency key."""
        if self._used >= len(self.keys):
            raise fault("Other", "more writes than keys")
        self._used += 1
        return self.keys[self._used - 1]


def sign(key: str, algorithm: str, content_type: str, data: bytes, encoding: str) -> str:
    """The word that stands for a signature over a body; the router puts the signature in its place at the wire."""
    return keys.sign(key, algorithm, content_type, data, keys.Encoding[encoding.upper()])


def verify(key: str, algorithm: str, data: bytes, signature: bytes) -> bool:
    """Whether a signature is the key's over the data."""
    return keys.verify(key, algorithm, data, signature)


def decrypt(key: str, nonce: bytes, associated: bytes, sealed: bytes) -> bytes:
    """What the provider sealed with AES-256-GCM (the tag at the end), opened; it raises where key or message do not fit."""
    return keys.decrypt(key, nonce, associated, sealed)


def note(line: str) -> None:
    """A line in the operation's own log."""
    log.line(log.Level.INFO, line)


def operations(cls):
    """Makes of a class's coroutines the functions that the contract wants."""
    own = importlib.import_module(f"wit_world.exports.{cls.__name__.lower()}")
    for name, function in list(vars(cls).items()):
        if inspect.iscoroutinefunction(function):
            setattr(cls, name, _driven(function, *_cases(cls.__name__, name, own)))
    cls.__abstractmethods__ = frozenset()
    return cls


def _cases(interface: str, function: str, own):
    if interface == "Payments" and function == "status":
        return own.StatusStep_Send, own.StatusStep_Done
    if interface in ("Payments", "Actions"):
        return types.PaymentStep_Send, types.PaymentStep_Done
    if interface in ("Captures", "Refunds", "Reversals"):
        return types.FollowUpStep_Send, types.FollowUpStep_Done
    if interface == "Exchange" and function == "quote":
        return own.QuoteStep_Send, own.QuoteStep_Done
    return own.Step_Send, own.Step_Done


def _driven(function, send, done):
    @functools.wraps(function)
    def step(self, context, *rest):
        *arguments, answers = rest
        Request.made = sent = 0
        try:
            run = function(self, Ctx(context), *arguments)
            reply = None
            while True:
                try:
                    request = run.send(reply)
                except StopIteration as end:
                    if Request.made != sent:
                        raise fault("Other", f"{Request.made - sent} requests were made and not sent") from None
                    return done(end.value)
                sent += 1
                if sent > len(answers):
                    return send(request.it)
                reply = Reply(answers[sent - 1])
        except Err:
            raise
        except Exception as error:
            # A mistake in the adapter: its text and its line become the fault.
            at = error.__traceback__
            while at.tb_next is not None:
                at = at.tb_next
            file = at.tb_frame.f_code.co_filename.rsplit("/", 1)[-1]
            text = f"{type(error).__name__}: {error} at {file}:{at.tb_lineno}"
            raise fault("Other", text[:500]) from None

    return step


def unknown(why: str, reference=None):
    """Nobody knows what became of a write."""
    return types.PaymentOutcome_Unknown(types.Doubt(why, reference, []))


def accepted(reference: str, authorized, captured: bool, network_reference=None, memo=None, extra=()):
    return types.PaymentOutcome_Accepted(types.Accepted(reference, authorized, captured, network_reference, memo, list(extra)))


def waiting(reference=None, action=None, check_after_ms=1_000, progress=None, memo=None):
    return types.PaymentOutcome_Waiting(types.Waiting(reference, action, check_after_ms, progress, memo, []))


def decline(table, code: str, message: str, network_code=None, advice=None):
    """A decline by the provider's code; one that is not in the table nobody may try again."""
    reason, retry = table.get(code, ("generic-decline", types.Retry.NEVER))
    return types.Decline(retry, reason, code, network_code, advice, message or code, [])


def done(reference: str, amount, fee=None, memo=None):
    return types.FollowUpOutcome_Done(types.Done(reference, amount, fee, memo, []))


def dispute(**it):
    """What a payer's bank wants back of a payment, for `extra` of a standing."""
    return ("dispute", json.dumps({name: value for name, value in it.items() if value is not None}, separators=(",", ":")))


AUTHENTICATES_ON_DEMAND = ("authenticates", "on-demand")
"""For a manifest's `extra`: the adapter heeds `must_authenticate`, and only then is asked for it."""


def must_authenticate(request) -> bool:
    """Whether the payer must be authenticated, whatever the issuer would let pass."""
    return ("authenticate", "required") in [tuple(pair) for pair in request.extra]


def authentication(result: str, challenge=None, version=None, eci=None):
    """What came of it, for `extra` of an outcome or a standing: authenticated, attempted, exempted, not_authenticated."""
    told = {"result": result, "challenge": challenge, "version": version, "eci": eci}
    told = {name: value for name, value in told.items() if value is not None}
    return ("authentication", json.dumps(told, separators=(",", ":")))


def major(money) -> str:
    """Major units as decimal text, with as many decimals as the asset has: `10.99`."""
    digits = money.units.rjust(money.exponent + 1, "0")
    return digits if money.exponent == 0 else f"{digits[:-money.exponent]}.{digits[-money.exponent:]}"


def from_major(text, asset: str, exponent: int):
    """An amount from a provider's major units; more decimals than the asset has are refused, unless they are zeros."""
    whole, _, part = str(text).partition(".")
    if not (whole.isdecimal() and (part == "" or part.isdecimal())) or part[exponent:].strip("0"):
        raise protocol(f"{text!r} is no amount of {asset}")
    return types.Money(str(int(whole + part[:exponent].ljust(exponent, "0"))), exponent, asset)


def minor(money) -> int:
    """Minor units as a number."""
    return int(money.units)
