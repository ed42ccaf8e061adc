//! The host with the sandbox adapter's `authorize` compiled in instead of run in the sandbox: what the sandbox costs is
//! the difference. Everything else goes through the registry as ever.
#![allow(clippy::print_stderr, reason = "a measuring instrument")]

use async_trait::async_trait;
use clap::Parser;
use portolan::app::App;
use portolan::config::Config;
use portolan::{server, telemetry};
use portolan_adapter::payments::{self, Authorization, Card, Instrument};
use portolan_adapter::types as guest;
use portolan_adapter::{Ctx, Payments, Progress, keys, replay};
use portolan_channels::Registry;
use portolan_domain::channel::{Capability, ChannelFacts};
use portolan_domain::exchange::{Answer, Body, Effect, Reply, Request, Word};
use portolan_domain::ids::ChannelId;
use portolan_domain::money::{Asset, Money};
use portolan_domain::operation::{Context, Fault, FaultKind, Input, Kind, Operation, Outcome, Verdict};
use portolan_domain::ports::{Channels, ContextRequest, Method, Need, Notification, Receipt, Rejection, Step};
use portolan_sandbox_adapter::Sandbox;
use std::rc::Rc;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    config: std::path::PathBuf,
    /// `serve`, as the host is called.
    verb: String,
}

fn main() -> anyhow::Result<()> {
    let typed: Vec<String> = std::env::args().collect();
    if let [_, verb, from, to] = typed.as_slice()
        && verb == "compile"
    {
        return portolan_channels::compile(from.as_ref(), to.as_ref()).map_err(anyhow::Error::msg);
    }
    let options = Options::parse();
    anyhow::ensure!(options.verb == "serve", "this one only serves");
    telemetry::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let app = App::build_with(Config::read(&options.config)?, |registry| Arc::new(Native(registry)))?;
    runtime.block_on(async {
        app.plugins.start(false).await?;
        server::serve(app).await
    })
}

struct Native(Arc<Registry>);

#[async_trait]
impl Channels for Native {
    fn facts(&self) -> Arc<[ChannelFacts]> {
        self.0.facts()
    }

    fn version(&self, channel: &ChannelId, need: Need<'_>) -> Option<String> {
        self.0.version(channel, need)
    }

    fn concluded(&self, operation: &Operation, verdict: &Verdict) {
        self.0.concluded(operation, verdict);
    }

    fn authenticates(&self, channel: &ChannelId, adapter: &str) -> bool {
        self.0.authenticates(channel, adapter)
    }

    fn capability(&self, channel: &ChannelId, kind: Kind) -> Option<Capability> {
        self.0.capability(channel, kind)
    }

    async fn context(&self, request: ContextRequest<'_>) -> Result<Context, Fault> {
        self.0.context(request).await
    }

    fn step(&self, operation: &Operation, input: &Input, answers: &[Answer]) -> Result<Step, Fault> {
        let Input::Authorize(authorization) = input else {
            return self.0.step(operation, input, answers);
        };
        let portolan_domain::operation::Instrument::Card(_, card) = &authorization.instrument else {
            return self.0.step(operation, input, answers);
        };
        let request = to_guest(operation, authorization, card);
        let answers = answers.iter().map(answer).collect();
        let run = |ctx: Rc<Ctx>| async move { <Sandbox as Payments>::authorize(&ctx, request).await };
        match replay(context(&operation.context), answers, run).map_err(fault)? {
            Progress::Send(request) => self.0.judged(operation, from_guest(request)).map(Step::Send),
            Progress::Done(payments::Outcome::Accepted(accepted)) => approved(accepted).map(Step::Done),
            Progress::Done(other) => Err(Fault {
                kind: FaultKind::Other,
                text: format!("the instrument knows approvals only: {other:?}"),
            }),
        }
    }

    async fn send(&self, operation: &Operation, request: &Request, card: Option<&Method>) -> Result<Answer, Fault> {
        self.0.send(operation, request, card).await
    }

    fn forget_session(&self, channel: &ChannelId, name: &str) {
        self.0.forget_session(channel, name);
    }

    fn parse_report(
        &self,
        channel: &ChannelId,
        piece: &[u8],
        carry: &[u8],
        is_last: bool,
    ) -> Result<(Vec<portolan_domain::settlement::ReportLine>, Vec<u8>), Fault> {
        self.0.parse_report(channel, piece, carry, is_last)
    }

    fn receive(&self, channel: &ChannelId, notification: &Notification) -> Result<Receipt, Rejection> {
        self.0.receive(channel, notification)
    }
}

fn context(context: &Context) -> guest::Context {
    guest::Context {
        operation: context.operation.to_string(),
        keys: context.keys.clone(),
        now_ms: context.now_ms,
        entropy: context.entropy.to_vec(),
        settings: context.settings.clone(),
        secrets: context.secrets.clone(),
        notify_url: context.notify_url.clone(),
        return_url: context.return_url.clone(),
        extra: vec![],
    }
}

fn to_guest(
    operation: &Operation,
    asked: &portolan_domain::operation::Authorization,
    card: &portolan_domain::operation::CardFacts,
) -> Authorization {
    Authorization {
        payment: operation.payment.to_string(),
        amount: guest::Money {
            units: operation.amount.minor().to_string(),
            exponent: operation.amount.asset().exponent(),
            asset: operation.amount.asset().code().to_owned(),
        },
        capture: asked.capture,
        instrument: Instrument::Card(Card {
            number: operation.context.card_number.clone(),
            security_code: operation.context.card_code.clone(),
            expiry_month: card.expiry_month,
            expiry_year: card.expiry_year,
            bin: card.bin.clone(),
            last4: card.last4.clone(),
            brand: card.brand.clone(),
            holder: card.holder.clone(),
        }),
        payer: guest::Party {
            kind: guest::PartyKind::Natural,
            name: asked.payer_name.clone(),
            address: None,
            email: asked.payer_email.clone(),
            phone: None,
            birth_date: None,
            identifiers: vec![],
        },
        shipping: None,
        browser: None,
        locale: None,
        authentication: None,
        credential_use: None,
        description: asked.description.clone(),
        statement_descriptor: asked.statement_descriptor.clone(),
        expires_ms: asked.expires_ms,
        index: 0,
        extra: vec![],
    }
}

fn answer(answer: &Answer) -> guest::Answer {
    let header = |(name, value): &(String, String)| guest::Header {
        name: name.clone(),
        value: value.clone(),
    };
    let reply = match &answer.reply {
        Reply::Response(response) => Ok(guest::Response {
            status: response.status,
            headers: response.headers.iter().map(header).collect(),
            body: response.body.as_bytes().to_vec(),
        }),
        Reply::NotSent(text) => Err(guest::NoResponse::NotSent(text.clone())),
        Reply::Unknown(text) => Err(guest::NoResponse::Unknown(text.clone())),
    };
    guest::Answer {
        at_ms: answer.at_ms,
        reply,
    }
}

fn from_guest(request: guest::Request) -> Request {
    let word = |signed: keys::native::Signed| Word {
        word: signed.word,
        key: Some(signed.key),
        algorithm: signed.algorithm,
        content_type: signed.content_type,
        data: Body::from(signed.data),
        encoding: match signed.encoding {
            keys::Encoding::Hex => "hex",
            keys::Encoding::HexUpper => "hex-upper",
            keys::Encoding::Base64 => "base64",
            keys::Encoding::Base64url => "base64url",
        }
        .into(),
    };
    Request {
        endpoint: request.endpoint,
        method: request.method,
        path: request.path,
        headers: request.headers.into_iter().map(|it| (it.name, it.value)).collect(),
        body: Body::from(request.body),
        effect: Effect::Write,
        timeout_ms: request.timeout_ms,
        words: keys::native::take().into_iter().map(word).collect(),
    }
}

fn approved(accepted: payments::Accepted) -> Result<Outcome, Fault> {
    let bad = || Fault {
        kind: FaultKind::Protocol,
        text: "no amount".into(),
    };
    let asset = Asset::currency(&accepted.authorized.asset).ok_or_else(bad)?;
    let minor = accepted.authorized.units.parse().map_err(|_| bad())?;
    let _ = keys::native::take();
    Ok(Outcome::Accepted {
        reference: accepted.reference,
        authorized: Money::new(minor, asset).ok_or_else(bad)?,
        captured: accepted.captured,
        network_reference: accepted.network_reference,
        authentication: None,
        memo: None,
    })
}

fn fault(fault: guest::Fault) -> Fault {
    Fault {
        kind: FaultKind::Other,
        text: format!("{fault:?}"),
    }
}
