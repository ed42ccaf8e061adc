//! WeChat Pay, in JavaScript, as a partner would ship it: built by the kit, held to its vectors and to the host's attacks, and
//! carried through a running router to a peer that verifies, signs and seals with the SDK of others.

use crate::kit;
use portolan_tests::{Options, Reply, World, call, peers, workspace};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

const EXPORTS: [&str; 5] = ["payments", "captures", "refunds", "reversals", "notifications"];

/// Built once for all tests.
fn built() -> &'static Path {
    static BUILT: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        let place = tempfile::tempdir().unwrap();
        let own = workspace().join("plugins/wechat-pay/adapter.js");
        let vectors = workspace().join("plugins/wechat-pay/vectors");
        let name = ("javascript", "dev.portolan.wechat-pay");
        let component = kit::partners(&place.path().join("wechat"), name, (&own, &vectors), &EXPORTS);
        (place, component)
    });
    &BUILT.1
}

/// The peer, in a folder with the keys of both sides.
struct Peer {
    child: Child,
    at: SocketAddr,
}

impl Peer {
    fn start(folder: &Path) -> Self {
        for name in ["merchant", "platform", "stranger"] {
            let (key, public) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pub")));
            let openssl = |words: &[&str]| {
                let out = Command::new("openssl").args(words).output().unwrap();
                assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            };
            let (key, public) = (key.display().to_string(), public.display().to_string());
            openssl(&[
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
                "-out",
                &key,
            ]);
            openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
        }
        std::fs::write(folder.join("api_v3.key"), "0123456789abcdefABCDEF0123456789").unwrap();
        let mut child = Command::new("node")
            .arg(workspace().join("tests/e2e/wechat_peer.mjs"))
            .args([folder, &peers::node_modules()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        let at = format!("127.0.0.1:{}", port.trim()).parse().unwrap();
        Self { child, at }
    }

    /// One of its own words, for the test.
    fn says(&self, method: &str, path: &str) -> Value {
        let reply = call(self.at, method, path, &[], None).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.body
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn world(component: &Path, folder: &Path, peer: &Peer) -> World {
    let (component, folder, at) = (component.display(), folder.display(), peer.at);
    World::start(Options {
        more: format!(
            r#"
[[adapter]]
name = "wechat-pay"
file = "{component}"

[[channel]]
id = "wechat-a"
mode = "test"
adapter = "wechat-pay"
currencies = ["CNY"]
endpoints.api = {{ url = "http://{at}", allow_private = true }}
keys.signing = "file:{folder}/merchant.key"
keys.provider = "file:{folder}/platform.pub"
keys.api_v3 = "file:{folder}/api_v3.key"

[channel.settings]
appid = "wxd678efh567hg6787"
mchid = "1900007291"
serial_no = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
provider_serial = "PUB_KEY_ID_0119000072912024"
"#
        ),
        ..Options::default()
    })
    .unwrap()
}

fn pay(world: &World, amount: u64) -> Reply {
    let body = json!({
        "amount": amount, "currency": "CNY", "payment_method_type": "wallet:wechat-pay", "confirm": true,
        "description": "一杯拿铁 / one latte",
    });
    world.post("/v1/payments", &body).unwrap()
}

fn until(world: &World, payment: &Reply, is: impl Fn(&Reply) -> bool) -> Reply {
    world.await_payment(payment.text_at("/id"), is).unwrap()
}

/// The order's number, out of the code that the payer scans.
fn number(payment: &Reply) -> String {
    assert_eq!(payment.text_at("/next_action/type"), "qr", "{}", payment.text);
    let code = payment.text_at("/next_action/text");
    code.strip_prefix("weixin://wxpay/bizpayurl?pr=").unwrap().to_owned()
}

#[test]
fn its_vectors_are_good_and_no_attack_finds_anything() {
    let component = built().display().to_string();
    let vectors = workspace().join("plugins/wechat-pay/vectors").display().to_string();
    let said = kit::good(&["test", &component, "--vectors", &vectors]);
    assert!(said.contains("37 vectors good, 0 not"), "{said}");
    let said = kit::good(&["conform", &component, "--vectors", &vectors]);
    assert!(said.contains(" 0 findings"), "{said}");
}

#[test]
fn a_shopper_scans_is_refunded_and_another_lets_it_be() {
    let place = tempfile::tempdir().unwrap();
    let peer = Peer::start(place.path());
    let world = world(built(), place.path(), &peer);
    let waiting = pay(&world, 8_800);
    assert_eq!(waiting.text_at("/status"), "requires_action", "{}", waiting.text);
    let order = number(&waiting);

    // Nobody but the provider is heard.
    let forged = peer.says("POST", &format!("/forge/{order}"));
    for how in ["signed_by_another", "sealed_by_another"] {
        assert!(forged[how].as_u64() >= Some(400), "{forged}");
    }
    assert_eq!(peer.says("POST", &format!("/pay/{order}"))["notified"], 204);
    let paid = until(&world, &waiting, |it| it.text_at("/status") == "succeeded");
    assert_eq!(paid.body["amount_captured"], 8_800);

    let refund = |amount: u64| {
        let body = json!({ "payment": paid.text_at("/id"), "amount": amount, "reason": "cold" });
        world.post("/v1/refunds", &body).unwrap()
    };
    assert_eq!(refund(3_000).text_at("/status"), "succeeded");
    let slow = refund(945);
    assert_eq!(slow.text_at("/status"), "pending", "{}", slow.text);
    assert_eq!(peer.says("POST", &format!("/refunded/{order}"))["notified"], 204);
    until(&world, &paid, |it| it.body["amount_refunded"] == 3_945);

    let unwanted = pay(&world, 700);
    let path = format!("/v1/payments/{}/cancel", unwanted.text_at("/id"));
    let canceled = world.post(&path, &json!({})).unwrap();
    assert_eq!(canceled.text_at("/status"), "canceled", "{}", canceled.text);

    // …941: refused with 403, and that is a decline, not the operator's trouble.
    let refused = pay(&world, 10_941);
    assert_eq!(refused.text_at("/status"), "failed", "{}", refused.text);
    assert_eq!(
        refused.text_at("/last_error/decline_reason"),
        "limit-exceeded",
        "{}",
        refused.text
    );

    // …943: the order is made, and the answer is nobody's. The router asks, and nobody has paid.
    let unknown = pay(&world, 10_943);
    assert_eq!(
        (unknown.text_at("/status"), unknown.text_at("/outcome")),
        ("processing", "unknown"),
        "{}",
        unknown.text
    );
    let records = peer.says("GET", "/records");
    let state = |of: &str| {
        let orders = records["orders"].as_array().unwrap();
        let found = orders.iter().find(|it| it["out_trade_no"] == of).unwrap();
        found["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (state(&order), state(&number(&unwanted))),
        ("SUCCESS".into(), "CLOSED".into())
    );
    assert_eq!(records["refused"], 0, "the SDK refused a signature of ours");
    assert_eq!(records["refunds"].as_array().unwrap().len(), 2);
    world.assert_books().unwrap();
}
