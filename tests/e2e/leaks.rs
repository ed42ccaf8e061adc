//! The leak hunt: marked card numbers, secrets, tokens, names; then every file that the host wrote and its logs at trace
//! level are searched in all encodings. A planted leak must be found.

use crate::cross_border::{self, eur_to_hkd, with_desks};
use crate::payouts::to_hong_kong;
use portolan_tests::chain::{CODE, Chain};
use portolan_tests::{Options, World};
use serde_json::json;
use std::path::{Path, PathBuf};

const CARD: &str = "4539578763621486";
const NAME: &str = "Zebedee Quixwortham";
const MAIL: &str = "zebedee@quixwortham.example";
const CUSTOMER: &str = "customer-quixwortham";
const ADDRESS: &str = "203.0.113.177";

/// A value in every spelling that somebody might have written down.
fn spellings(value: &str) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = vec![
        value.as_bytes().to_vec(),
        value.bytes().rev().collect(),
        value.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        value.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        hex::encode(value).into_bytes(),
        hex::encode_upper(value).into_bytes(),
        value
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect::<String>()
            .into_bytes(),
    ];
    for separator in [' ', '-'] {
        let groups: Vec<&str> = value
            .as_bytes()
            .chunks(4)
            .map(|group| std::str::from_utf8(group).unwrap())
            .collect();
        found.push(groups.join(&separator.to_string()).into_bytes());
    }
    for phase in 0..3 {
        // The characters at the edges depend on what stands beside: only those between are the value's own.
        let padded = [vec![b'x'; phase], value.as_bytes().to_vec()].concat();
        let encoded = base64(&padded);
        found.push(encoded.as_bytes()[(phase * 4).div_ceil(3)..encoded.len() - 4].to_vec());
    }
    found
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| char::from(LETTERS[bits as usize & 63]);
    let triple = |group: &[u8]| {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        [18, 12, 6, 0].map(|shift| letter(bits >> shift))
    };
    bytes.chunks(3).flat_map(triple).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}

/// Where which value stands. The secrets' own files and the providers' records are where they belong.
fn hunt(folder: &Path, values: &[&str]) -> Vec<String> {
    let mut hits = vec![];
    for path in files(folder) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".secret") || name.ends_with(".jsonl") || name == "keys.json" || name == "admin.token" {
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        for value in values {
            for spelling in spellings(value) {
                if memchr::memmem::find(&content, &spelling).is_some() {
                    hits.push(format!("{value} as {:?} in {name}", String::from_utf8_lossy(&spelling)));
                }
            }
        }
    }
    hits
}

#[test]
fn nothing_secret_is_written_anywhere() {
    let env = vec![("PORTOLAN_LOG".to_owned(), "trace".to_owned())];
    let mut world = World::start(Options {
        env,
        more: "[webhooks]\nallow_private = true\n".into(),
        ..Options::default()
    })
    .unwrap();
    // A merchant is told, in vain: what signs is used, and what is not taken is kept.
    let hook = json!({ "url": format!("http://{}/hooks", world.admin) });
    let hook = world.post("/v1/webhook_endpoints", &hook).unwrap();
    let webhook_secret = hook.text_at("/secret").trim_start_matches("whsec_").to_owned();
    // Limits count by who pays and from where: they keep neither.
    let limit = |per: &str| json!({ "name": per, "limit": { "per": per, "payments": 9, "within": "1h" } });
    let rules = json!({ "rules": [limit("payer"), limit("ip"), limit("card")] });
    assert_eq!(world.post("/v1/routes/rules", &rules).unwrap().status, 200);
    let pay = |amount: u64| {
        let card =
            json!({ "number": CARD, "expiry_month": 12, "expiry_year": 2031, "security_code": "739", "holder": NAME });
        let method = world
            .post("/v1/payment_methods", &json!({ "type": "card", "card": card }))
            .unwrap();
        assert_eq!(method.status, 200, "{}", method.text);
        let payer = json!({ "name": NAME, "email": MAIL, "id": CUSTOMER, "ip": ADDRESS });
        let body = json!({
            "amount": amount, "currency": "EUR", "payment_method": method.text_at("/id"), "confirm": true, "payer": payer,
            "description": "for Zebedee Quixwortham",
        });
        world.post("/v1/payments", &body).unwrap()
    };
    let paid = pay(1_000);
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    for digits in [901, 904, 905, 906, 912] {
        pay(10_000 + digits);
    }
    world
        .post("/v1/refunds", &json!({ "payment": paid.text_at("/id"), "amount": 100 }))
        .unwrap();
    let bad = format!(
        r#"{{"type":"card","card":{{"number":"{CARD}","expiry_month":99,"expiry_year":2031,"colour":"{CARD}"}}}}"#
    );
    let key = world.key.clone();
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let refused = portolan_tests::call(world.api, "POST", "/v1/payment_methods", &headers, Some(&bad)).unwrap();
    assert!(
        refused.status >= 400 && !refused.text.contains(CARD),
        "{}",
        refused.text
    );
    let told = format!("/v1/webhook_endpoints/{}", hook.text_at("/id"));
    world.await_at(&told, |it| it.text_at("/status") == "failing").unwrap();
    world.kill_host().unwrap();
    world.start_host().unwrap();
    world.stop_host().unwrap();

    let values = [
        CARD,
        &webhook_secret,
        NAME,
        MAIL,
        CUSTOMER,
        ADDRESS,
        "acquirer-client-secret",
        "acquirer-signing-key",
        "acquirer-notify-key",
        "session-token-",
        &key,
    ];
    assert_eq!(hunt(&world.folder, &values), Vec::<String>::new());

    std::fs::write(
        world.folder.join("planted.log"),
        format!("oops {}", base64(format!("x{CARD}").as_bytes())),
    )
    .unwrap();
    assert!(
        !hunt(&world.folder, &values).is_empty(),
        "the hunt does not see a planted leak"
    );
}

/// Beneficiaries, also in what people approve; what invites these; what opens a desk, what signs for a wallet provider and on a chain.
#[test]
fn nothing_of_a_beneficiary_or_a_channels_key_is_written_anywhere() {
    const ACCOUNT: &str = "904711908822";
    let chain = Chain::start().unwrap();
    let mut world = World::start(Options {
        env: vec![("PORTOLAN_LOG".to_owned(), "trace".to_owned())],
        wallet: Some(vec![]),
        more: chain.channel(3, ""),
        ..with_desks(&[&[]])
    })
    .unwrap();
    let exchanged = cross_border::pay(&world, &eur_to_hkd(&world, 100_000), &json!({}));
    assert_eq!(
        exchanged.text_at("/settlement/status"),
        "succeeded",
        "{}",
        exchanged.text
    );
    // Paid; no answer; too little; the account is closed; sent back.
    for amount in [20_000, 20_922, 20_925, 20_931, 20_932] {
        let mut body = to_hong_kong(amount);
        body["beneficiary"]["name"] = NAME.into();
        body["beneficiary"]["account"]["account_number"] = ACCOUNT.into();
        let sent = world.post("/v1/payouts", &body).unwrap();
        assert_eq!(sent.status, 200, "{}", sent.text);
        assert!(!sent.text.contains(ACCOUNT), "{}", sent.text);
    }
    let (approved, invite) = crate::approvals::pay_out_approved(&world, |order| {
        order["beneficiary"]["name"] = NAME.into();
        order["beneficiary"]["account"]["account_number"] = ACCOUNT.into();
    });
    assert_eq!(approved.status, 200, "{}", approved.text);
    let paid_by = |body| assert_eq!(world.post("/v1/payments", &body).unwrap().status, 200);
    paid_by(json!({
        "amount": 8_800, "currency": "CNY", "payment_method_type": "wallet:alipay-plus:ALIPAY_CN", "confirm": true,
        "return_url": "https://shop.example/done", "payer": { "name": NAME, "email": MAIL },
    }));
    let token = format!("token:{CODE}");
    paid_by(json!({ "amount": "1000000", "currency": CODE, "payment_method_type": token, "confirm": true }));
    let mut refused = to_hong_kong(1);
    refused["beneficiary"]["account"] = json!({ "bank_code": ACCOUNT, "account_number": ACCOUNT });
    let reply = world.post("/v1/payouts", &refused).unwrap();
    assert!(reply.status == 422 && !reply.text.contains(ACCOUNT), "{}", reply.text);
    world.kill_host().unwrap();
    world.start_host().unwrap();
    world.stop_host().unwrap();

    let keys = std::fs::read_to_string(portolan_tests::workspace().join("examples/wallet/keys/router.key")).unwrap();
    let signing = keys.lines().nth(4).unwrap();
    let seed = portolan_tests::chain::SEED;
    let values = [
        NAME,
        MAIL,
        ACCOUNT,
        "desk-api-key",
        "desk-webhook-secret",
        signing,
        seed,
        &invite,
    ];
    assert_eq!(hunt(&world.folder, &values), Vec::<String>::new());
}
