// The plain card acquirer of `examples/acquirer` in JavaScript: the same adapter as `plugins/sandbox`, held to the same vectors.
import {
  Fault, accepted, authenticatesOnDemand, authentication, declined, dispute, done, get, invalid, manifest, minor, misconfigured,
  mustAuthenticate, notFound, operations, post, protocol, sign, staleSession, unknown, unsupported, waiting,
} from "./portolan.js";

const ACQUIRER = "acquirer";

/** Code: the router's reason, what it allows next. */
const DECLINES = {
  "05": ["do-not-honor", "other-channel"],
  14: ["invalid-card-number", "never"],
  41: ["lost-card", "never"],
  43: ["stolen-card", "never"],
  51: ["insufficient-funds", "later"],
  54: ["expired-card", "after-correction"],
  61: ["limit-exceeded", "later"],
  82: ["incorrect-security-code", "after-correction"],
  91: ["issuer-unavailable", "other-channel"],
  "1A": ["authentication-required", "after-authentication"],
  "3D": ["authentication-failed", "after-authentication"],
  R1: ["exceeds-captured", "never"],
  R2: ["wrong-state", "never"],
};

const at = (place) => [{ endpoint: ACQUIRER, places: [place] }];
const json = (pointer) => ({ tag: "json-pointer", val: pointer });
const capability = (of) => ({
  of, idempotentForS: 86400, foundByKey: true, notFoundFinalAfterS: 5, partial: true, multiple: true, assets: [],
});
const key = (name) => ({ name, algorithm: "hmac-sha256", purpose: `${name}, whole bodies`, lane: false });

export const adapter = manifest(() => ({
  name: "dev.portolan.sandbox",
  version: "0.1.0",
  summary: "A plain card acquirer, in JavaScript",
  methods: ["card"],
  countries: [],
  capabilities: ["payments", "captures", "refunds", "reversals"].map(capability),
  endpoints: [{
    name: ACQUIRER,
    purpose: "charges and everything about them",
    liveUrl: "https://api.acquirer.example",
    testUrl: "http://127.0.0.1:4100",
  }],
  harmless: [{ endpoint: ACQUIRER, method: "POST", path: "/v1/sessions", without: [], prepare: true }],
  secrets: [
    { name: "client_secret", purpose: "opens a session", at: at(json("/client_secret")) },
    { name: "session:acquirer", purpose: "the session's token", at: at({ tag: "header", val: ["authorization", "Bearer "] }) },
  ],
  cardNumber: at(json("/card/number")),
  cardSecurityCode: at(json("/card/security_code")),
  keys: ["signing", "notify"].map(key),
  sessions: [ACQUIRER],
  keyFormat: "uuid",
  readsMemo: [],
  settingsSchema: '{"type":"object","properties":{"timeout_ms":{"type":"integer"}},"additionalProperties":false}',
  extra: [authenticatesOnDemand],
}));

export const sessions = operations({
  *start(ctx, _name) {
    const reply = yield post(ACQUIRER, "/v1/sessions").json({ client_secret: ctx.secret("client_secret") }).prepares();
    if (!reply.ok) throw new Fault("other", `no session: ${reply.why}`);
    if (reply.status !== 200) throw misconfigured(`the acquirer refuses the client secret with ${reply.status}`);
    return { token: json("/access_token"), livesS: reply.json().expires_in ?? 60 };
  },
});

export const payments = operations({
  *authorize(ctx, request) {
    if (request.instrument.tag !== "card") throw unsupported("only cards");
    const card = request.instrument.val;
    const body = {
      reference: request.payment,
      amount: minor(request.amount),
      currency: request.amount.asset,
      capture: request.capture,
      card: { number: card.number, expiry_month: card.expiryMonth, expiry_year: card.expiryYear },
      return_url: ctx.returnUrl,
      notify_url: ctx.notifyUrl,
    };
    if (card.securityCode != null) body.card.security_code = card.securityCode;
    if (mustAuthenticate(request)) body.three_d_secure = "required";
    const told = yield* write(ctx, "/v1/charges", body);
    return told.unknown ? unknown(told.unknown) : chargeOutcome(told.body, request.amount);
  },

  *status(ctx, of) {
    const path = of.reference != null ? `/v1/charges/${of.reference}` : `/v1/charges?key=${of.keys[0]}`;
    const reply = yield signed(ctx, get(ACQUIRER, path));
    if (!reply.ok) return { tag: "unknown", val: reply.why };
    if (reply.status === 200) return { tag: "standing", val: standing(reply.json(), amountOf(of)) };
    if (reply.status === 401) throw staleSession(ACQUIRER);
    return reply.status === 404 ? notFound : { tag: "unknown", val: `status ${reply.status}` };
  },
});

export const actions = operations({
  *resume(ctx, original, of, returned) {
    const result = returned.find(([name]) => name === "result")?.[1] ?? "";
    const told = yield* write(ctx, `/v1/charges/${reference(of)}/complete`, { result });
    return told.unknown ? unknown(told.unknown) : chargeOutcome(told.body, original.amount);
  },
});

export const captures = operations({
  *capture(ctx, of, amount, isFinal) {
    return yield* followUp(ctx, `/v1/charges/${reference(of)}/captures`, { amount: minor(amount), final: isFinal }, amount);
  },
  *cancel(ctx, of) {
    return yield* followUp(ctx, `/v1/charges/${reference(of)}/void`, {}, amountOf(of));
  },
  status: operationStatus,
});

export const refunds = operations({
  *refund(ctx, of, amount, reason) {
    return yield* followUp(ctx, `/v1/charges/${reference(of)}/refunds`, { amount: minor(amount), reason: reason ?? null }, amount);
  },
  status: operationStatus,
});

export const reversals = operations({
  *reverse(ctx, of) {
    return yield* followUp(ctx, "/v1/reversals", { charge_key: of.keys[0] ?? null }, amountOf(of));
  },
  status: operationStatus,
});

function reference(of) {
  const found = of.parentReference ?? of.reference;
  if (found == null) throw unsupported("the charge has no reference yet");
  return found;
}

function amountOf(of) {
  if (of.amount == null) throw new Fault("other", "the target has no amount");
  return of.amount;
}

function signed(ctx, request) {
  const session = ctx.secret("session:acquirer");
  const signature = sign("signing", "hmac-sha256", "application/json", request.body, "hex");
  return request.bearer(session).header("x-signature", signature).timeout(ctx.settings.timeout_ms ?? 20000);
}

/** One write with its idempotency key: `body`, or `unknown` where nobody knows what it did. */
function* write(ctx, path, body) {
  const request = signed(ctx, post(ACQUIRER, path).json(body)).header("idempotency-key", ctx.nextKey());
  const reply = yield request;
  if (!reply.ok) return { unknown: reply.why };
  switch (reply.status) {
    case 200:
    case 201:
    case 402:
      return { body: reply.json() };
    case 401:
      throw staleSession(ACQUIRER);
    case 400:
    case 422: {
      const problem = reply.json();
      throw invalid(problem.field ?? "?", problem.message ?? "?");
    }
    default:
      return { unknown: `status ${reply.status}` };
  }
}

function word(value, name) {
  const found = value?.[name];
  if (typeof found !== "string") throw protocol(`the reply has no text "${name}"`);
  return found;
}

function money(value, name, like) {
  const units = value?.[name];
  if (!Number.isSafeInteger(units) || units < 0) throw protocol(`the reply has no whole number "${name}"`);
  return { units: String(units), exponent: like.exponent, asset: word(value, "currency") };
}

function refusal(reply) {
  const { code = "", message = "declined", network_code, advice } = reply.decline ?? {};
  return declined(DECLINES, code, message, { networkCode: network_code ?? null, advice: advice ?? null });
}

function chargeOutcome(charge, asked) {
  const reference = word(charge, "id");
  const status = word(charge, "status");
  switch (status) {
    case "authorized":
    case "captured":
      return accepted({
        reference,
        authorized: money(charge, "amount", asked),
        captured: status === "captured",
        networkReference: typeof charge.network_reference === "string" ? charge.network_reference : null,
        extra: authenticated(charge),
      });
    case "declined":
      return refusal(charge);
    case "action_required":
      return waiting({ reference, action: { tag: "redirect", val: word(charge, "redirect_url") }, checkAfterMs: 30000 });
    case "processing":
      return waiting({ reference, progress: "processing" });
    default:
      return unknown(`status "${status}" is not in the acquirer's documents`);
  }
}

const STATES = {
  authorized: "authorized", captured: "captured", declined: "failed", action_required: "waiting", processing: "waiting",
  voided: "canceled", expired: "expired", reversed: "reversed",
};

function standing(charge, amount) {
  const status = word(charge, "status");
  const state = STATES[status];
  if (state === undefined) throw protocol(`charge status "${status}"`);
  return {
    reference: word(charge, "id"),
    state,
    authorized: money(charge, "amount", amount),
    captured: money(charge, "captured", amount),
    refunded: money(charge, "refunded", amount),
    received: null,
    fee: null,
    declined: status === "declined" ? refusal(charge).val : null,
    progress: status,
    checkAfterMs: 1000,
    memo: null,
    extra: [...(charge.disputes ?? []).map(disputed), ...authenticated(charge)],
  };
}

const RESULTS = { Y: "authenticated", A: "attempted", I: "exempted" };

/** What became of the payer's authentication. */
function authenticated(charge) {
  const told = charge.authentication;
  if (told == null) return [];
  const { challenge, version, eci } = told;
  return [authentication({ result: RESULTS[told.result] ?? "not_authenticated", challenge, version, eci })];
}

/** What a payer's bank wants back of a charge. */
function disputed(it) {
  const state = word(it, "status");
  if (!["inquiry", "needs_response", "under_review", "won", "lost"].includes(state)) throw protocol(`dispute status "${state}"`);
  return dispute({
    reference: word(it, "id"),
    state,
    units: String(minor({ units: it.amount })),
    reason: word(it, "reason"),
    network_code: it.network_code ?? null,
    due_ms: it.due_ms ?? null,
  });
}

function* followUp(ctx, path, body, asked) {
  const told = yield* write(ctx, path, body);
  return told.unknown ? { tag: "unknown", val: told.unknown } : operationOutcome(told.body, asked);
}

function operationOutcome(operation, asked) {
  const status = word(operation, "status");
  switch (status) {
    case "done":
      return done({ reference: word(operation, "id"), amount: money(operation, "amount", asked) });
    case "pending":
      return { tag: "waiting", val: 1000 };
    case "refused":
      return refusal(operation);
    default:
      return { tag: "unknown", val: `status "${status}" is not in the acquirer's documents` };
  }
}

function* operationStatus(ctx, of) {
  if (of.keys.length === 0) throw unsupported("an operation is found by its key");
  const reply = yield signed(ctx, get(ACQUIRER, `/v1/operations?key=${of.keys[0]}`));
  if (!reply.ok) return { tag: "unknown", val: reply.why };
  if (reply.status === 200) return operationOutcome(reply.json(), amountOf(of));
  if (reply.status === 401) throw staleSession(ACQUIRER);
  return reply.status === 404 ? notFound : { tag: "unknown", val: `status ${reply.status}` };
}
