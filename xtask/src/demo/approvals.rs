//! The story's chapter on approvals: who has the API key alone pays nobody; one of the shop's people approves, with a passkey, this
//! payout and no other. Afterwards the back office is open, for a passkey of one's own.

use super::say;
use anyhow::{Context, ensure};
use portolan_tests::passkeys::Person;
use portolan_tests::{Reply, World};
use serde_json::{Value, json};

fn order(account: &str) -> Value {
    json!({
        "amount": 20_000, "currency": "HKD", "reference": "invoice 4712",
        "beneficiary": {
            "type": "company", "name": "Kowloon Lamps Ltd", "country": "HK",
            "account": { "bank_code": "004", "account_number": account },
        },
    })
}

fn operator(world: &World, path: &str, body: &Value) -> anyhow::Result<Reply> {
    let path = format!("/admin/approvals/shop/test{path}");
    let done = world.admin_call("POST", &path, Some(body))?;
    ensure!(done.status == 200, "{}", done.text);
    Ok(done)
}

fn invite(world: &World, name: &str) -> anyhow::Result<String> {
    let invited = operator(world, "/invite", &json!({ "by": "olga", "name": name }))?;
    Ok(invited.text_at("/invite").to_owned())
}

/// Tells it.
pub fn story(world: &mut World) -> anyhow::Result<()> {
    let office = world.start_office()?;
    say("\n— approvals: what goes out is approved by the shop's people, with passkeys —")?;
    let terms = json!({ "rp_id": "localhost", "origins": [office], "people": 1 });
    operator(world, "", &json!({ "by": "olga", "terms": terms }))?;
    let (mut mei, code) = (Person::new(false), invite(world, "Mei Wong")?);
    let asked = world.post("/v1/approvers/options", &json!({ "invite": code }))?;
    let options = asked.body.get("options").context("options")?;
    let body = json!({ "invite": code, "credential": mei.create(&office, options)? });
    let registered = world.post("/v1/approvers", &body)?;
    ensure!(registered.text_at("/status") == "registered", "{}", registered.text);
    let key = registered.text_at("/key");
    operator(
        world,
        "/confirm",
        &json!({ "by": "olga", "approver": registered.text_at("/id"), "key": key }),
    )?;
    say("    Mei Wong was invited, has made a passkey, and told the operator its fingerprint")?;

    let order_of_a_thief = world.post_with_key("/v1/payouts", &order("123456789009"), "approvals-1")?;
    ensure!(
        order_of_a_thief.text_at("/code") == "approval_required",
        "{}",
        order_of_a_thief.text
    );
    say("    somebody with the shop's API key orders 200.00 HKD to an account of their own: nothing goes out")?;
    let key = "approvals-2";
    let asked = world.post_with_key("/v1/payouts", &order("123456789001"), key)?;
    let approval = asked.body.get("approval").context("nothing was asked")?;
    say("    Mei Wong is asked to sign this, and nothing else:")?;
    for line in asked.text_at("/approval/text").lines().take(4) {
        say(&format!("      {line}"))?;
    }
    let signed = mei.get(&office, approval.get("options").context("options")?)?;
    let with = |account| {
        let mut order = order(account);
        if let Some(fields) = order.as_object_mut() {
            let asked_at = approval.get("asked_at");
            fields.insert(
                "approval".into(),
                json!({ "asked_at": asked_at, "credentials": [signed] }),
            );
        }
        order
    };
    let other = world.post_with_key("/v1/payouts", &with("123456789009"), key)?;
    ensure!(other.text_at("/code") == "approval_invalid", "{}", other.text);
    let paid = world.post_with_key("/v1/payouts", &with("123456789001"), key)?;
    ensure!(paid.status == 200, "{}", paid.text);
    say("    her approval is no good for another account; for this one the payout goes out")?;
    let kept = world.admin_call("GET", &format!("/admin/payments/{}/orders", paid.text_at("/id")), None)?;
    ensure!(kept.text_at("/approvals/0/by/0/name") == "Mei Wong", "{}", kept.text);
    say("    it is kept with the payout, for anybody to check with openssl: portolan orders po_… --into proof")?;
    let code = invite(world, "You")?;
    let config = world.config();
    say(&format!(
        "    the shop's back office is at {office}: be invited with {code},\n    make a passkey, confirm it as the operator, pay, and approve it yourself:\n    \
         target/debug/portolan --config {} approvals confirm --merchant shop --mode test --by olga apr_… --key …",
        config.display()
    ))
}
