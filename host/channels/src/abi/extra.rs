//! What stands in the contract's `extra` lists, by the conventions in its README: in both directions.

use super::convert::{MINOR_MAX, money, protocol};
use super::trade::code;
use portolan_domain::money::Money;
use portolan_domain::operation::{Authentication, AuthenticationResult, Authorization, Fault, Memo, Target};
use portolan_domain::payment::dispute::{DISPUTES_MAX, DisputeNews, DisputeState};

/// The longest reference of a dispute.
const REFERENCE_MAX: usize = 128;

/// What the contract's README says of a target's `extra`.
pub(super) fn of_target(target: &Target) -> Vec<(String, String)> {
    let named = |name: &str, value: &String| (name.to_owned(), value.clone());
    let sent = of_sent(&target.sent);
    let captured = target.captured.as_ref().map(|it| named("captured", &money(it).units));
    let disputed = target.disputed.iter().map(|it| named("disputed", it));
    let captured_ms = target.captured_ms.map(|at| named("captured-ms", &at.to_string()));
    sent.chain(captured).chain(captured_ms).chain(disputed).collect()
}

/// The bodies of the writes that left.
pub(super) fn of_sent(sent: &[String]) -> impl Iterator<Item = (String, String)> {
    sent.iter().map(|body| ("sent".to_owned(), body.clone()))
}

/// What `authorize` left, where the contract has no place for it: its format, and its bytes in hexadecimal.
pub(super) fn of_memo(memo: Option<&Memo>) -> impl Iterator<Item = (String, String)> + use<> {
    let pairs = memo.map(|memo| {
        let hex = hex::encode(&memo.bytes);
        [
            ("memo-format".to_owned(), memo.format.to_string()),
            ("memo".to_owned(), hex),
        ]
    });
    pairs.into_iter().flatten()
}

/// What the contract's README says of an authorization's `extra`.
pub(super) fn of_authorization(authorization: &Authorization) -> Vec<(String, String)> {
    let demand = authorization
        .must_authenticate
        .then(|| ("authenticate".to_owned(), "required".to_owned()));
    demand.into_iter().collect()
}

/// What a standing's `extra` says of disputes, one JSON object each; the contract's README has its form.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Disputed {
    reference: String,
    state: String,
    units: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    network_code: Option<String>,
    #[serde(default)]
    due_ms: Option<u64>,
}

/// In how many milliseconds a standing's `extra` wants something: `watch` or `sweep`.
pub(super) fn after_ms(extra: &[(String, String)], what: &str) -> Result<Option<u32>, Fault> {
    let told = extra.iter().find(|(name, _)| name == what);
    let parsed = told.map(|(_, text)| {
        text.parse()
            .map_err(|_| protocol(format!("{text:?} is no time to {what}")))
    });
    parsed.transpose()
}

/// `like`: an amount of the same standing, for asset and decimals.
pub(super) fn disputes(extra: Vec<(String, String)>, like: Option<&Money>) -> Result<Vec<DisputeNews>, Fault> {
    let bad = |why: String| protocol(format!("what the adapter says of a dispute: {why}"));
    let told = extra.into_iter().filter(|(name, _)| name == "dispute");
    let read = |(_, text): (String, String)| {
        let it: Disputed = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let like = like.ok_or_else(|| bad("nothing says in which currency".into()))?;
        let units: i128 = it.units.parse().map_err(|_| bad(format!("{:?} units", it.units)))?;
        let is_reference = (1..=REFERENCE_MAX).contains(&it.reference.len());
        Ok(DisputeNews {
            state: DisputeState::parse(&it.state).ok_or_else(|| bad(format!("the state {:?}", it.state)))?,
            reference: Some(it.reference)
                .filter(|_| is_reference)
                .ok_or_else(|| bad("the reference".into()))?,
            amount: Money::new(units, like.asset().clone())
                .filter(|_| units <= MINOR_MAX)
                .ok_or_else(|| bad(format!("{units} units")))?,
            reason: code(it.reason),
            network_code: it.network_code.map(code),
            due_ms: it.due_ms,
        })
    };
    told.take(DISPUTES_MAX).map(read).collect()
}

/// What an outcome's `extra` says of the payer's authentication; the contract's README has its form.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Authenticated {
    result: String,
    #[serde(default)]
    challenge: Option<bool>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    eci: Option<String>,
}

/// What came of the payer's authentication. What has another form is not kept: it must not make a payment doubtful.
pub(super) fn authentication(extra: &[(String, String)]) -> Option<Authentication> {
    let (_, text) = extra.iter().find(|(name, _)| name == "authentication")?;
    let it: Authenticated = serde_json::from_str(text).ok()?;
    let result = AuthenticationResult::parse(&it.result)?;
    Authentication::new((result, it.challenge), (it.version, it.eci)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<Authentication> {
        authentication(&[("watch".into(), "1".into()), ("authentication".into(), text.into())])
    }

    #[test]
    fn an_authentication_is_read() {
        let whole = told(r#"{"result":"authenticated","challenge":true,"version":"2.2.0","eci":"05"}"#).unwrap();
        assert_eq!(whole.result, AuthenticationResult::Authenticated);
        assert_eq!(
            (whole.is_challenge, whole.version.as_deref(), whole.eci.as_deref()),
            (Some(true), Some("2.2.0"), Some("05"))
        );
        assert_eq!(
            told(r#"{"result":"not_authenticated"}"#).unwrap().result,
            AuthenticationResult::NotAuthenticated
        );
    }

    #[test]
    fn what_has_another_form_is_not_kept() {
        for text in [
            "yes",
            "{}",
            r#"{"result":"perhaps"}"#,
            r#"{"result":"authenticated","eci":"4111111111111111"}"#,
            r#"{"result":"authenticated","version":"by Alice"}"#,
            r#"{"result":"authenticated","payer":"Alice"}"#,
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
