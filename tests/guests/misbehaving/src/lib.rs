//! What an adapter must not do, chosen by the last three digits of the amount. Everything else it leaves to the sandbox
//! adapter, so that the acquirer takes its requests.
#![allow(clippy::panic, clippy::indexing_slicing, reason = "misbehaving is what it is for")]

use portolan_adapter::payments::{Accepted, Authorization, Finding, Instrument, Outcome};
use portolan_adapter::types::{Decline, Fault, Manifest, Memo, Money, Retry, Target};
use portolan_adapter::{Adapter, Ctx, Payments, RequestExt, Sessions, get, json, post, sessions};
use portolan_sandbox_adapter::Sandbox;

/// The adapter.
pub struct Misbehaving;

portolan_adapter::export_channel!(Misbehaving: adapter, sessions, payments);

impl Adapter for Misbehaving {
    fn describe() -> Manifest {
        Manifest {
            version: "0.2.0".into(),
            ..Sandbox::describe()
        }
    }
}

impl Sessions for Misbehaving {
    async fn start(ctx: &Ctx, name: String) -> Result<sessions::Opened, Fault> {
        Sandbox::start(ctx, name).await
    }
}

impl Payments for Misbehaving {
    async fn authorize(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
        let digits = request
            .amount
            .units
            .get(request.amount.units.len().saturating_sub(3)..)
            .unwrap_or_default()
            .to_owned();
        let Instrument::Card(card) = &request.instrument else {
            return Err(Fault::Unsupported("only cards".into()));
        };
        let number = card.number.clone();
        match digits.as_str() {
            "801" => spin(),
            "802" => Ok(Outcome::unknown(format!("{}", hoard()))),
            "803" => Ok(Outcome::unknown(format!("{}", dig(1)))),
            "804" => panic!("the adapter is broken on purpose"),
            "805" => Ok(Outcome::unknown("x".repeat(8 * 1024 * 1024))),
            "806" => flood(),
            "808" => claim_more(ctx, request).await,
            "809" => send(ctx, "/v1/charges", &json!({ "reference": format!("card {number}") })).await,
            "810" => send(ctx, &format!("/v1/charges/{number}"), &json!({})).await,
            "811" => read_that_charges(ctx, request).await,
            "812" => decline_after_silence(ctx, request).await,
            "813" => Ok(accepted(request.amount)),
            "814" => send_to(ctx, "metadata").await,
            "815" => ask_for_ever(ctx).await,
            "816" => smuggle(ctx).await,
            "817" => remember_too_much(ctx, request).await,
            "818" => spin_after_write(ctx, request).await,
            "830" => Ok(Outcome::Declined(refuse())),
            "831" => dawdle(ctx, request).await,
            "819" => search_itself(ctx, request).await,
            _ => Sandbox::authorize(ctx, request).await,
        }
    }

    async fn status(ctx: &Ctx, of: Target) -> Result<Finding, Fault> {
        <Sandbox as Payments>::status(ctx, of).await
    }
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

fn refuse() -> Decline {
    Decline {
        retry: Retry::Never,
        reason: "do-not-honour".into(),
        provider_code: "no".into(),
        network_code: None,
        advice: None,
        message: "declined without asking".into(),
        extra: vec![],
    }
}

/// Some milliseconds of nothing in each call.
async fn dawdle(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
    let mut n = 0_u64;
    for _ in 0..4_000_000 {
        n = std::hint::black_box(n.wrapping_add(1));
    }
    Sandbox::authorize(ctx, request).await
}

fn hoard() -> usize {
    let mut kept: Vec<Vec<u8>> = vec![];
    loop {
        // Not touched: it must reach the limit of memory before that of time, on a busy machine too.
        kept.push(Vec::with_capacity(16 * 1024 * 1024));
        if kept.len() > 4_096 {
            return kept.len();
        }
    }
}

#[allow(unconditional_recursion)]
fn dig(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    dig(depth + 1) + room[0]
}

fn flood() -> ! {
    loop {
        portolan_adapter::bindings::base::portolan::channel::log::line(
            portolan_adapter::bindings::base::portolan::channel::log::Level::Info,
            "spam",
        );
    }
}

fn accepted(amount: Money) -> Outcome {
    Outcome::Accepted(Accepted {
        reference: "made-up".into(),
        authorized: amount,
        captured: true,
        network_reference: None,
        memo: None,
        extra: vec![],
    })
}

async fn claim_more(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
    let asset = request.amount.asset.clone();
    Sandbox::authorize(ctx, request).await?;
    Ok(accepted(Money {
        units: "99999999".into(),
        exponent: 2,
        asset,
    }))
}

async fn send(ctx: &Ctx, path: &str, body: &portolan_adapter::Value) -> Result<Outcome, Fault> {
    let sent = ctx.send(post("acquirer", path).json(body)).await;
    Ok(Outcome::unknown(format!("{sent:?}")))
}

/// Says of the charge that it only reads.
async fn read_that_charges(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
    let mut wish = post("acquirer", "/v1/charges").json(&json!({ "reference": request.payment }));
    wish.effect = portolan_adapter::types::Effect::Read;
    let sent = ctx.send(wish).await;
    Ok(Outcome::unknown(format!("{sent:?}")))
}

async fn decline_after_silence(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
    Sandbox::authorize(ctx, request).await?;
    Ok(Outcome::Declined(Decline {
        retry: Retry::OtherChannel,
        reason: "do-not-honor".into(),
        provider_code: "05".into(),
        network_code: None,
        advice: None,
        message: "try somebody else".into(),
        extra: vec![],
    }))
}

async fn send_to(ctx: &Ctx, endpoint: &str) -> Result<Outcome, Fault> {
    let sent = ctx.send(get(endpoint, "/latest/meta-data")).await;
    Ok(Outcome::unknown(format!("{sent:?}")))
}

async fn ask_for_ever(ctx: &Ctx) -> Result<Outcome, Fault> {
    loop {
        let _ = ctx.send(get("acquirer", "/records")).await;
    }
}

async fn smuggle(ctx: &Ctx) -> Result<Outcome, Fault> {
    let sent = ctx
        .send(get("acquirer", "/records").header("transfer-encoding", "chunked"))
        .await;
    Ok(Outcome::unknown(format!("{sent:?}")))
}

async fn remember_too_much(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
    match Sandbox::authorize(ctx, request).await? {
        Outcome::Accepted(accepted) => Ok(Outcome::Accepted(Accepted {
            memo: Some(Memo {
                format: 1,
                bytes: vec![0; 20_000],
            }),
            ..accepted
        })),
        other => Ok(other),
    }
}

/// Searches all of its own memory for what the description spells, each byte turned by [`TURN`], once the provider has
/// answered. What it must not hold, it must not find.
async fn search_itself(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
    let turned: Vec<u8> = request
        .description
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let outcome = Sandbox::authorize(ctx, request).await;
    assert!(!memory_holds(&turned), "found");
    outcome
}

/// The wanted bytes stand turned in memory, so that the search does not find itself.
#[cfg(target_family = "wasm")]
const TURN: u8 = 0x55;

#[cfg(target_family = "wasm")]
#[allow(
    unsafe_code,
    reason = "reads the guest's own linear memory, all of it: the test's whole purpose"
)]
fn memory_holds(turned: &[u8]) -> bool {
    let size = core::arch::wasm32::memory_size(0) * 65_536;
    let byte = |at: usize| unsafe { core::ptr::read_volatile(core::ptr::without_provenance::<u8>(at)) };
    (1..size.saturating_sub(turned.len()))
        .any(|at| turned.iter().enumerate().all(|(n, want)| byte(at + n) ^ TURN == *want))
}

#[cfg(not(target_family = "wasm"))]
fn memory_holds(_: &[u8]) -> bool {
    false
}

async fn spin_after_write(ctx: &Ctx, request: Authorization) -> Result<Outcome, Fault> {
    Sandbox::authorize(ctx, request).await?;
    spin()
}
