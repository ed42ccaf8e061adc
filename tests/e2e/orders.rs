//! Orders that their merchant signs: by a library of others, with openssl's keys, checked by openssl once they are kept.

use portolan_tests::{Options, Reply, World, call, peers, workspace};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const COVERS: [&str; 4] = ["@method", "@path", "idempotency-key", "content-type"];

/// What openssl says.
fn openssl(words: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(words).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A merchant whose API key is bound to a key pair.
struct Shop {
    world: World,
    private: String,
    api_key: String,
}

fn key_pair(folder: &Path, name: &str) -> (String, String) {
    let at = |end: &str| folder.join(format!("{name}.{end}")).display().to_string();
    assert!(openssl(&["genpkey", "-algorithm", "ed25519", "-out", &at("key")]).0);
    assert!(openssl(&["pkey", "-in", &at("key"), "-pubout", "-out", &at("pem")]).0);
    let read = |end: &str| std::fs::read_to_string(at(end)).unwrap();
    (read("key"), read("pem"))
}

impl Shop {
    fn open() -> Self {
        let world = World::start(Options::default()).unwrap();
        let (private, public) = key_pair(&world.folder, "shop");
        let ask = json!({ "merchant": "shop", "mode": "test", "scopes": [], "signed_by": public });
        let made = world.admin_call("POST", "/admin/keys", Some(&ask)).unwrap();
        let api_key = made.text_at("/key").to_owned();
        Self {
            world,
            private,
            api_key,
        }
    }

    fn headers(&self, key: &str) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            pair("authorization", &format!("Bearer {}", self.api_key)),
            pair("content-type", "application/json"),
            pair("idempotency-key", key),
        ]
    }

    /// The headers of a request that is signed; `more` says otherwise how.
    fn signed(&self, path: &str, body: &str, key: &str, more: &Value) -> Vec<(String, String)> {
        let headers: serde_json::Map<String, Value> = self
            .headers(key)
            .into_iter()
            .map(|(name, value)| (name, json!(value)))
            .collect();
        let mut ask = json!({ "method": "POST", "path": path, "headers": headers, "body": body, "key": self.private,
            "key_id": &self.api_key[..16], "covers": COVERS });
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut signer = Command::new(peers::python())
            .arg(workspace().join("tests/e2e/order_signer.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        signer
            .stdin
            .take()
            .unwrap()
            .write_all(ask.to_string().as_bytes())
            .unwrap();
        let output = signer.wait_with_output().unwrap();
        let headers: serde_json::Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
        let pairs = headers
            .into_iter()
            .map(|(name, value)| (name, value.as_str().unwrap().to_owned()));
        pairs.collect()
    }

    fn send(&self, path: &str, body: &str, headers: &[(String, String)]) -> Reply {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        call(self.world.api, "POST", path, &headers, Some(body)).unwrap()
    }

    /// Signs and sends.
    fn order(&self, path: &str, body: &Value) -> Reply {
        let (body, key) = (body.to_string(), self.world.fresh_key());
        self.send(path, &body, &self.signed(path, &body, &key, &json!({})))
    }

    fn card(&self) -> String {
        let card =
            json!({ "number": "4242424242424242", "expiry_month": 12, "expiry_year": 2031, "security_code": "737" });
        let stored = self.order("/v1/payment_methods", &json!({ "type": "card", "card": card }));
        assert_eq!(stored.status, 200, "{}", stored.text);
        stored.text_at("/id").to_owned()
    }

    fn orders(&self, payment: &str) -> Vec<Value> {
        let path = format!("/admin/payments/{payment}/orders");
        let told = self.world.admin_call("GET", &path, None).unwrap();
        told.body["orders"].as_array().unwrap().clone()
    }
}

#[test]
fn a_signed_order_is_carried_out_and_proves_itself_to_others() {
    let mut shop = Shop::open();
    let method = shop.card();
    let order =
        json!({ "amount": 1_099, "currency": "EUR", "payment_method": method, "description": "Lampe für Ñandú" });
    let made = shop.order("/v1/payments", &order);
    assert_eq!(made.text_at("/status"), "requires_confirmation", "{}", made.text);
    let id = made.text_at("/id").to_owned();
    // A code would stand in what is kept, or be found by its digest: it is refused, however it is written.
    let path = format!("/v1/payments/{id}/confirm");
    for code in [r#"{"security_code":"737"}"#, r#"{"security\u005fcode":"737"}"#] {
        let key = shop.world.fresh_key();
        let refused = shop.send(&path, code, &shop.signed(&path, code, &key, &json!({})));
        let told = (refused.status, refused.text_at("/errors/0/pointer"));
        assert_eq!(told, (422, "/security_code"), "{}", refused.text);
    }
    let paid = shop.order(&path, &json!({}));
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let refund = shop.order("/v1/refunds", &json!({ "payment": id, "amount": 99 }));
    assert_eq!(refund.text_at("/status"), "succeeded", "{}", refund.text);
    // What only looks needs no signature.
    let bearer = format!("Bearer {}", shop.api_key);
    let look = [("authorization", bearer.as_str())];
    let shown = call(shop.world.api, "GET", &format!("/v1/payments/{id}"), &look, None).unwrap();
    assert_eq!(shown.status, 200, "{}", shown.text);

    shop.world.stop_host().unwrap();
    shop.world.start_host().unwrap();
    let orders = shop.orders(&id);
    assert_eq!(orders.len(), 3);
    assert_eq!(orders[0]["body"].as_str().unwrap(), order.to_string());
    assert!(orders[1]["signed"].as_str().unwrap().contains(&path));
    let refund_of = |order: &Value| order["operation"].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        refund_of(&orders[2]).split_once('_').unwrap().1,
        refund.text_at("/id").split_once('_').unwrap().1
    );
    for told in &orders {
        let text = told.to_string();
        assert!(!text.contains(&shop.api_key), "{text}");
    }
    // By the command line into files, and by openssl alone.
    let folder = shop.world.folder.join("proof");
    let run = Command::new(portolan_tests::binary("portolan"))
        .arg("--config")
        .arg(shop.world.config())
        .args(["orders", &id, "--into"])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    for number in 1..=3 {
        let at = |end: &str| folder.join(format!("{number}.{end}")).display().to_string();
        let (pem, signed, signature) = (at("pem"), at("signed"), at("signature"));
        let verify = |signed: &str| {
            openssl(&[
                "pkeyutl", "-verify", "-pubin", "-inkey", &pem, "-rawin", "-in", signed, "-sigfile", &signature,
            ])
        };
        let (is_good, said) = verify(&signed);
        assert!(is_good && said.contains("Verified Successfully"), "{said}");
        let other = at("other");
        let text = std::fs::read_to_string(&signed).unwrap();
        std::fs::write(&other, text.replacen("POST", "PUT", 1)).unwrap();
        assert!(!verify(&other).0, "another order is not what was signed");
    }
    let script = folder.join("verify.sh");
    let verify = || Command::new("sh").arg(&script).output().unwrap();
    let checked = verify();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.status.success() && said.matches("the body is what was signed").count() == 3,
        "{checked:?}"
    );
    let mode =
        |file: &Path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions()) & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("1.body"))), (0o700, 0o600));
    let body = std::fs::read_to_string(folder.join("1.body")).unwrap();
    std::fs::write(folder.join("1.body"), body.replace("1099", "1098")).unwrap();
    assert!(!verify().status.success(), "another body is not what was signed");
    assert!(!run_again(&shop, &id, &folder), "files of two runs would mix");
    assert_eq!(
        shop.world.admin_call("GET", "/admin/audit/verify", None).unwrap().body["intact"],
        true
    );
    shop.world.assert_books().unwrap();
}

/// Whether `portolan orders` writes into that folder.
fn run_again(shop: &Shop, payment: &str, folder: &Path) -> bool {
    let mut run = Command::new(portolan_tests::binary("portolan"));
    run.arg("--config").arg(shop.world.config());
    let run = run.args(["orders", payment, "--into"]).arg(folder).output().unwrap();
    run.status.success()
}

#[test]
fn what_is_not_signed_as_it_must_be_is_refused_with_the_reason() {
    let shop = Shop::open();
    let method = shop.card();
    let body = json!({ "amount": 500, "currency": "EUR", "payment_method": method, "confirm": true }).to_string();
    let path = "/v1/payments";
    let refused = |reply: Reply, code: &str, why: &str| {
        assert_eq!((reply.status, reply.text_at("/code")), (401, code), "{}", reply.text);
        assert!(reply.text_at("/detail").contains(why), "{why}: {}", reply.text);
    };
    refused(
        shop.send(path, &body, &shop.headers("k-0")),
        "signature_missing",
        "Content-Digest",
    );
    let good = shop.signed(path, &body, "k-1", &json!({}));
    let without = |name: &str| -> Vec<(String, String)> {
        let is_other = |(known, _): &&(String, String)| !known.eq_ignore_ascii_case(name);
        good.iter().filter(is_other).cloned().collect()
    };
    refused(
        shop.send(path, &body, &without("signature")),
        "signature_missing",
        "send Signature",
    );
    refused(
        shop.send(path, &body, &without("signature-input")),
        "signature_missing",
        "Signature-Input",
    );
    // Another amount, another path, another key of the merchant's, somebody else's key pair.
    let more = body.replace("500", "501");
    refused(
        shop.send(path, &more, &good),
        "signature_invalid",
        "not the digest of this body",
    );
    refused(
        shop.send("/v1/payouts", &body, &good),
        "signature_invalid",
        "signature base",
    );
    let mut other_key = without("idempotency-key");
    other_key.push(("idempotency-key".into(), "k-2".into()));
    refused(
        shop.send(path, &body, &other_key),
        "signature_invalid",
        "idempotency-key\": k-2",
    );
    let (stranger, _) = key_pair(&shop.world.folder, "stranger");
    for (more, why) in [
        (json!({ "key": stranger }), "is not the registered key's"),
        (json!({ "key_id": "sk_test_somebody" }), "keyid"),
        (json!({ "age_s": 301 }), "sign each request when it is sent"),
        (json!({ "age_s": -90 }), "set your clock"),
        (
            json!({ "covers": ["@method", "idempotency-key"] }),
            "does not cover @path",
        ),
        (
            json!({ "covers": ["@method", "@path"] }),
            "does not cover idempotency-key",
        ),
        (
            json!({ "covers": ["@method", "@path", "authorization"] }),
            "\"authorization\" cannot be covered",
        ),
        (
            json!({ "covers": ["@method", "@path", "@scheme", "idempotency-key"] }),
            "\"@scheme\" cannot be covered",
        ),
    ] {
        let headers = shop.signed(path, &body, "k-3", &more);
        refused(shop.send(path, &body, &headers), "signature_invalid", why);
    }
    for (name, value, why) in [
        ("signature-input", "order=\"text\"", "keyid"),
        ("signature-input", "((", "no dictionary"),
        ("signature", "order=5", "no bytes under"),
        ("content-digest", "md5=:AAAA:", "neither sha-256 nor sha-512"),
    ] {
        let mut headers = without(name);
        headers.push((name.to_owned(), value.to_owned()));
        refused(shop.send(path, &body, &headers), "signature_invalid", why);
    }
    assert!(shop.world.records().unwrap()["charges"].as_array().unwrap().is_empty());
    // One line with two values is not two lines with one: the first of them would be another key.
    let joined = shop.signed(path, &body, "k-4, k-5", &json!({}));
    let split = |headers: &[(String, String)]| -> Vec<(String, String)> {
        let both = ["k-4", "k-5"].map(|key| ("idempotency-key".to_owned(), key.to_owned()));
        let others = headers
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("idempotency-key"));
        others.cloned().chain(both).collect()
    };
    let two = shop.send(path, &body, &split(&joined));
    assert_eq!(
        (two.status, two.text_at("/code")),
        (400, "idempotency_key_invalid"),
        "{}",
        two.text
    );
    // What was signed once is carried out once, with a key for it or without.
    let rules = json!({ "rules": [] }).to_string();
    let once = shop.signed("/v1/routes/rules", &rules, "unused", &json!({}));
    assert_eq!(shop.send("/v1/routes/rules", &rules, &once).status, 200);
    refused(
        shop.send("/v1/routes/rules", &rules, &once),
        "signature_used",
        "sign each try anew",
    );
    // The same order once more, signed anew under its key, is the same payment; its proof is kept once.
    let first = shop.send(path, &body, &good);
    let again = shop.send(
        path,
        &body,
        &shop.signed(path, &body, "k-1", &json!({ "nonce": "second try" })),
    );
    assert_eq!(
        (first.text_at("/status"), first.text.as_str()),
        ("succeeded", again.text.as_str())
    );
    assert_eq!(shop.orders(first.text_at("/id")).len(), 1);
    refused(shop.send(path, &body, &good), "signature_used", "");
    // A key that nobody signs for leaves nothing to prove; whoever makes one that is signed for hears of it.
    let ask = json!({ "merchant": "shop", "mode": "test", "scopes": [], "signed_by": key_pair(&shop.world.folder, "next").1 });
    let next = shop.world.admin_call("POST", "/admin/keys", Some(&ask)).unwrap();
    let open = next.body["keys_that_need_no_signature"].as_array().unwrap();
    assert_eq!(open, &[json!(&shop.world.key[..16])], "{}", next.text);
    let acts = shop.world.admin_call("GET", "/admin/audit/acts", None).unwrap();
    assert!(acts.text.contains("signed by "), "{}", acts.text);
    let unsigned = shop.world.pay("4242424242424242", 700).unwrap();
    assert!(shop.orders(unsigned.text_at("/id")).is_empty());
    // What is no key is said where it is registered.
    for (pem, why) in [
        ("x", "PEM"),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "Ed25519",
        ),
    ] {
        let ask = json!({ "merchant": "shop", "mode": "test", "scopes": [], "signed_by": pem });
        let refused = shop.world.admin_call("POST", "/admin/keys", Some(&ask)).unwrap();
        assert!(refused.status == 422 && refused.text.contains(why), "{}", refused.text);
    }
}
