"""The plain card acquirer of `examples/acquirer` in Python: the same adapter as `plugins/sandbox`, held to the same vectors."""

from portolan import (
    AUTHENTICATES_ON_DEMAND, accepted, authentication, decline, dispute, done, fault, get, invalid, minor, misconfigured,
    must_authenticate, operations, post, protocol, sign, stale_session, unknown, unsupported, waiting,
)
from wit_world import exports
from wit_world.exports import adapter, payments, sessions
from wit_world.imports import types
from wit_world.imports.types import Retry

ACQUIRER = "acquirer"

# Code: the router's reason, what it allows next.
DECLINES = {
    "05": ("do-not-honor", Retry.OTHER_CHANNEL),
    "14": ("invalid-card-number", Retry.NEVER),
    "41": ("lost-card", Retry.NEVER),
    "43": ("stolen-card", Retry.NEVER),
    "51": ("insufficient-funds", Retry.LATER),
    "54": ("expired-card", Retry.AFTER_CORRECTION),
    "61": ("limit-exceeded", Retry.LATER),
    "82": ("incorrect-security-code", Retry.AFTER_CORRECTION),
    "91": ("issuer-unavailable", Retry.OTHER_CHANNEL),
    "1A": ("authentication-required", Retry.AFTER_AUTHENTICATION),
    "3D": ("authentication-failed", Retry.AFTER_AUTHENTICATION),
    "R1": ("exceeds-captured", Retry.NEVER),
    "R2": ("wrong-state", Retry.NEVER),
}


def at(place):
    return [adapter.PlaceAsk(ACQUIRER, [place])]


class Adapter(exports.Adapter):
    def describe(self):
        capability = lambda of: adapter.Capability(of, 86_400, True, 5, True, True, [])
        key = lambda name: adapter.KeyAsk(name, "hmac-sha256", f"{name}, whole bodies", False)
        return adapter.Manifest(
            name="dev.portolan.sandbox",
            version="0.1.0",
            summary="A plain card acquirer, in Python",
            methods=["card"],
            countries=[],
            capabilities=[capability(of) for of in ("payments", "captures", "refunds", "reversals")],
            endpoints=[
                adapter.EndpointAsk(
                    ACQUIRER, "charges and everything about them", "https://api.acquirer.example", "http://127.0.0.1:4100"
                )
            ],
            harmless=[adapter.HarmlessAsk(ACQUIRER, "POST", "/v1/sessions", [], True)],
            secrets=[
                adapter.SecretAsk("client_secret", "opens a session", at(adapter.Place_JsonPointer("/client_secret"))),
                adapter.SecretAsk(
                    "session:acquirer", "the session's token", at(adapter.Place_Header(("authorization", "Bearer ")))
                ),
            ],
            card_number=at(adapter.Place_JsonPointer("/card/number")),
            card_security_code=at(adapter.Place_JsonPointer("/card/security_code")),
            keys=[key("signing"), key("notify")],
            sessions=[ACQUIRER],
            key_format="uuid",
            reads_memo=[],
            settings_schema='{"type":"object","properties":{"timeout_ms":{"type":"integer"}},"additionalProperties":false}',
            extra=[AUTHENTICATES_ON_DEMAND],
        )


@operations
class Sessions(exports.Sessions):
    async def start(self, ctx, name):
        request = post(ACQUIRER, "/v1/sessions").json({"client_secret": ctx.secret("client_secret")}).prepares()
        reply = await ctx.send(request)
        if not reply.ok:
            raise fault("Other", f"no session: {reply.why}")
        if reply.status != 200:
            raise misconfigured(f"the acquirer refuses the client secret with {reply.status}")
        lives_s = field(reply.json(), "expires_in")
        return sessions.Opened(sessions.TokenAt_JsonPointer("/access_token"), 60 if lives_s is None else lives_s)


@operations
class Payments(exports.Payments):
    async def authorize(self, ctx, request):
        if not isinstance(request.instrument, types.Instrument_Card):
            raise unsupported("only cards")
        card = request.instrument.value
        body = {
            "reference": request.payment,
            "amount": minor(request.amount),
            "currency": request.amount.asset,
            "capture": request.capture,
            "card": {"number": card.number, "expiry_month": card.expiry_month, "expiry_year": card.expiry_year},
            "return_url": ctx.return_url,
            "notify_url": ctx.notify_url,
        }
        if card.security_code is not None:
            body["card"]["security_code"] = card.security_code
        if must_authenticate(request):
            body["three_d_secure"] = "required"
        charge, doubt = await write(ctx, "/v1/charges", body)
        return unknown(doubt) if doubt else charge_outcome(charge, request.amount)

    async def status(self, ctx, of):
        path = f"/v1/charges/{of.reference}" if of.reference is not None else f"/v1/charges?key={of.keys[0]}"
        reply = await ctx.send(signed(ctx, get(ACQUIRER, path)))
        if not reply.ok:
            return payments.Finding_Unknown(reply.why)
        if reply.status == 200:
            return payments.Finding_Standing(standing(reply.json(), amount_of(of)))
        if reply.status == 401:
            raise stale_session(ACQUIRER)
        return payments.Finding_NotFound() if reply.status == 404 else payments.Finding_Unknown(f"status {reply.status}")


@operations
class Actions(exports.Actions):
    async def resume(self, ctx, original, of, returned):
        result = dict(returned).get("result", "")
        charge, doubt = await write(ctx, f"/v1/charges/{reference(of)}/complete", {"result": result})
        return unknown(doubt) if doubt else charge_outcome(charge, original.amount)


@operations
class Captures(exports.Captures):
    async def capture(self, ctx, of, amount, is_final):
        body = {"amount": minor(amount), "final": is_final}
        return await follow_up(ctx, f"/v1/charges/{reference(of)}/captures", body, amount)

    async def cancel(self, ctx, of):
        return await follow_up(ctx, f"/v1/charges/{reference(of)}/void", {}, amount_of(of))

    async def status(self, ctx, of):
        return await operation_status(ctx, of)


@operations
class Refunds(exports.Refunds):
    async def refund(self, ctx, of, amount, reason):
        body = {"amount": minor(amount), "reason": reason}
        return await follow_up(ctx, f"/v1/charges/{reference(of)}/refunds", body, amount)

    async def status(self, ctx, of):
        return await operation_status(ctx, of)


@operations
class Reversals(exports.Reversals):
    async def reverse(self, ctx, of):
        body = {"charge_key": of.keys[0] if of.keys else None}
        return await follow_up(ctx, "/v1/reversals", body, amount_of(of))

    async def status(self, ctx, of):
        return await operation_status(ctx, of)


def reference(of):
    found = of.parent_reference if of.parent_reference is not None else of.reference
    if found is None:
        raise unsupported("the charge has no reference yet")
    return found


def amount_of(of):
    if of.amount is None:
        raise fault("Other", "the target has no amount")
    return of.amount


def signed(ctx, request):
    session = ctx.secret("session:acquirer")
    signature = sign("signing", "hmac-sha256", "application/json", request.body, "hex")
    timeout = ctx.settings.get("timeout_ms", 20_000)
    return request.bearer(session).header("x-signature", signature).timeout(timeout)


async def write(ctx, path, body):
    """One write with its idempotency key: the reply's body, or why nobody knows what it did."""
    request = signed(ctx, post(ACQUIRER, path).json(body)).header("idempotency-key", ctx.next_key())
    reply = await ctx.send(request)
    if not reply.ok:
        return None, reply.why
    if reply.status in (200, 201, 402):
        return reply.json(), None
    if reply.status == 401:
        raise stale_session(ACQUIRER)
    if reply.status in (400, 422):
        problem = reply.json()
        raise invalid(problem.get("field", "?"), problem.get("message", "?"))
    return None, f"status {reply.status}"


def field(value, name):
    return value.get(name) if isinstance(value, dict) else None


def word(value, name):
    found = field(value, name)
    if not isinstance(found, str):
        raise protocol(f'the reply has no text "{name}"')
    return found


def money(value, name, like):
    units = field(value, name)
    if type(units) is not int or units < 0:
        raise protocol(f'the reply has no whole number "{name}"')
    return types.Money(str(units), like.exponent, word(value, "currency"))


def refusal(reply):
    told = field(reply, "decline") or {}
    return decline(
        DECLINES, told.get("code", ""), told.get("message", "declined"), told.get("network_code"), told.get("advice")
    )


def charge_outcome(charge, asked):
    identity, status = word(charge, "id"), word(charge, "status")
    match status:
        case "authorized" | "captured":
            network = field(charge, "network_reference")
            return accepted(identity, money(charge, "amount", asked), status == "captured", network, extra=authenticated(charge))
        case "declined":
            return types.PaymentOutcome_Declined(refusal(charge))
        case "action_required":
            return waiting(identity, types.Action_Redirect(word(charge, "redirect_url")), 30_000)
        case "processing":
            return waiting(identity, progress="processing")
        case _:
            return unknown(f'status "{status}" is not in the acquirer\'s documents')


STATES = {
    "authorized": payments.State.AUTHORIZED,
    "captured": payments.State.CAPTURED,
    "declined": payments.State.FAILED,
    "action_required": payments.State.WAITING,
    "processing": payments.State.WAITING,
    "voided": payments.State.CANCELED,
    "expired": payments.State.EXPIRED,
    "reversed": payments.State.REVERSED,
}


def standing(charge, amount):
    status = word(charge, "status")
    if status not in STATES:
        raise protocol(f'charge status "{status}"')
    return payments.Standing(
        reference=word(charge, "id"),
        state=STATES[status],
        authorized=money(charge, "amount", amount),
        captured=money(charge, "captured", amount),
        refunded=money(charge, "refunded", amount),
        received=None,
        fee=None,
        declined=refusal(charge) if status == "declined" else None,
        progress=status,
        check_after_ms=1_000,
        memo=None,
        extra=[disputed(it) for it in field(charge, "disputes") or []] + authenticated(charge),
    )


RESULTS = {"Y": "authenticated", "A": "attempted", "I": "exempted"}


def authenticated(charge):
    """What became of the payer's authentication."""
    told = charge.get("authentication")
    if told is None:
        return []
    result = RESULTS.get(told.get("result"), "not_authenticated")
    return [authentication(result, told.get("challenge"), told.get("version"), told.get("eci"))]


def disputed(it):
    """What a payer's bank wants back of a charge."""
    state = word(it, "status")
    if state not in ("inquiry", "needs_response", "under_review", "won", "lost"):
        raise protocol(f'dispute status "{state}"')
    return dispute(
        reference=word(it, "id"),
        state=state,
        units=str(it["amount"]),
        reason=word(it, "reason"),
        network_code=it.get("network_code"),
        due_ms=it.get("due_ms"),
    )


async def follow_up(ctx, path, body, asked):
    operation, doubt = await write(ctx, path, body)
    return types.FollowUpOutcome_Unknown(doubt) if doubt else operation_outcome(operation, asked)


def operation_outcome(operation, asked):
    match word(operation, "status"):
        case "done":
            return done(word(operation, "id"), money(operation, "amount", asked))
        case "pending":
            return types.FollowUpOutcome_Waiting(1_000)
        case "refused":
            return types.FollowUpOutcome_Declined(refusal(operation))
        case other:
            return types.FollowUpOutcome_Unknown(f'status "{other}" is not in the acquirer\'s documents')


async def operation_status(ctx, of):
    if not of.keys:
        raise unsupported("an operation is found by its key")
    reply = await ctx.send(signed(ctx, get(ACQUIRER, f"/v1/operations?key={of.keys[0]}")))
    if not reply.ok:
        return types.FollowUpOutcome_Unknown(reply.why)
    if reply.status == 200:
        return operation_outcome(reply.json(), amount_of(of))
    if reply.status == 401:
        raise stale_session(ACQUIRER)
    return types.FollowUpOutcome_NotFound() if reply.status == 404 else types.FollowUpOutcome_Unknown(f"status {reply.status}")
