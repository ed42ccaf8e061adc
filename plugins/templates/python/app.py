"""NAME: start here. `PROVIDER` is a made-up card API; put your provider's paths, fields and codes in its place."""

from portolan import (
    accepted, decline, done, fault, get, invalid, minor, misconfigured, operations, post, protocol, unknown, unsupported,
)
from wit_world import exports
from wit_world.exports import adapter, payments
from wit_world.imports import types
from wit_world.imports.types import Retry

API = "api"

# Your provider's codes: the router's reason, what may be tried next. A code that is not here is never tried again.
DECLINES = {
    "51": ("insufficient-funds", Retry.LATER),
    "54": ("expired-card", Retry.AFTER_CORRECTION),
    "91": ("issuer-unavailable", Retry.OTHER_CHANNEL),
}


def at(place):
    return [adapter.PlaceAsk(API, [place])]


class Adapter(exports.Adapter):
    def describe(self):
        capabilities = [
            "payments",
            # can: captures
            "captures",
            # end
            # can: refunds
            "refunds",
            # end
        ]
        return adapter.Manifest(
            name="NAME",
            version="0.1.0",
            summary="PROVIDER, cards",
            methods=["card"],
            countries=[],
            capabilities=[adapter.Capability(of, 86_400, True, None, True, True, []) for of in capabilities],
            endpoints=[
                adapter.EndpointAsk(API, "charges", "https://api.provider.example", "https://test.provider.example")
            ],
            harmless=[],
            secrets=[
                adapter.SecretAsk("api_key", "every request", at(adapter.Place_Header(("authorization", "Bearer "))))
            ],
            card_number=at(adapter.Place_JsonPointer("/card/number")),
            card_security_code=at(adapter.Place_JsonPointer("/card/cvc")),
            keys=[],
            sessions=[],
            key_format="uuid",
            reads_memo=[],
            settings_schema='{"type":"object","additionalProperties":false}',
            extra=[],
        )


@operations
class Payments(exports.Payments):
    async def authorize(self, ctx, request):
        if not isinstance(request.instrument, types.Instrument_Card):
            raise unsupported("only cards")
        card = request.instrument.value
        body = {
            "amount": minor(request.amount),
            "currency": request.amount.asset,
            "capture": request.capture,
            "card": {
                "number": card.number, "cvc": card.security_code, "month": card.expiry_month, "year": card.expiry_year,
            },
        }
        charge, doubt = await write(ctx, "/charges", body)
        return unknown(doubt) if doubt else outcome(charge, request.amount)

    async def status(self, ctx, of):
        """What became of it: the router asks whenever it does not know."""
        if of.reference is None and not of.keys:
            raise unsupported("a charge is found by its id or its key")
        path = f"/charges/{of.reference}" if of.reference is not None else f"/charges?key={of.keys[0]}"
        reply = await ctx.send(authorized(ctx, get(API, path)))
        if not reply.ok:
            return payments.Finding_Unknown(reply.why)
        if reply.status == 200:
            return payments.Finding_Standing(standing(reply.json(), of))
        return payments.Finding_NotFound() if reply.status == 404 else payments.Finding_Unknown(f"status {reply.status}")


# can: captures
@operations
class Captures(exports.Captures):
    async def capture(self, ctx, of, amount, is_final):
        body = {"amount": minor(amount), "final": is_final}
        return await follow(ctx, f"/charges/{charge_of(of)}/captures", body, amount)

    async def cancel(self, ctx, of):
        return await follow(ctx, f"/charges/{charge_of(of)}/void", {}, amount_of(of))

    async def status(self, ctx, of):
        """What became of that one capture or cancel."""
        return await found(ctx, "captures" if of.kind == "capture" else "voids", of)


# end
# can: refunds
@operations
class Refunds(exports.Refunds):
    async def refund(self, ctx, of, amount, reason):
        return await follow(ctx, f"/charges/{charge_of(of)}/refunds", {"amount": minor(amount)}, amount)

    async def status(self, ctx, of):
        return await found(ctx, "refunds", of)


# end
# can: captures refunds
def charge_of(of):
    charge = of.parent_reference if of.parent_reference is not None else of.reference
    if charge is None:
        raise unsupported("the charge has no id yet")
    return charge


def amount_of(of):
    if of.amount is None:
        raise fault("Other", "the target has no amount")
    return of.amount


async def follow(ctx, path, body, asked):
    """Something that follows a charge."""
    made, doubt = await write(ctx, path, body)
    return types.FollowUpOutcome_Unknown(doubt) if doubt else follow_outcome(made, asked)


async def found(ctx, what, of):
    """What became of it."""
    if not of.keys:
        raise unsupported("it is found by its key")
    reply = await ctx.send(authorized(ctx, get(API, f"/{what}?key={of.keys[0]}")))
    if not reply.ok:
        return types.FollowUpOutcome_Unknown(reply.why)
    if reply.status == 200:
        return follow_outcome(reply.json(), amount_of(of))
    if reply.status == 404:
        return types.FollowUpOutcome_NotFound()
    return types.FollowUpOutcome_Unknown(f"status {reply.status}")


def follow_outcome(made, asked):
    match word(made, "status"):
        case "captured" | "voided" | "refunded":
            return done(word(made, "id"), money(made, asked))
        case "declined":
            return types.FollowUpOutcome_Declined(refusal(made))
        case other:
            return types.FollowUpOutcome_Unknown(f'status "{other}" is not in the documents')


# end


def authorized(ctx, request):
    return request.bearer(ctx.secret("api_key"))


async def write(ctx, path, body):
    """One write with its key: the reply's body, or why nobody knows what it did."""
    request = authorized(ctx, post(API, path).json(body)).header("idempotency-key", ctx.next_key())
    reply = await ctx.send(request)
    if not reply.ok:
        return None, reply.why
    if reply.status in (200, 402):
        return reply.json(), None
    if reply.status == 400:
        raise invalid("request", word(reply.json(), "message"))
    if reply.status == 401:
        raise misconfigured("the API key is refused")
    return None, f"status {reply.status}"


def field(value, name):
    return value.get(name) if isinstance(value, dict) else None


def word(value, name):
    found = field(value, name)
    if not isinstance(found, str):
        raise protocol(f'the reply has no text "{name}"')
    return found


def money(value, like):
    """What the provider says was moved, in its own words: the router compares."""
    units = field(value, "amount")
    if type(units) is not int or units < 0:
        raise protocol('the reply has no whole number "amount"')
    return types.Money(str(units), like.exponent, word(value, "currency"))


def refusal(reply):
    return decline(DECLINES, field(reply, "code") or "", field(reply, "message") or "")


def outcome(charge, asked):
    status = word(charge, "status")
    if status in ("authorized", "captured"):
        return accepted(word(charge, "id"), money(charge, asked), status == "captured")
    if status == "declined":
        return types.PaymentOutcome_Declined(refusal(charge))
    return unknown(f'status "{status}" is not in the documents')


STATES = {
    "authorized": payments.State.AUTHORIZED,
    "captured": payments.State.CAPTURED,
    "voided": payments.State.CANCELED,
    "declined": payments.State.FAILED,
}


def standing(charge, of):
    if of.amount is None:
        raise fault("Other", "the target has no amount")
    status = word(charge, "status")
    amount = money(charge, of.amount)
    if status not in STATES:
        raise protocol(f'status "{status}" is not in the documents')
    return payments.Standing(
        reference=word(charge, "id"),
        state=STATES[status],
        authorized=amount,
        captured=amount if status == "captured" else None,
        refunded=None,
        received=None,
        fee=None,
        declined=refusal(charge) if status == "declined" else None,
        progress=None,
        check_after_ms=5_000,
        memo=None,
        extra=[],
    )
