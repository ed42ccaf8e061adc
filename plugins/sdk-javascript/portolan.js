// What a partner writes an adapter with, in JavaScript. An operation is a generator: it yields requests and is given
// replies, and what it returns is the outcome. The router calls it again for each answer, so nothing is waited for in here.
//
//   export const payments = operations({
//     *authorize(ctx, request) {
//       const reply = yield post("api", "/charges").json({ amount: minor(request.amount) }).header("idempotency-key", ctx.nextKey());
//       if (!reply.ok) return unknown(reply.why);
//       ...
//     },
//   });
//
// Not here: TextEncoder, fetch, timers, Math.random, Date. Time is `ctx.nowMs`, randomness is `ctx.entropy`.
import keys from "portolan:channel/keys@0.1.0";
import log from "portolan:channel/log@0.1.0";

/** A fault: the adapter could not do its work. Throw it. `tag`: unsupported, invalid, protocol, misconfigured, stale-session, other. */
export class Fault {
  constructor(tag, val) {
    this.tag = tag;
    this.val = val;
  }
}
export const unsupported = (text) => new Fault("unsupported", text);
export const invalid = (field, why) => new Fault("invalid", [field, why]);
export const protocol = (text) => new Fault("protocol", text);
export const misconfigured = (text) => new Fault("misconfigured", text);
export const staleSession = (name) => new Fault("stale-session", name);

/** UTF-8, both ways. */
export function bytes(text) {
  const out = [];
  for (const char of text) {
    const code = char.codePointAt(0);
    if (code < 0x80) out.push(code);
    else if (code < 0x800) out.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) out.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else out.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return Uint8Array.from(out);
}
export function text(data) {
  let out = "";
  for (let at = 0; at < data.length; ) {
    const first = data[at];
    const more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    let code = more === 0 ? first : first & (0x3f >> more);
    for (let n = 1; n <= more; n++) code = (code << 6) | (data[at + n] & 63);
    out += String.fromCodePoint(code >= 0 && code <= 0x10ffff ? code : 0xfffd);
    at += more + 1;
  }
  return out;
}

/** Base64 (RFC 4648, with padding or without), as providers write signatures and what they seal. */
export function fromBase64(text) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const out = [];
  let [held, bits] = [0, 0];
  for (const char of text.replace(/=+$/, "")) {
    const value = digits.indexOf(char);
    if (value < 0) throw protocol("a text that is not base64");
    held = ((held << 6) | value) & 0xffff;
    bits += 6;
    if (bits >= 8) out.push((held >> (bits -= 8)) & 255);
  }
  return Uint8Array.from(out);
}

/** A request that was made and never yielded would be lost without a word: the driver counts them. */
let made = 0;

class Request {
  constructor(endpoint, method, path, effect) {
    Object.assign(this, { endpoint, method, path, effect, headers: [], body: new Uint8Array(0), timeoutMs: 30000, extra: [] });
    made += 1;
  }
  header(name, value) {
    this.headers.push({ name, value });
    return this;
  }
  bearer(handle) {
    return this.header("authorization", `Bearer ${handle}`);
  }
  json(value) {
    if (arguments.length === 0) throw unyielded();
    this.body = bytes(JSON.stringify(value));
    return this.header("content-type", "application/json");
  }
  form(fields) {
    const pair = ([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`;
    this.body = bytes(fields.map(pair).join("&"));
    return this.header("content-type", "application/x-www-form-urlencoded");
  }
  /** This write only prepares; the operator's grant decides. */
  prepares() {
    this.effect = "prepare";
    return this;
  }
  /** This POST only looks; the operator's grant decides. */
  reads() {
    this.effect = "read";
    return this;
  }
  timeout(ms) {
    this.timeoutMs = ms;
    return this;
  }
  // A reply has these; whoever reads them here forgot to yield.
  get ok() {
    throw unyielded();
  }
  get status() {
    throw unyielded();
  }
}
const unyielded = () => new Fault("other", "this is a request, not a reply: yield it");
/** A read: repeating it is free. */
export const get = (endpoint, path) => new Request(endpoint, "GET", path, "read");
/** A write: it is on the router's disk before it leaves. */
export const post = (endpoint, path) => new Request(endpoint, "POST", path, "write");

/** What came back. `ok`: there is a response, whatever its status. `why`: why there is none. */
class Reply {
  constructor(answer) {
    const { tag, val } = answer.reply;
    this.atMs = answer.atMs;
    this.ok = tag === "ok";
    if (this.ok) Object.assign(this, { status: val.status, headers: val.headers, body: val.body });
    else {
      this.notSent = val.tag === "not-sent";
      this.why = `${this.notSent ? "not sent" : "no answer"}: ${val.val}`;
    }
  }
  text() {
    return text(this.body);
  }
  json() {
    const body = this.text();
    try {
      if (depth(body) > DEPTH_MAX) throw new SyntaxError("nested too deeply");
      return JSON.parse(body);
    } catch {
      throw protocol(`status ${this.status} with a body that is not JSON`);
    }
  }
}

/** The engine's parser calls itself once for each level, and its stack is small. */
const DEPTH_MAX = 100;
function depth(body) {
  let [now, most] = [0, 0];
  for (const char of body) {
    if (char === "[" || char === "{") most = Math.max(most, ++now);
    else if (char === "]" || char === "}") now -= 1;
  }
  return most;
}

class Ctx {
  #used = 0;
  constructor(context) {
    Object.assign(this, context);
    this.settings = JSON.parse(context.settings);
  }
  /** The handle of a granted secret or an open session. */
  secret(name) {
    const found = this.secrets.find(([known]) => known === name);
    if (!found) throw misconfigured(`the secret "${name}" is not configured`);
    return found[1];
  }
  /** The next write's idempotency key. */
  nextKey() {
    const key = this.keys[this.#used++];
    if (key === undefined) throw new Fault("other", "more writes than keys");
    return key;
  }
}

/** The word that stands for a signature over a body; the router puts the signature in its place at the wire. */
export const sign = (key, algorithm, contentType, data, encoding) => keys.sign(key, algorithm, contentType, data, encoding);
/** Whether a signature is the key's over the data. */
export const verify = (key, algorithm, data, signature) => keys.verify(key, algorithm, data, signature);
/** What the provider sealed with AES-256-GCM (the tag at the end), opened; it throws where key or message do not fit. */
export const decrypt = (key, nonce, associated, sealed) => keys.decrypt(key, nonce, associated, sealed);
/** A line in the operation's own log. */
export const note = (line) => log.line("info", line);

/** Makes of generators the functions that the contract wants. */
export function operations(generators) {
  const wrapped = {};
  for (const [name, generator] of Object.entries(generators)) {
    wrapped[name] = (context, ...rest) => drive(() => generator(new Ctx(context), ...rest.slice(0, -1)), rest.at(-1));
  }
  return wrapped;
}

function drive(start, answers) {
  made = 0;
  let sent = 0;
  try {
    const run = start();
    let step = run.next();
    while (!step.done) {
      if (!(step.value instanceof Request)) throw new Fault("other", "a yield of what is no request");
      sent += 1;
      if (sent > answers.length) return { tag: "send", val: step.value };
      step = run.next(new Reply(answers[sent - 1]));
    }
    if (made !== sent) throw new Fault("other", `${made - sent} requests were made and not yielded`);
    return { tag: "done", val: plain(step.value, "the outcome") };
  } catch (error) {
    if (error instanceof Fault && made > sent) {
      throw { tag: "other", val: `a request was made and not yielded (a yield forgotten?): ${error.val}` };
    }
    if (error instanceof Fault) throw { tag: error.tag, val: error.val };
    throw { tag: "other", val: mistake(error) };
  }
}

/** A mistake in the adapter: its text and its line. */
function mistake(error) {
  const where = String(error?.stack ?? "").split("\n")[0]?.trim() ?? "";
  return `${error?.name ?? "Error"}: ${error?.message ?? error} ${where}`.slice(0, 500);
}

/** What the adapter says of itself: `export const adapter = manifest(() => ({ ... }))`. A mistake in it is named. */
export function manifest(make) {
  return {
    describe() {
      try {
        const said = make();
        for (const name of ["name", "version", "summary", "keyFormat", "settingsSchema"]) need(said, name, "string");
        for (const name of ["methods", "countries", "capabilities", "endpoints", "harmless", "secrets", "cardNumber", "cardSecurityCode", "keys", "sessions", "readsMemo", "extra"]) {
          if (!Array.isArray(said[name])) throw new TypeError(`describe: ${name} must be a list`);
        }
        return plain(said, "describe");
      } catch (error) {
        // The router takes this line for the reason of what happens next.
        log.line("warn", `panic: ${mistake(error)}`);
        throw error;
      }
    },
  };
}

function need(value, name, type) {
  if (typeof value?.[name] !== type) throw new TypeError(`${name} must be a ${type}, not ${typeof value?.[name]}`);
}

/** Nothing that the contract has no form for: it would be a trap without a word. */
function plain(value, at) {
  if (value === undefined || typeof value === "bigint" || typeof value === "function" || Number.isNaN(value)) {
    throw new TypeError(`${at} is ${typeof value === "bigint" ? "a BigInt" : String(value)}`);
  }
  if (value !== null && typeof value === "object" && !(value instanceof Uint8Array)) {
    for (const [name, part] of Object.entries(value)) plain(part, `${at}.${name}`);
  }
  return value;
}

/** Nobody knows what became of a write. */
export const unknown = (why, reference = null) => ({ tag: "unknown", val: { why, reference, extra: [] } });
export function accepted(it) {
  need(it, "reference", "string");
  need(it, "authorized", "object");
  need(it, "captured", "boolean");
  return { tag: "accepted", val: { networkReference: null, memo: null, extra: [], ...it } };
}
export const waiting = (it) => ({ tag: "waiting", val: { reference: null, action: null, checkAfterMs: 1000, progress: null, memo: null, extra: [], ...it } });
/** A decline by the provider's code: `table` is code to [reason, retry]; a code that is not in it is a plain decline that nobody may try again. */
export function declined(table, code, message, more = {}) {
  const [reason, retry] = table[code] ?? ["generic-decline", "never"];
  return { tag: "declined", val: { retry, reason, providerCode: code, networkCode: null, advice: null, message: message || code, extra: [], ...more } };
}
export function done(it) {
  need(it, "reference", "string");
  need(it, "amount", "object");
  return { tag: "done", val: { fee: null, memo: null, extra: [], ...it } };
}
export const notFound = { tag: "not-found" };
/** What a payer's bank wants back of a payment, for `extra` of a standing; `state`: inquiry, needs_response, under_review, won, lost. */
export const dispute = (it) => ["dispute", JSON.stringify(it)];
/** For a manifest's `extra`: the adapter heeds `mustAuthenticate`, and only then is asked for it. */
export const authenticatesOnDemand = ["authenticates", "on-demand"];
/** Whether the payer must be authenticated, whatever the issuer would let pass. */
export const mustAuthenticate = (request) => request.extra.some(([name, what]) => name === "authenticate" && what === "required");
/** What came of it, for `extra` of an outcome or a standing; `result`: authenticated, attempted, exempted, not_authenticated. */
export const authentication = ({ result, challenge, version, eci }) => ["authentication", JSON.stringify({ result, challenge, version, eci })];
/** Minor units as a number, for providers that take one. */
export function minor(money) {
  const units = Number(money.units);
  if (!Number.isSafeInteger(units)) throw invalid("amount", `${money.units} units are more than a number holds exactly`);
  return units;
}
/** Major units as decimal text, with as many decimals as the asset has: `10.99`. */
export function major(money) {
  const digits = money.units.padStart(money.exponent + 1, "0");
  return money.exponent === 0 ? digits : `${digits.slice(0, -money.exponent)}.${digits.slice(-money.exponent)}`;
}
/** An amount from a provider's major units; more decimals than the asset has are refused, unless they are zeros. */
export function fromMajor(text, asset, exponent) {
  const [whole, part = ""] = String(text).split(".");
  const kept = part.slice(0, exponent).padEnd(exponent, "0");
  if (!/^[0-9]+$/.test(whole) || !/^[0-9]*$/.test(part) || /[1-9]/.test(part.slice(exponent))) {
    throw protocol(`"${text}" is no amount of ${asset}`);
  }
  return { units: (whole + kept).replace(/^0+(?=[0-9])/, ""), exponent, asset };
}
