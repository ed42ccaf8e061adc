// NAME: start here. `PROVIDER` is a made-up card API; put your provider's paths, fields and codes in its place.
import {
  Fault, accepted, declined, done, get, invalid, manifest, minor, misconfigured, notFound, operations, post, protocol, unknown, unsupported,
} from "./portolan.js";

const API = "api";

/** Your provider's codes: the router's reason, what may be tried next. A code that is not here is never tried again. */
const DECLINES = {
  51: ["insufficient-funds", "later"],
  54: ["expired-card", "after-correction"],
  91: ["issuer-unavailable", "other-channel"],
};

const at = (place) => [{ endpoint: API, places: [place] }];
const capability = (of) => ({
  of, idempotentForS: 86400, foundByKey: true, notFoundFinalAfterS: null, partial: true, multiple: true, assets: [],
});

export const adapter = manifest(() => ({
  name: "NAME",
  version: "0.1.0",
  summary: "PROVIDER, cards",
  methods: ["card"],
  countries: [],
  capabilities: ["payments" /* can: captures */, "captures" /* end */ /* can: refunds */, "refunds" /* end */].map(capability),
  endpoints: [{
    name: API, purpose: "charges", liveUrl: "https://api.provider.example", testUrl: "https://test.provider.example",
  }],
  harmless: [],
  secrets: [{ name: "api_key", purpose: "every request", at: at({ tag: "header", val: ["authorization", "Bearer "] }) }],
  cardNumber: at({ tag: "json-pointer", val: "/card/number" }),
  cardSecurityCode: at({ tag: "json-pointer", val: "/card/cvc" }),
  keys: [],
  sessions: [],
  keyFormat: "uuid",
  readsMemo: [],
  settingsSchema: '{"type":"object","additionalProperties":false}',
  extra: [],
}));

export const payments = operations({
  *authorize(ctx, request) {
    if (request.instrument.tag !== "card") throw unsupported("only cards");
    const card = request.instrument.val;
    const told = yield* write(ctx, "/charges", {
      amount: minor(request.amount),
      currency: request.amount.asset,
      capture: request.capture,
      card: { number: card.number, cvc: card.securityCode ?? null, month: card.expiryMonth, year: card.expiryYear },
    });
    return told.doubt ? unknown(told.doubt) : outcome(told.body, request.amount);
  },

  /** What became of it: the router asks whenever it does not know. */
  *status(ctx, of) {
    if (of.reference == null && of.keys.length === 0) throw unsupported("a charge is found by its id or its key");
    const path = of.reference != null ? `/charges/${of.reference}` : `/charges?key=${of.keys[0]}`;
    const reply = yield authorized(ctx, get(API, path));
    if (!reply.ok) return { tag: "unknown", val: reply.why };
    if (reply.status === 200) return { tag: "standing", val: standing(reply.json(), of) };
    return reply.status === 404 ? notFound : { tag: "unknown", val: `status ${reply.status}` };
  },
});

// can: captures
export const captures = operations({
  *capture(ctx, of, amount, isFinal) {
    return yield* follow(ctx, `/charges/${chargeOf(of)}/captures`, { amount: minor(amount), final: isFinal }, amount);
  },

  *cancel(ctx, of) {
    return yield* follow(ctx, `/charges/${chargeOf(of)}/void`, {}, amountOf(of));
  },

  /** What became of that one capture or cancel. */
  *status(ctx, of) {
    return yield* found(ctx, of.kind === "capture" ? "captures" : "voids", of);
  },
});

// end
// can: refunds
export const refunds = operations({
  *refund(ctx, of, amount, _reason) {
    return yield* follow(ctx, `/charges/${chargeOf(of)}/refunds`, { amount: minor(amount) }, amount);
  },

  *status(ctx, of) {
    return yield* found(ctx, "refunds", of);
  },
});

// end
// can: captures refunds
function chargeOf(of) {
  const charge = of.parentReference ?? of.reference;
  if (charge == null) throw unsupported("the charge has no id yet");
  return charge;
}

function amountOf(of) {
  if (of.amount == null) throw new Fault("other", "the target has no amount");
  return of.amount;
}

/** Something that follows a charge. */
function* follow(ctx, path, body, asked) {
  const told = yield* write(ctx, path, body);
  return told.doubt ? { tag: "unknown", val: told.doubt } : followOutcome(told.body, asked);
}

/** What became of it. */
function* found(ctx, list, of) {
  if (of.keys.length === 0) throw unsupported("it is found by its key");
  const reply = yield authorized(ctx, get(API, `/${list}?key=${of.keys[0]}`));
  if (!reply.ok) return { tag: "unknown", val: reply.why };
  if (reply.status === 200) return followOutcome(reply.json(), amountOf(of));
  return reply.status === 404 ? notFound : { tag: "unknown", val: `status ${reply.status}` };
}

function followOutcome(made, asked) {
  const status = word(made, "status");
  if (["captured", "voided", "refunded"].includes(status)) {
    return done({ reference: word(made, "id"), amount: money(made, asked) });
  }
  if (status === "declined") return refusal(made);
  return { tag: "unknown", val: `status "${status}" is not in the documents` };
}
// end

const authorized = (ctx, request) => request.bearer(ctx.secret("api_key"));

/** One write with its key: `body`, or `doubt` where nobody knows what it did. */
function* write(ctx, path, body) {
  const reply = yield authorized(ctx, post(API, path).json(body)).header("idempotency-key", ctx.nextKey());
  if (!reply.ok) return { doubt: reply.why };
  if (reply.status === 200 || reply.status === 402) return { body: reply.json() };
  if (reply.status === 400) throw invalid("request", word(reply.json(), "message"));
  if (reply.status === 401) throw misconfigured("the API key is refused");
  return { doubt: `status ${reply.status}` };
}

function word(value, name) {
  const found = value?.[name];
  if (typeof found !== "string") throw protocol(`the reply has no text "${name}"`);
  return found;
}

/** What the provider says was moved, in its own words: the router compares. */
function money(value, like) {
  const units = value?.amount;
  if (!Number.isSafeInteger(units) || units < 0) throw protocol('the reply has no whole number "amount"');
  return { units: String(units), exponent: like.exponent, asset: word(value, "currency") };
}

const refusal = (reply) => declined(DECLINES, reply.code ?? "", reply.message ?? "");

function outcome(charge, asked) {
  const status = word(charge, "status");
  if (status === "authorized" || status === "captured") {
    return accepted({ reference: word(charge, "id"), authorized: money(charge, asked), captured: status === "captured" });
  }
  return status === "declined" ? refusal(charge) : unknown(`status "${status}" is not in the documents`);
}

function standing(charge, of) {
  if (of.amount == null) throw new Fault("other", "the target has no amount");
  const status = word(charge, "status");
  const amount = money(charge, of.amount);
  const state = { authorized: "authorized", captured: "captured", voided: "canceled", declined: "failed" }[status];
  if (state === undefined) throw protocol(`status "${status}" is not in the documents`);
  return {
    reference: word(charge, "id"),
    state,
    authorized: amount,
    captured: status === "captured" ? amount : null,
    refunded: null,
    received: null,
    fee: null,
    declined: status === "declined" ? refusal(charge).val : null,
    progress: null,
    checkAfterMs: 5000,
    memo: null,
    extra: [],
  };
}
