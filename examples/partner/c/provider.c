// An adapter in C, for a made-up gateway that speaks names and values, as many old ones do: forms out, forms back. It takes cards and
// says what became of them. `portolan plugin build` makes the bindings that it includes, and the component.
//
// An operation is a pure function that is called once for each answer: without one it says what to send, with one it says what came of
// it. What is given back is freed by the bindings, so every text in it is a copy. An instance lives for one call.

#include "bindings/adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef portolan_channel_types_context_t context_t;
typedef portolan_channel_types_request_t request_t;
typedef portolan_channel_types_response_t response_t;
typedef portolan_channel_types_fault_t fault_t;
typedef portolan_channel_types_decline_t decline_t;
typedef portolan_channel_types_money_t money_t;
typedef portolan_channel_types_authorization_t authorization_t;
typedef portolan_channel_types_target_t target_t;
typedef portolan_channel_types_payment_outcome_t outcome_t;
typedef exports_portolan_channel_payments_step_t step_t;
typedef exports_portolan_channel_payments_status_step_t status_step_t;
typedef exports_portolan_channel_payments_finding_t finding_t;
typedef exports_portolan_channel_payments_list_answer_t answers_t;
typedef exports_portolan_channel_adapter_manifest_t manifest_t;
typedef exports_portolan_channel_adapter_place_ask_t place_ask_t;

#define API "api"
#define TIMEOUT_MS 30000

// ---- texts ----

// Memory, or the end: the host takes a trap for a fault, and says nothing of money.
static void *memory(size_t size) {
  void *it = calloc(1, size ? size : 1);
  if (!it) abort();
  return it;
}

static adapter_string_t text(const char *it) {
  adapter_string_t copy;
  adapter_string_dup(&copy, it);
  return copy;
}

// Texts of the contract are UTF-8, and gateways of this kind say Latin-1 or anything: what is not ASCII becomes a question mark.
static adapter_string_t format(const char *before, adapter_string_t it) {
  size_t length = strlen(before);
  adapter_string_t made = {memory(length + it.len), length + it.len};
  for (size_t n = 0; n < length; n++) made.ptr[n] = (uint8_t)before[n];
  for (size_t n = 0; n < it.len; n++) made.ptr[length + n] = it.ptr[n] >= ' ' && it.ptr[n] < 127 ? it.ptr[n] : '?';
  return made;
}

static adapter_string_t copy_of(adapter_string_t it) { return format("", it); }

static bool same(adapter_string_t one, adapter_string_t other) {
  return one.len == other.len && (one.len == 0 || memcmp(one.ptr, other.ptr, one.len) == 0);
}

static bool is(adapter_string_t it, const char *other) {
  return it.len == strlen(other) && memcmp(it.ptr, other, it.len) == 0;
}

// ---- forms (application/x-www-form-urlencoded) ----

typedef struct { char *ptr; size_t len, room; } form_t;

static void put(form_t *form, char byte) {
  if (form->len == form->room) {
    form->room = form->room ? 2 * form->room : 256;
    form->ptr = realloc(form->ptr, form->room);
    if (!form->ptr) abort();
  }
  form->ptr[form->len++] = byte;
}

static void put_encoded(form_t *form, adapter_string_t value) {
  static const char hex[] = "0123456789ABCDEF";
  for (size_t n = 0; n < value.len; n++) {
    unsigned char byte = value.ptr[n];
    bool is_plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || strchr("-_.~", byte);
    if (is_plain && byte) {
      put(form, (char)byte);
    } else {
      put(form, '%');
      put(form, hex[byte >> 4]);
      put(form, hex[byte & 15]);
    }
  }
}

static void field(form_t *form, const char *name, adapter_string_t value) {
  if (form->len) put(form, '&');
  while (*name) put(form, *name++);
  put(form, '=');
  put_encoded(form, value);
}

static int digit(char it) {
  const char *all = "0123456789abcdef", *found = it ? strchr(all, it >= 'A' && it <= 'F' ? it + 32 : it) : NULL;
  return found ? (int)(found - all) : -1;
}

static const adapter_string_t NONE = {(uint8_t *)"", 0};

// The field of that name, decoded; empty where there is none, or more than one: then nobody knows what is meant. A line's end after the
// last one is no part of it.
static adapter_string_t value_of(adapter_list_u8_t body, const char *name) {
  adapter_string_t found = NONE;
  size_t at = 0, length = strlen(name), times = 0;
  while (body.len && (body.ptr[body.len - 1] == '\n' || body.ptr[body.len - 1] == '\r')) body.len--;
  while (at < body.len) {
    size_t end = at;
    while (end < body.len && body.ptr[end] != '&') end++;
    if (end - at > length && memcmp(body.ptr + at, name, length) == 0 && body.ptr[at + length] == '=') {
      times++;
      found = (adapter_string_t){memory(end - at), 0};
      for (size_t n = at + length + 1; n < end; n++) {
        bool is_escape = body.ptr[n] == '%' && n + 2 < end && digit((char)body.ptr[n + 1]) >= 0 && digit((char)body.ptr[n + 2]) >= 0;
        if (is_escape) {
          found.ptr[found.len++] = (uint8_t)(16 * digit((char)body.ptr[n + 1]) + digit((char)body.ptr[n + 2]));
          n += 2;
        } else {
          found.ptr[found.len++] = body.ptr[n] == '+' ? ' ' : body.ptr[n];
        }
      }
    }
    at = end + 1;
  }
  return times == 1 ? found : NONE;
}

// ---- requests and replies ----

static adapter_string_t secret(context_t *ctx, const char *name) {
  for (size_t n = 0; n < ctx->secrets.len; n++)
    if (is(ctx->secrets.ptr[n].f0, name)) return ctx->secrets.ptr[n].f1;
  return NONE;
}

static request_t request(context_t *ctx, const char *method, adapter_string_t path, form_t form) {
  size_t headers = form.len ? 2 : 1;
  request_t it = {
      .endpoint = text(API), .method = text(method), .path = path, .body = {(uint8_t *)form.ptr, form.len},
      .effect = form.len ? PORTOLAN_CHANNEL_TYPES_EFFECT_WRITE : PORTOLAN_CHANNEL_TYPES_EFFECT_READ, .timeout_ms = TIMEOUT_MS,
      .headers = {memory(headers * sizeof(portolan_channel_types_header_t)), headers},
  };
  it.headers.ptr[0] = (portolan_channel_types_header_t){text("authorization"), format("Bearer ", secret(ctx, "api_key"))};
  if (form.len) it.headers.ptr[1] = (portolan_channel_types_header_t){text("content-type"), text("application/x-www-form-urlencoded")};
  return it;
}

static bool fault(fault_t *err, uint8_t tag, const char *why) {
  // Every tag that is used here holds one text.
  *err = (fault_t){.tag = tag, .val.protocol = text(why)};
  return false;
}

// What is sent first, unless the channel has no key: without one nothing is.
static bool has_key(context_t *ctx, fault_t *err) {
  return secret(ctx, "api_key").len ? true : fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_MISCONFIGURED, "the secret api_key is not granted");
}

// The provider's answer to the first request, where it is one of those in its documents (200, and 404 for what it does not know); NULL,
// and why nobody knows, where it is not.
static response_t *reply(answers_t *answers, adapter_string_t *why) {
  portolan_channel_types_result_response_no_response_t *it = &answers->ptr[0].reply;
  if (it->is_err) {
    bool is_sent = it->val.err.tag == PORTOLAN_CHANNEL_TYPES_NO_RESPONSE_UNKNOWN;
    *why = is_sent ? format("no answer: ", it->val.err.val.unknown) : format("not sent: ", it->val.err.val.not_sent);
    return NULL;
  }
  if (it->val.ok.status != 200 && it->val.ok.status != 404) {
    char status[16];
    snprintf(status, sizeof status, "status %u", it->val.ok.status);
    *why = text(status);
    return NULL;
  }
  return &it->val.ok;
}

static bool is_refused(answers_t *answers) {
  portolan_channel_types_result_response_no_response_t *it = &answers->ptr[0].reply;
  return !it->is_err && (it->val.ok.status == 401 || it->val.ok.status == 403);
}

// ---- what the provider's words mean ----

// Its codes: the router's reason, what may be tried next. A code that is not here is never tried again.
static const struct { const char *code, *reason; portolan_channel_types_retry_t retry; } DECLINES[] = {
    {"51", "insufficient-funds", PORTOLAN_CHANNEL_TYPES_RETRY_LATER},
    {"54", "expired-card", PORTOLAN_CHANNEL_TYPES_RETRY_AFTER_CORRECTION},
    {"91", "issuer-unavailable", PORTOLAN_CHANNEL_TYPES_RETRY_OTHER_CHANNEL},
};

static decline_t decline_of(adapter_list_u8_t body) {
  adapter_string_t code = value_of(body, "code");
  decline_t it = {
      .retry = PORTOLAN_CHANNEL_TYPES_RETRY_NEVER, .reason = text("generic-decline"),
      .provider_code = copy_of(code), .message = copy_of(value_of(body, "message")),
  };
  for (size_t n = 0; n < sizeof DECLINES / sizeof *DECLINES; n++) {
    if (!is(code, DECLINES[n].code)) continue;
    adapter_string_free(&it.reason);
    it.reason = text(DECLINES[n].reason);
    it.retry = DECLINES[n].retry;
  }
  return it;
}

// What was moved, in the provider's own words: the router compares. False: it does not say, or not in this currency, whose digits
// after the point are known.
static bool money_of(adapter_list_u8_t body, money_t like, money_t *money) {
  adapter_string_t units = value_of(body, "amount");
  for (size_t n = 0; n < units.len; n++)
    if (units.ptr[n] < '0' || units.ptr[n] > '9') return false;
  if (!units.len || !value_of(body, "id").len || !same(value_of(body, "currency"), like.asset)) return false;
  *money = (money_t){copy_of(units), like.exponent, copy_of(like.asset)};
  return true;
}

#define NO_MONEY "the reply lacks id, amount or currency, or is of another currency"

// ---- what the router calls ----

bool exports_portolan_channel_payments_authorize(context_t *ctx, authorization_t *req, answers_t *answers, step_t *ret, fault_t *err) {
  if (req->instrument.tag != PORTOLAN_CHANNEL_TYPES_INSTRUMENT_CARD)
    return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_UNSUPPORTED, "only cards");
  // Without the interfaces captures and reversals what is only authorized could be neither taken nor let go.
  if (!req->capture) return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_UNSUPPORTED, "it captures at once");
  portolan_channel_types_card_t *card = &req->instrument.val.card;
  if (answers->len == 0) {
    if (!has_key(ctx, err)) return false;
    if (ctx->keys.len == 0) return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_OTHER, "no key for this write");
    char expiry[16];
    snprintf(expiry, sizeof expiry, "%04u-%02u", card->expiry_year, card->expiry_month);
    form_t form = {0};
    field(&form, "key", ctx->keys.ptr[0]);
    field(&form, "amount", req->amount.units);
    field(&form, "currency", req->amount.asset);
    field(&form, "number", card->number);
    if (card->security_code.is_some) field(&form, "code", card->security_code.val);
    field(&form, "expiry", text(expiry));
    *ret = (step_t){.tag = PORTOLAN_CHANNEL_TYPES_PAYMENT_STEP_SEND, .val.send = request(ctx, "POST", text("/pay"), form)};
    return true;
  }
  if (is_refused(answers)) return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_MISCONFIGURED, "the gateway refuses the key");
  outcome_t outcome = {.tag = PORTOLAN_CHANNEL_TYPES_PAYMENT_OUTCOME_UNKNOWN};
  response_t *got = reply(answers, &outcome.val.unknown.why);
  if (got) {
    // What says nothing that is in the documents proves nothing.
    adapter_string_t result = got->status == 200 ? value_of(got->body, "result") : NONE;
    if (is(result, "captured")) {
      portolan_channel_types_accepted_t accepted = {.reference = copy_of(value_of(got->body, "id")), .captured = true};
      if (!money_of(got->body, req->amount, &accepted.authorized)) return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_PROTOCOL, NO_MONEY);
      outcome = (outcome_t){.tag = PORTOLAN_CHANNEL_TYPES_PAYMENT_OUTCOME_ACCEPTED, .val.accepted = accepted};
    } else if (is(result, "declined")) {
      outcome = (outcome_t){.tag = PORTOLAN_CHANNEL_TYPES_PAYMENT_OUTCOME_DECLINED, .val.declined = decline_of(got->body)};
    } else {
      outcome.val.unknown.why = format("not in the documents: result=", result);
    }
  }
  *ret = (step_t){.tag = PORTOLAN_CHANNEL_TYPES_PAYMENT_STEP_DONE, .val.done = outcome};
  return true;
}

bool exports_portolan_channel_payments_status(context_t *ctx, target_t *of, answers_t *answers, status_step_t *ret, fault_t *err) {
  if (answers->len == 0) {
    form_t query = {0};
    if (!has_key(ctx, err)) return false;
    if (of->reference.is_some) field(&query, "id", of->reference.val);
    else if (of->keys.len) field(&query, "key", of->keys.ptr[0]);
    else return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_UNSUPPORTED, "a payment is found by its id or its key");
    adapter_string_t path = format("/payment?", (adapter_string_t){(uint8_t *)query.ptr, query.len});
    *ret = (status_step_t){
        .tag = EXPORTS_PORTOLAN_CHANNEL_PAYMENTS_STATUS_STEP_SEND, .val.send = request(ctx, "GET", path, (form_t){0})};
    return true;
  }
  if (is_refused(answers)) return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_MISCONFIGURED, "the gateway refuses the key");
  finding_t finding = {.tag = EXPORTS_PORTOLAN_CHANNEL_PAYMENTS_FINDING_UNKNOWN};
  response_t *got = reply(answers, &finding.val.unknown);
  adapter_string_t result = got ? value_of(got->body, "result") : NONE;
  if (got && got->status == 404 && is(result, "not-found") && !of->reference.is_some) {
    // The gateway's own word, about a key: a proxy's 404 says nothing, nor does one about what was there before.
    finding.tag = EXPORTS_PORTOLAN_CHANNEL_PAYMENTS_FINDING_NOT_FOUND;
  } else if (got) {
    finding.val.unknown = format("not in the documents: result=", result);
    bool is_captured = is(result, "captured"), is_known = got->status == 200 && (is_captured || is(result, "declined"));
    adapter_string_t id = value_of(got->body, "id");
    if (is_known && of->reference.is_some && id.len && !same(id, of->reference.val))
      return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_PROTOCOL, "the reply is about another payment");
    if (is_known) {
      exports_portolan_channel_payments_standing_t standing = {.reference = copy_of(id.len || !of->reference.is_some ? id : of->reference.val)};
      if (is_captured) {
        money_t money;
        if (!of->amount.is_some || !money_of(got->body, of->amount.val, &money)) return fault(err, PORTOLAN_CHANNEL_TYPES_FAULT_PROTOCOL, NO_MONEY);
        standing.state = EXPORTS_PORTOLAN_CHANNEL_PAYMENTS_STATE_CAPTURED;
        standing.authorized.is_some = standing.captured.is_some = true;
        standing.authorized.val = money;
        standing.captured.val = (money_t){copy_of(money.units), money.exponent, copy_of(money.asset)};
      } else {
        standing.state = EXPORTS_PORTOLAN_CHANNEL_PAYMENTS_STATE_FAILED;
        standing.declined.is_some = true;
        standing.declined.val = decline_of(got->body);
      }
      finding = (finding_t){.tag = EXPORTS_PORTOLAN_CHANNEL_PAYMENTS_FINDING_STANDING, .val.standing = standing};
    }
  }
  *ret = (status_step_t){.tag = EXPORTS_PORTOLAN_CHANNEL_PAYMENTS_STATUS_STEP_DONE, .val.done = finding};
  return true;
}

static exports_portolan_channel_adapter_list_place_ask_t at(exports_portolan_channel_adapter_place_t place) {
  exports_portolan_channel_adapter_list_place_ask_t asks = {memory(sizeof(place_ask_t)), 1};
  asks.ptr[0] = (place_ask_t){.endpoint = text(API), .places = {memory(sizeof place), 1}};
  asks.ptr[0].places.ptr[0] = place;
  return asks;
}

static exports_portolan_channel_adapter_place_t form_field(const char *name) {
  return (exports_portolan_channel_adapter_place_t){.tag = EXPORTS_PORTOLAN_CHANNEL_ADAPTER_PLACE_FORM_FIELD, .val.form_field = text(name)};
}

void exports_portolan_channel_adapter_describe(manifest_t *ret) {
  *ret = (manifest_t){
      .name = text("com.example.names-and-values"), .version = text("0.1.0"), .summary = text("a gateway of names and values, cards"),
      .methods = {memory(sizeof(adapter_string_t)), 1},
      .capabilities = {memory(sizeof(exports_portolan_channel_adapter_capability_t)), 1},
      .endpoints = {memory(sizeof(exports_portolan_channel_adapter_endpoint_ask_t)), 1},
      .secrets = {memory(sizeof(exports_portolan_channel_adapter_secret_ask_t)), 1},
      .card_number = at(form_field("number")), .card_security_code = at(form_field("code")),
      .key_format = text("uuid"), .settings_schema = text("{\"type\":\"object\",\"additionalProperties\":false}"),
  };
  ret->methods.ptr[0] = text("card");
  ret->capabilities.ptr[0] = (exports_portolan_channel_adapter_capability_t){
      // Nothing is said of when "not found" is final: so it never is.
      .of = text("payments"), .idempotent_for_s = {true, 86400}, .found_by_key = true};
  ret->endpoints.ptr[0] = (exports_portolan_channel_adapter_endpoint_ask_t){
      text(API), text("payments"), text("https://pay.gateway.example"), text("https://test.gateway.example")};
  exports_portolan_channel_adapter_place_t header = {.tag = EXPORTS_PORTOLAN_CHANNEL_ADAPTER_PLACE_HEADER};
  header.val.header = (adapter_tuple2_string_string_t){text("authorization"), text("Bearer ")};
  ret->secrets.ptr[0] = (exports_portolan_channel_adapter_secret_ask_t){text("api_key"), text("every request"), at(header)};
}
