//! The OpenAPI 3.1 document, made from the table of endpoints and the views.

use super::API_VERSION;
use super::endpoints::Endpoint;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The document.
pub fn document(endpoints: &[Endpoint]) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints {
        let gives = (endpoint.gives)(&mut generator);
        let described = describe(endpoint, gives.to_value());
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(endpoint.method.to_owned(), described);
        }
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".into(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portolan", "version": API_VERSION,
            "description": "A payment router: one endpoint for every way to pay. Amounts are integers of minor units. A decline is a result, not an error. Where the operator bound an API key to your public Ed25519 key, each POST is signed by RFC 9421, each try anew: Signature-Input names the key's first 16 characters as keyid and a time (created, at most 300 s ago), and covers @method, @path, content-digest (RFC 9530, sha-256 or sha-512, of an empty body too), @query where there is one, and idempotency-key where one is sent. 401 signature_missing, signature_invalid and signature_used say what is wrong.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": {
                "Content-Digest": signature_header("Content-Digest", "RFC 9530: sha-256=:…: of the body"),
                "Signature-Input": signature_header("Signature-Input", "RFC 9421: what is covered, keyid and created"),
                "Signature": signature_header("Signature", "RFC 9421: an Ed25519 signature"),
            },
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description": "sk_test_… or sk_live_…" } },
        },
    })
}

fn signature_header(name: &str, what: &str) -> Value {
    json!({
        "name": name, "in": "header", "required": false, "schema": { "type": "string" },
        "description": format!("{what}. Needed where the API key is bound to a public key."),
    })
}

fn describe(endpoint: &Endpoint, gives: Value) -> Value {
    let parameter = |name: &str, place: &str, is_required: bool| json!({ "name": name, "in": place, "required": is_required, "schema": { "type": "string" } });
    let of_path = endpoint
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = of_path.map(|name| parameter(name, "path", true)).collect();
    parameters.extend(endpoint.query.iter().map(|name| parameter(name, "query", false)));
    if endpoint.is_idempotent {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": true,
            "description": "A new one for each payment, the same one for each retry",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        }));
    }
    if endpoint.method == "post" {
        let signed = ["Content-Digest", "Signature-Input", "Signature"];
        parameters.extend(signed.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })));
    }
    let problem = json!({
        "description": "What is wrong, and what to do about it (RFC 9457)",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    let mut unauthorized = problem.clone();
    if let Some(fields) = unauthorized.as_object_mut() {
        let what = "No key, one that was revoked, or one whose requests are signed: invalid_api_key, revoked_api_key, signature_missing, signature_invalid, signature_used";
        fields.insert("description".into(), what.into());
    }
    let mut described = json!({
        "summary": endpoint.summary,
        "description": format!("Needs the scope {}.", endpoint.scope),
        "operationId": operation_id(endpoint),
        "parameters": parameters,
        "responses": {
            "200": { "description": "As asked", "content": { "application/json": { "schema": gives } } },
            "401": unauthorized,
            "default": problem,
        },
    });
    if let (Some(body), Some(fields)) = (&endpoint.body, described.as_object_mut()) {
        let content = json!({ "required": true, "content": { "application/json": { "schema": body } } });
        fields.insert("requestBody".into(), content);
    }
    described
}

/// `post_payments_capture`, say.
fn operation_id(endpoint: &Endpoint) -> String {
    let parts = endpoint
        .path
        .split('/')
        .filter(|part| !part.is_empty() && *part != "v1");
    let parts = parts.map(|part| if part.starts_with('{') { "one" } else { part });
    std::iter::once(endpoint.method)
        .chain(parts)
        .collect::<Vec<_>>()
        .join("_")
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "retryable", "errors"],
        "properties": {
            "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
            "detail": { "type": "string" }, "instance": { "type": "string" }, "code": { "type": "string" },
            "param": { "type": ["string", "null"] }, "retryable": { "type": "boolean" },
            "request_id": { "type": "string" },
            "approval": {
                "type": "object",
                "description": "With approval_required, approval_expired and approval_ahead: what your people approve, and how a browser asks them. approval_invalid: what came is not their approval of this order; no_approvers: too few may approve yet",
                "required": ["text", "asked_at", "people", "options"],
                "properties": {
                    "text": { "type": "string", "description": "What is approved: its SHA-256 is the challenge" },
                    "asked_at": { "type": "integer" },
                    "people": { "type": "integer", "description": "How many have to" },
                    "options": { "type": "object", "description": "For PublicKeyCredential.parseRequestOptionsFromJSON" },
                },
            },
            "quote": { "type": "object", "description": "With quote_expired: a fresh one" },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": { "pointer": { "type": "string" }, "code": { "type": "string" }, "message": { "type": "string" } },
                },
            },
        },
    })
}
