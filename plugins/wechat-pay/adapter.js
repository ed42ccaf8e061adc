// WeChat Pay, API v3: Native payments. The payer scans a code; what became of it says the order's query, or a notification that
// only the merchant's key opens. README.md says what it was built from and what it was checked against.
import {
  Fault, bytes, declined, decrypt, done, fromBase64, get, invalid, manifest, minor, misconfigured, notFound, operations, post,
  protocol, sign, text, unknown, unsupported, verify, waiting,
} from "./portolan.js";

const API = "api";
const ORDERS = "/v3/pay/transactions";
const REFUNDS = "/v3/refund/domestic/refunds";
/** How long an answer's own time may be from when it came: the provider's documents say five minutes. */
const SKEW_S = 300;
const LOOK_AGAIN_MS = 2000;

/** Code: the router's reason, what it allows next. */
const DECLINES = {
  NOTENOUGH: ["insufficient-funds", "later"],
  NOT_ENOUGH: ["insufficient-prefund", "later"],
  USER_ACCOUNT_ABNORMAL: ["payer-blocked", "never"],
  TRADE_ERROR: ["do-not-honor", "never"],
  ORDERPAID: ["wrong-state", "never"],
  ORDER_CLOSED: ["order-closed", "after-correction"],
  RULE_LIMIT: ["limit-exceeded", "other-channel"],
  RULELIMIT: ["limit-exceeded", "other-channel"],
  CLOSED: ["refund-closed", "never"],
};
/** Codes that speak of the router's own set-up. */
const SETUP = ["SIGN_ERROR", "NO_AUTH", "NOAUTH", "APPID_MCHID_NOT_MATCH", "MCH_NOT_EXISTS", "MCHID_NOT_EXIST", "ACCOUNT_ERROR", "ACCOUNTERROR"];
/** Codes of which nobody knows what they leave: the order or the refund may be there, or paid. */
const OPEN = ["INVALID_REQUEST", "OUT_TRADE_NO_USED", "FREQUENCY_LIMITED", "FREQUENCY_LIMIT_EXCEED", "SYSTEM_ERROR", "SYSTEMERROR", "BANKERROR", "BANK_ERROR"];

const capability = (of) => ({
  // A request sent again is the same to the letter, and its time may be five minutes old.
  of, idempotentForS: 240, foundByKey: true, notFoundFinalAfterS: 60, partial: true, multiple: true,
  assets: [{ asset: "CNY", exponent: 2, step: "1", min: "1", max: "9999999999" }],
});
const key = (name, algorithm, purpose) => ({ name, algorithm, purpose, lane: false });

export const adapter = manifest(() => ({
  name: "dev.portolan.wechat-pay",
  version: "0.1.0",
  summary: "WeChat Pay (API v3): Native payments by QR code",
  methods: ["wallet:wechat-pay"],
  countries: [],
  // `captures` is not among them: it is exported for its cancel alone, a wallet's money is taken at once.
  capabilities: ["payments", "refunds", "reversals"].map(capability),
  endpoints: [{
    name: API,
    purpose: "orders, refunds and what became of them",
    liveUrl: "https://api.mch.weixin.qq.com",
    testUrl: "https://api.mch.weixin.qq.com",
  }],
  harmless: [],
  secrets: [],
  cardNumber: [],
  cardSecurityCode: [],
  keys: [
    key("signing", "rsa-pkcs1-sha256", "the merchant's private key: signs every request"),
    key("provider", "rsa-pkcs1-sha256", "WeChat Pay's public key: proves its answers and notifications"),
    key("api_v3", "aes-256-gcm", "the APIv3 key, 32 characters: opens what notifications hold"),
  ],
  sessions: [],
  keyFormat: "uuid",
  readsMemo: [],
  settingsSchema: JSON.stringify({
    type: "object",
    properties: {
      appid: { type: "string" }, mchid: { type: "string" }, serial_no: { type: "string" }, provider_serial: { type: "string" },
      timeout_ms: { type: "integer" },
    },
    required: ["appid", "mchid", "serial_no"],
    additionalProperties: false,
  }),
  extra: [],
}));

export const payments = operations({
  *authorize(ctx, request) {
    if (request.instrument.tag !== "wallet") throw unsupported("only WeChat Pay");
    const order = number(ctx.nextKey());
    const told = yield* call(ctx, post(API, `${ORDERS}/native`), {
      appid: setting(ctx, "appid"),
      mchid: setting(ctx, "mchid"),
      description: shortened(request.description || request.payment),
      out_trade_no: order,
      notify_url: ctx.notifyUrl,
      amount: { total: minor(request.amount), currency: request.amount.asset },
    });
    if (told.why !== undefined) return unknown(told.why, order);
    if (told.code === "ORDERPAID") return unknown("an order of this number is paid", order);
    if (told.code !== undefined) return OPEN.includes(told.code) ? unknown(told.code, order) : refusal(told);
    const code = word(told.body, "code_url");
    return waiting({ reference: order, action: { tag: "qr", val: code }, checkAfterMs: LOOK_AGAIN_MS, progress: "NOTPAY" });
  },

  *status(ctx, of) {
    const told = yield* call(ctx, get(API, orderPath(ctx, of)));
    if (told.why !== undefined) return { tag: "unknown", val: told.why };
    if (told.code !== undefined) return isMissing(told) ? notFound : { tag: "unknown", val: told.code };
    return { tag: "standing", val: standing(ctx, told.body, of) };
  },
});

export const captures = operations({
  *capture() {
    throw unsupported("a wallet's money is taken at once");
  },
  cancel: close,
  status: closed,
});

export const reversals = operations({ reverse: close, status: closed });

export const refunds = operations({
  *refund(ctx, of, amount, reason) {
    // The provider wants the order's own total beside what is given back.
    const order = yield* call(ctx, get(API, orderPath(ctx, of)));
    if (order.why !== undefined || order.code !== undefined) {
      throw protocol(`the order cannot be read: ${order.why ?? order.code}`);
    }
    const body = {
      out_trade_no: standing(ctx, order.body, of).reference,
      out_refund_no: number(ctx.nextKey()),
      notify_url: ctx.notifyUrl,
      amount: { refund: minor(amount), total: whole(order.body, "total"), currency: amount.asset },
    };
    if (reason != null) body.reason = shortened(reason, 80);
    const told = yield* call(ctx, post(API, REFUNDS), body);
    if (told.why !== undefined) return { tag: "unknown", val: told.why };
    if (told.code !== undefined) return OPEN.includes(told.code) ? { tag: "unknown", val: told.code } : refusal(told);
    return refundOutcome(told.body, amount);
  },

  *status(ctx, of) {
    if (of.keys.length === 0) throw unsupported("a refund is found by its key");
    const told = yield* call(ctx, get(API, `${REFUNDS}/${number(of.keys[0])}`));
    if (told.why !== undefined) return { tag: "unknown", val: told.why };
    if (told.code !== undefined) return isMissing(told) ? notFound : { tag: "unknown", val: told.code };
    return refundOutcome(told.body, amountOf(of));
  },
});

export const notifications = operations({
  *receive(ctx, notification) {
    const header = (name) => headerOf(notification.headers, name);
    if (!isSigned(ctx, header, text(notification.body), Number(ctx.nowMs))) throw new Fault("forged", "the signature does not fit");
    const told = parsed(text(notification.body));
    const sealed = told.resource ?? {};
    if (sealed.algorithm !== "AEAD_AES_256_GCM") throw new Fault("unsupported", `sealed with ${sealed.algorithm}`);
    const resource = parsed(opened(sealed));
    const of = told.event_type?.startsWith("REFUND.") ? resource.out_refund_no : resource.out_trade_no;
    if (typeof of !== "string") throw new Fault("malformed", "it names neither an order nor a refund");
    return {
      subjects: [{ key: uuid(of), reference: resource.refund_id ?? of, event: String(told.id ?? of), says: null, extra: [] }],
      reply: { status: 204, headers: [], body: new Uint8Array(0) },
    };
  },
});

function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    throw new Fault("malformed", "not JSON");
  }
}

function opened(sealed) {
  try {
    const data = fromBase64(sealed.ciphertext ?? "");
    return text(decrypt("api_v3", bytes(sealed.nonce ?? ""), bytes(sealed.associated_data ?? ""), data));
  } catch {
    throw new Fault("forged", "what it holds was not sealed with the APIv3 key");
  }
}

/** An order or refund number: 32 characters, the router's key without its hyphens. */
const number = (key) => key.replaceAll("-", "");
/** The router's key of a number; what is none of ours stays what it is. */
const uuid = (number) => number.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");

function orderOf(of) {
  const found = of.parentReference ?? of.reference ?? (of.keys.length > 0 ? number(of.keys[0]) : null);
  if (found === null) throw unsupported("an order is found by its number");
  return found;
}
const orderPath = (ctx, of) => `${ORDERS}/out-trade-no/${orderOf(of)}?mchid=${setting(ctx, "mchid")}`;

function amountOf(of) {
  if (of.amount == null) throw new Fault("other", "the target has no amount");
  return of.amount;
}

function setting(ctx, name) {
  const found = ctx.settings[name];
  if (typeof found !== "string") throw misconfigured(`the channel's settings have no ${name}`);
  return found;
}

/** At most so many bytes of UTF-8: the provider counts 127 for a description, 80 for a reason. */
function shortened(words, most = 127) {
  let [out, length] = ["", 0];
  for (const char of words) {
    length += bytes(char).length;
    if (length > most) break;
    out += char;
  }
  return out;
}

const hex = (data) => [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("").toUpperCase();

/**
 * A signed call. `body` of the answer; or `code` and `message` of a refusal; or `why` nobody knows what it did: a success without
 * the provider's signature says nothing. Refusals are not all signed: the router knows what a status may prove.
 */
function* call(ctx, request, body) {
  if (body !== undefined) request.json(body);
  const time = String(Math.floor(Number(ctx.nowMs) / 1000));
  // No two requests of an operation have the same.
  const nonce = hex(ctx.entropy.slice(0, 16).map((byte, at) => byte ^ (at === 0 && request.method === "POST" ? 1 : 0)));
  const data = `${request.method}\n${request.path}\n${time}\n${nonce}\n${text(request.body)}\n`;
  const signature = sign("signing", "rsa-pkcs1-sha256", "text/plain", bytes(data), "base64");
  const said = [
    ["mchid", setting(ctx, "mchid")], ["nonce_str", nonce], ["signature", signature], ["timestamp", time],
    ["serial_no", setting(ctx, "serial_no")],
  ];
  const credentials = said.map(([name, value]) => `${name}="${value}"`).join(",");
  // Which of its keys the provider signs with.
  if (ctx.settings.provider_serial !== undefined) request.header("wechatpay-serial", ctx.settings.provider_serial);
  const reply = yield request
    .header("authorization", `WECHATPAY2-SHA256-RSA2048 ${credentials}`)
    .header("accept", "application/json")
    .header("user-agent", "portolan")
    .timeout(ctx.settings.timeout_ms ?? 20000);
  if (!reply.ok) return { why: reply.why };
  if (reply.status === 200 || reply.status === 204) {
    const isTheirs = isSigned(ctx, (name) => headerOf(reply.headers, name), reply.text(), Number(reply.atMs));
    if (!isTheirs) return { why: `status ${reply.status}, without the provider's signature` };
    return { body: reply.status === 204 ? {} : reply.json() };
  }
  const { code = `status ${reply.status}`, message = "" } = reply.body.length > 0 ? reply.json() : {};
  if (reply.status >= 500 || reply.status === 429) return { why: code };
  if (SETUP.includes(code)) throw misconfigured(`${code}: ${message}`);
  if (code === "PARAM_ERROR") throw invalid("payment", message);
  return { code, message, status: reply.status };
}

const headerOf = (headers, name) => headers.find((header) => header.name.toLowerCase() === name)?.value ?? "";

/** Whether time, nonce and body are the provider's, and of now. */
function isSigned(ctx, header, body, nowMs) {
  const [time, nonce, signature] = ["timestamp", "nonce", "signature"].map((name) => header(`wechatpay-${name}`));
  const expected = ctx.settings.provider_serial;
  if (expected !== undefined && header("wechatpay-serial") !== expected) return false;
  if (!/^[0-9]+$/.test(time) || Math.abs(Number(time) - nowMs / 1000) > SKEW_S) return false;
  return verify("provider", "rsa-pkcs1-sha256:base64", bytes(`${time}\n${nonce}\n${body}\n`), bytes(signature));
}

const isMissing = (told) => told.status === 404 && ["ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS"].includes(told.code);
const refusal = (told) => declined(DECLINES, told.code, told.message);

function word(value, name) {
  const found = value?.[name];
  if (typeof found !== "string") throw protocol(`the answer has no text "${name}"`);
  return found;
}

function whole(body, name) {
  const units = body.amount?.[name];
  if (!Number.isSafeInteger(units) || units < 0) throw protocol(`the answer has no whole number "amount.${name}"`);
  return units;
}

const money = (body, name, like) => ({ units: String(whole(body, name)), exponent: like.exponent, asset: word(body.amount, "currency") });

const STATES = {
  SUCCESS: "captured", REFUND: "captured", NOTPAY: "waiting", USERPAYING: "waiting", ACCEPT: "waiting", CLOSED: "canceled",
  // An order of which one attempt to pay failed may be scanned again.
  REVOKED: "canceled", PAYERROR: "waiting",
};

function standing(ctx, order, of) {
  const asked = amountOf(of);
  // The signature is over the answer alone: that it is this order's says only what stands in it.
  if (word(order, "out_trade_no") !== orderOf(of) || word(order, "mchid") !== setting(ctx, "mchid")) {
    throw protocol("the answer is about another order");
  }
  const said = word(order, "trade_state");
  const state = STATES[said];
  if (state === undefined) throw protocol(`trade_state "${said}"`);
  return {
    reference: word(order, "out_trade_no"),
    state,
    authorized: null,
    captured: state === "captured" ? money(order, "total", asked) : null,
    refunded: null,
    received: null,
    fee: null,
    declined: null,
    progress: said,
    checkAfterMs: LOOK_AGAIN_MS,
    memo: null,
    extra: [],
  };
}

/** An order that nobody paid is closed; one that was paid stays paid. Closing it again does no harm. */
function* close(ctx, of) {
  const order = orderOf(of);
  const told = yield* call(ctx, post(API, `${ORDERS}/out-trade-no/${order}/close`), { mchid: setting(ctx, "mchid") });
  if (told.why !== undefined) return { tag: "unknown", val: told.why };
  if (told.code === undefined || told.code === "ORDER_CLOSED") return done({ reference: order, amount: amountOf(of) });
  if (isMissing(told)) return notFound;
  return OPEN.includes(told.code) ? { tag: "unknown", val: told.code } : refusal(told);
}

/** Whether the order is closed now. */
function* closed(ctx, of) {
  // The keys are the cancel's own: the provider knows none of them.
  if (of.reference == null && of.parentReference == null) return { tag: "unknown", val: "the order has no number yet" };
  const told = yield* call(ctx, get(API, orderPath(ctx, of)));
  if (told.why !== undefined) return { tag: "unknown", val: told.why };
  if (told.code !== undefined) return isMissing(told) ? notFound : { tag: "unknown", val: told.code };
  const { state, reference, progress } = standing(ctx, told.body, of);
  if (state === "canceled") return done({ reference, amount: amountOf(of) });
  return state === "captured" ? notFound : { tag: "unknown", val: `the order is ${progress}` };
}

function refundOutcome(refund, asked) {
  const status = word(refund, "status");
  switch (status) {
    case "SUCCESS":
      return done({ reference: word(refund, "refund_id"), amount: money(refund, "refund", asked) });
    case "PROCESSING":
      return { tag: "waiting", val: LOOK_AGAIN_MS };
    case "CLOSED":
      return declined(DECLINES, "CLOSED", "the refund was closed");
    default:
      // ABNORMAL: the payer's account cannot take it; a human finishes it in the merchant's console.
      return { tag: "unknown", val: `the refund is ${status}` };
  }
}
