// WeChat Pay as a merchant meets it: orders, refunds, notifications. Every request is verified, every answer signed and every
// notification sealed by an SDK that nobody here wrote (wechatpay-axios-plugin). Told by amounts what to do: …943 answers without
// a signature, …941 is over a limit, a refund of …945 takes a while. Its own words, for the test: POST /pay/NUMBER, POST /forge/NUMBER, GET /records.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import http from "node:http";

const [folder, modules] = process.argv.slice(2);
const { Rsa, Aes, Formatter } = createRequire(`${modules}/`)("wechatpay-axios-plugin");
const file = (name) => readFileSync(`${folder}/${name}`, "utf8");
const merchant = Rsa.from(file("merchant.pub"), Rsa.KEY_TYPE_PUBLIC);
const platform = Rsa.from(file("platform.key"), Rsa.KEY_TYPE_PRIVATE);
const stranger = Rsa.from(file("stranger.key"), Rsa.KEY_TYPE_PRIVATE);
const apiV3 = file("api_v3.key");
const SERIAL = "PUB_KEY_ID_0119000072912024";

const orders = new Map();
const refunds = new Map();
let refused = 0;

function signed(body, key = platform) {
  const [time, nonce] = [String(Formatter.timestamp()), Formatter.nonce()];
  const signature = Rsa.sign(Formatter.response(time, nonce, body), key);
  return {
    "content-type": "application/json", "Wechatpay-Timestamp": time, "Wechatpay-Nonce": nonce, "Wechatpay-Signature": signature,
    "Wechatpay-Serial": SERIAL,
  };
}

function isMerchants(request, body) {
  const [scheme, rest = ""] = (request.headers.authorization ?? "").split(" ");
  const said = Object.fromEntries([...rest.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
  const message = Formatter.request(request.method, request.url, said.timestamp, said.nonce_str, body);
  return scheme === "WECHATPAY2-SHA256-RSA2048" && said.mchid === "1900007291" && Rsa.verify(message, said.signature ?? "", merchant)
    && Math.abs(Number(said.timestamp) - Formatter.timestamp()) < 300 && request.headers["user-agent"] && request.headers.accept;
}

/** Tells the merchant; what the merchant answered. */
async function notify(url, kind, resource, { key = platform, secret = apiV3 } = {}) {
  const nonce = Formatter.nonce(12);
  const ciphertext = Aes.AesGcm.encrypt(JSON.stringify(resource), secret, nonce, "transaction");
  const body = JSON.stringify({
    id: Formatter.nonce(36), create_time: new Date().toISOString(), resource_type: "encrypt-resource", event_type: kind, summary: "",
    resource: { original_type: "transaction", algorithm: "AEAD_AES_256_GCM", ciphertext, associated_data: "transaction", nonce },
  });
  return (await fetch(url, { method: "POST", headers: signed(body, key), body })).status;
}

const view = (order) => ({
  appid: order.appid, mchid: order.mchid, out_trade_no: order.out_trade_no, trade_state: order.state, trade_state_desc: order.state,
  ...(order.transaction_id && { transaction_id: order.transaction_id }),
  amount: { total: order.amount.total, payer_total: order.amount.total, currency: "CNY", payer_currency: "CNY" },
});
const refund_view = ({ notify_url, ...refund }) => refund;
const problem = (status, code, message = code) => [status, { code, message }];

const FIELDS = {
  order: ["amount", "appid", "description", "mchid", "notify_url", "out_trade_no"],
  refund: ["amount", "notify_url", "out_refund_no", "out_trade_no", "reason"],
};
const unknown = (body, known) => Object.keys(body).find((name) => !known.includes(name));

function api(method, path, body) {
  if (method === "POST" && path === "/v3/pay/transactions/native") {
    const stray = unknown(body, FIELDS.order);
    if (stray || !/^[0-9A-Za-z_-]{6,32}$/.test(body.out_trade_no ?? "")) return problem(400, "PARAM_ERROR", stray ?? "out_trade_no");
    const known = orders.get(body.out_trade_no);
    if (known?.state === "SUCCESS") return problem(400, "ORDERPAID");
    if (body.amount.total % 1000 === 941) return problem(403, "RULE_LIMIT");
    orders.set(body.out_trade_no, { ...body, state: "NOTPAY" });
    return [200, { code_url: `weixin://wxpay/bizpayurl?pr=${body.out_trade_no}` }];
  }
  const [, number, close] = path.match(/^\/v3\/pay\/transactions\/out-trade-no\/([^/]+?)(\/close)?$/) ?? [];
  if (number) {
    const order = orders.get(number);
    if (!order) return problem(404, "ORDER_NOT_EXIST");
    if (!close) return [200, view(order)];
    if (order.state === "SUCCESS") return problem(400, "ORDERPAID");
    order.state = "CLOSED";
    return [204, null];
  }
  if (method === "POST" && path === "/v3/refund/domestic/refunds") {
    const order = orders.get(body.out_trade_no);
    const stray = unknown(body, FIELDS.refund);
    if (stray || body.amount.total !== order?.amount.total) return problem(400, "PARAM_ERROR", stray ?? "amount.total");
    const known = refunds.get(body.out_refund_no);
    if (known) return [200, refund_view(known)];
    const given = [...refunds.values()].filter((it) => it.out_trade_no === body.out_trade_no).reduce((sum, it) => sum + it.amount.refund, 0);
    if (order.state !== "SUCCESS" || given + body.amount.refund > order.amount.total) return problem(403, "NOT_ENOUGH");
    const status = body.amount.refund % 1000 === 945 ? "PROCESSING" : "SUCCESS";
    const refund = { ...body, refund_id: `5000${refunds.size}`, status };
    refunds.set(body.out_refund_no, refund);
    return [200, refund_view(refund)];
  }
  const refund = refunds.get(path.match(/^\/v3\/refund\/domestic\/refunds\/([^/]+)$/)?.[1]);
  return refund ? [200, refund_view(refund)] : problem(404, "RESOURCE_NOT_EXISTS");
}

async function control(method, path) {
  const [, verb, number] = path.match(/^\/(pay|forge|refunded)\/(.+)$/) ?? [];
  if (verb === "pay") {
    const order = orders.get(number);
    if (order.state !== "NOTPAY") return [409, { state: order.state }];
    Object.assign(order, { state: "SUCCESS", transaction_id: `4200${number.slice(0, 24)}` });
    return [200, { notified: await notify(order.notify_url, "TRANSACTION.SUCCESS", view(order)) }];
  }
  if (verb === "forge") {
    const order = orders.get(number);
    const paid = { ...view(order), trade_state: "SUCCESS" };
    const url = order.notify_url;
    return [200, {
      signed_by_another: await notify(url, "TRANSACTION.SUCCESS", paid, { key: stranger }),
      sealed_by_another: await notify(url, "TRANSACTION.SUCCESS", paid, { secret: "0".repeat(32) }),
    }];
  }
  if (verb === "refunded") {
    const refund = [...refunds.values()].find((it) => it.out_trade_no === number && it.status === "PROCESSING");
    refund.status = "SUCCESS";
    const told = { out_trade_no: number, out_refund_no: refund.out_refund_no, refund_id: refund.refund_id, refund_status: "SUCCESS" };
    return [200, { notified: await notify(refund.notify_url, "REFUND.SUCCESS", told) }];
  }
  return [200, { orders: [...orders.values()], refunds: [...refunds.values()], refused }];
}

const server = http.createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  if (!request.url.startsWith("/v3/")) {
    const [status, said] = await control(request.method, request.url);
    const text = JSON.stringify(said);
    return response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }).end(text);
  }
  let [status, said] = [401, { code: "SIGN_ERROR", message: "the signature does not fit" }];
  if (isMerchants(request, body)) [status, said] = api(request.method, request.url.split("?")[0], body ? JSON.parse(body) : {});
  else refused += 1;
  const text = said === null ? "" : JSON.stringify(said);
  const is_bare = request.method === "POST" && JSON.parse(body || "{}").amount?.total % 1000 === 943;
  // Refusals are not signed, as it was seen of the real one.
  response.writeHead(status, is_bare || status >= 400 ? { "content-type": "application/json" } : signed(text)).end(text);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
