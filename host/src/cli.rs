//! The command line. Every verb but `serve`, `check-config`, `restore` and `rotate-key` calls the operators' API.

mod approvals;
mod c;
mod client;
mod core_module;
mod dev;
mod go;
mod kit;
mod orders;
mod plugin;
mod routes;
mod scaffold;
mod shipping;
mod tables;

use crate::app::App;
use crate::config::Config;
use crate::plugins::Plugins;
use crate::{server, telemetry};
use anyhow::Context;
use clap::{Parser, Subcommand};
use portolan_domain::lifecycle::Stage;
use portolan_vault::KeyFile;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// A self-hosted, cross-border payment router.
#[derive(Parser)]
#[command(name = "portolan", version, about)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, default_value = "portolan.toml", env = "PORTOLAN_CONFIG")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve merchants until SIGTERM.
    Serve {
        /// Where another router has the store: wait, and take over as soon as it ends, however it does.
        #[arg(long)]
        standby: bool,
        /// End, as by SIGTERM, when whoever started it is gone.
        #[arg(long, hide = true)]
        until_stdin_ends: bool,
    },
    /// Read the configuration, load every adapter, and say what is wrong.
    CheckConfig,
    /// API keys.
    #[command(subcommand)]
    Key(KeyVerb),
    /// What a merchant's people approve with passkeys before it goes out, and who may.
    #[command(subcommand)]
    Approvals(approvals::ApprovalsVerb),
    /// What its merchant signed about a payment, and its people approved: for others to check, with openssl alone.
    Orders {
        /// pay_… or po_…
        id: String,
        /// A folder for the files.
        #[arg(long)]
        into: Option<PathBuf>,
    },
    /// Everything about one payment: timeline, operations, exchanges, entries.
    Payment {
        /// pay_… or po_…
        id: String,
    },
    /// Bring what came to a payment's own address, tokens on a chain, to where payouts are made from.
    Sweep {
        /// pay_…
        id: String,
        /// Who decided.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Stop a channel or one of its endpoints, at once, and let it go on.
    #[command(subcommand)]
    Channel(ChannelVerb),
    /// Operations whose outcome is not known.
    Unknowns,
    /// Where merchants are told of events, and how far that is.
    #[command(subcommand)]
    Webhooks(WebhooksVerb),
    /// What needs a human.
    #[command(subcommand)]
    Tasks(TasksVerb),
    /// The books.
    #[command(subcommand)]
    Ledger(LedgerVerb),
    /// Providers' settlement reports.
    #[command(subcommand)]
    Report(ReportVerb),
    /// The log of events.
    #[command(subcommand)]
    Audit(AuditVerb),
    /// Versions of adapters: make, check, sign, install, compare, swap, roll back.
    #[command(subcommand)]
    Plugin(plugin::PluginVerb),
    /// Merchants' rules about routes, and how the channels are.
    #[command(subcommand)]
    Routes(routes::RoutesVerb),
    /// Compile a component; what the router calls, in a process of its own.
    #[command(hide = true)]
    Compile {
        /// The component.
        from: PathBuf,
        /// Where the compiled one goes.
        to: PathBuf,
    },
    /// Run an adapter behind the second wall; what the router calls, once for each worker.
    #[command(hide = true)]
    Worker,
    /// Copy the running store into a new file.
    Backup {
        /// The new file.
        to: PathBuf,
    },
    /// Put a backup in place of the store (stopped). What was open then is asked about at the next start.
    Restore {
        /// The backup.
        from: PathBuf,
    },
    /// Copy the store in the folder (stopped) into the empty database that [store] postgres names, and go on there.
    Move,
    /// The database was put back in time (stopped): ask the providers at the next start. Most ways to do so are noticed.
    Restored,
    /// Add a new key to the key file (stopped); it seals from the next start on, the old ones still open.
    RotateKey,
}

#[derive(Subcommand)]
enum WebhooksVerb {
    /// Every merchant's endpoints.
    List,
    /// Tell an endpoint no more, whoever made it.
    Remove {
        /// we_…
        id: String,
        /// Who decided.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Subcommand)]
enum KeyVerb {
    /// Make a key; it is shown once.
    Create {
        /// The merchant's name.
        #[arg(long)]
        merchant: String,
        /// test or live.
        #[arg(long, default_value = "test")]
        mode: String,
        /// Scopes; all if none is given.
        #[arg(long)]
        scope: Vec<String>,
        /// The merchant's public Ed25519 key (PEM): what comes with the API key and changes something must be signed with it.
        #[arg(long)]
        signed_by: Option<PathBuf>,
    },
    /// All keys, without their secrets.
    List,
    /// Stop a key from working.
    Revoke {
        /// The first characters, as `list` shows them.
        id: String,
    },
}

#[derive(Subcommand)]
enum ChannelVerb {
    /// No new payments go there; what follows earlier ones goes on. With `--endpoint`, nothing is sent there at all.
    Stop(SwitchArgs),
    /// It goes on.
    Start(SwitchArgs),
    /// What is stopped.
    Stopped,
}

#[derive(clap::Args)]
struct SwitchArgs {
    /// The channel.
    channel: String,
    /// One of its endpoints.
    #[arg(long)]
    endpoint: Option<String>,
    /// Who decides.
    #[arg(long)]
    by: String,
    /// Why.
    #[arg(long)]
    reason: String,
}

#[derive(Subcommand)]
enum TasksVerb {
    /// Open tasks.
    List {
        /// Closed ones too.
        #[arg(long)]
        closed: bool,
    },
    /// Decide one.
    Resolve {
        /// task_…
        id: String,
        /// One of those that `list` allows.
        resolution: String,
        /// Who decides.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// The provider's reference, where it happened.
        #[arg(long)]
        reference: Option<String>,
    },
}

#[derive(Subcommand)]
enum LedgerVerb {
    /// Check every invariant over everything.
    Check,
}

#[derive(Subcommand)]
enum ReportVerb {
    /// Match a report with the books; taken again, it changes nothing.
    Take {
        /// Whose report.
        #[arg(long)]
        channel: String,
        /// The file, as the provider made it.
        file: PathBuf,
    },
    /// What channels settled and no bank's statement has shown yet, batch by batch.
    Transit,
    /// What was taken and no report has named yet.
    Unsettled,
    /// Lines that do not fit the books, with age and owner.
    Breaks,
    /// Give a break to somebody.
    Give {
        /// As `breaks` shows it.
        id: u64,
        /// Who looks after it.
        #[arg(long)]
        owner: String,
        /// Who says so.
        #[arg(long)]
        by: String,
    },
    /// Close a break that is settled by another way.
    Close {
        /// As `breaks` shows it.
        id: u64,
        /// Who decides.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Subcommand)]
enum AuditVerb {
    /// Verify the hash chain over all events and operators' acts.
    Verify,
    /// What operators did, the newest first.
    Acts,
}

/// Does what was typed.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match &cli.verb {
        Verb::Compile { from, to } => return portolan_channels::compile(from, to).map_err(anyhow::Error::msg),
        Verb::Worker => return portolan_channels::serve_worker().map_err(anyhow::Error::msg),
        Verb::Routes(verb) => {
            if let Some(done) = routes::offline(verb) {
                return done;
            }
        }
        Verb::Plugin(verb) => {
            if let Some(done) = plugin::offline(verb) {
                return done;
            }
        }
        _ => {}
    }
    let config = Config::read(&cli.config)?;
    match cli.verb {
        Verb::Serve {
            standby,
            until_stdin_ends,
        } => {
            telemetry::start();
            if until_stdin_ends {
                std::thread::spawn(end_with_stdin);
            }
            let runtime = runtime()?;
            let app = match standby {
                true => App::build_when_free(&config, || Ok(Config::read(&cli.config)?))?,
                false => App::build(config)?,
            };
            runtime.block_on(async {
                app.plugins.start(false).await?;
                server::serve(app).await
            })?;
            // What is still in flight after the drain is on disk as an intent and will be asked about.
            runtime.shutdown_timeout(std::time::Duration::from_millis(100));
            Ok(())
        }
        Verb::CheckConfig => {
            let channels = config.channels.len();
            let runtime = runtime()?;
            let app = App::build(config)?;
            runtime.block_on(app.plugins.start(true))?;
            for line in not_granted(&app.plugins)? {
                say(&line)?;
            }
            say(&format!("the configuration is good: {channels} channels"))
        }
        Verb::RotateKey => {
            let id = KeyFile::rotate(&config.folder.join("keys.json"))?;
            say(&format!(
                "key {id} seals from the next start on; where several machines have one store, copy keys.json to each before"
            ))
        }
        Verb::Restore { from } => restore(&config, &from),
        Verb::Restored => say(&crate::app::note_restored(&config)?),
        Verb::Move => say(&crate::app::move_store(&config)?),
        Verb::Plugin(verb) => plugin::ask(&config, verb),
        Verb::Approvals(verb) => approvals::ask(&config, verb),
        Verb::Routes(verb) => routes::ask(&config, verb),
        verb => ask(&config, verb),
    }
}

/// What adapters ask for and channels do not grant: they run without it, as far as they can.
fn not_granted(plugins: &Plugins) -> anyhow::Result<Vec<String>> {
    let mut lines = vec![];
    for version in plugins.list().iter().filter(|it| it.stage == Stage::Active) {
        for fit in plugins.inspect(&version.adapter, &version.digest)?.fits {
            let open = fit.not_granted.iter().map(|(ask, grant)| {
                format!(
                    "channel {}: asked for and not granted: {ask}; to grant it: {grant}",
                    fit.channel
                )
            });
            lines.extend(open);
        }
    }
    Ok(lines)
}

/// Ends this process when nobody has the other end of its standard input any more.
fn end_with_stdin() {
    let read = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    let ended = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    tracing::info!(?read, ?ended, "standard input ended");
}

/// Room for whoever reads and judges what merchants write: an expression is as deep on the stack as it is nested.
const STACK: usize = 8 * 1024 * 1024;

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_stack_size(STACK).build()
}

fn ask(config: &Config, verb: Verb) -> anyhow::Result<()> {
    let client = client::Client::new(config)?;
    let (answer, good) = match verb {
        Verb::Key(KeyVerb::Create {
            merchant,
            mode,
            scope,
            signed_by,
        }) => {
            let read = |file: PathBuf| std::fs::read_to_string(&file).with_context(|| file.display().to_string());
            let public_key = signed_by.map(read).transpose()?;
            let ask = json!({ "merchant": merchant, "mode": mode, "scopes": scope, "signed_by": public_key });
            (client.post("/admin/keys", &ask)?, None)
        }
        Verb::Orders { id, into } => return orders::show(&client, &id, into.as_deref()),
        Verb::Key(KeyVerb::List) => (client.get("/admin/keys")?, None),
        Verb::Key(KeyVerb::Revoke { id }) => (client.post(&format!("/admin/keys/{id}/revoke"), &json!({}))?, None),
        Verb::Payment { id } => (client.get(&format!("/admin/payments/{id}"))?, None),
        Verb::Sweep { id, by, reason } => (
            client.post(
                &format!("/admin/payments/{id}/sweep"),
                &json!({ "by": by, "reason": reason }),
            )?,
            None,
        ),
        Verb::Channel(ChannelVerb::Stop(args)) => (switch(&client, "stop", &args)?, None),
        Verb::Channel(ChannelVerb::Start(args)) => (switch(&client, "start", &args)?, None),
        Verb::Channel(ChannelVerb::Stopped) => (client.get("/admin/channels/stopped")?, None),
        Verb::Unknowns => (client.get("/admin/unknowns")?, None),
        Verb::Webhooks(WebhooksVerb::List) => (client.get("/admin/webhooks")?, None),
        Verb::Webhooks(WebhooksVerb::Remove { id, by, reason }) => (
            client.post(
                &format!("/admin/webhooks/{id}/remove"),
                &json!({ "by": by, "reason": reason }),
            )?,
            None,
        ),
        Verb::Tasks(TasksVerb::List { closed }) => (
            client.get(if closed {
                "/admin/tasks?closed=true"
            } else {
                "/admin/tasks"
            })?,
            None,
        ),
        Verb::Tasks(TasksVerb::Resolve {
            id,
            resolution,
            by,
            reason,
            reference,
        }) => {
            let body = json!({ "resolution": resolution, "by": by, "reason": reason, "reference": reference });
            (client.post(&format!("/admin/tasks/{id}/resolve"), &body)?, None)
        }
        Verb::Ledger(LedgerVerb::Check) => (client.get("/admin/ledger/check")?, Some("balanced")),
        Verb::Report(ReportVerb::Take { channel, file }) => {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            (client.post_bytes(&format!("/admin/reports/{channel}"), &bytes)?, None)
        }
        Verb::Report(ReportVerb::Breaks) => (client.get("/admin/breaks")?, None),
        Verb::Report(ReportVerb::Give { id, owner, by }) => (
            client.post(
                &format!("/admin/breaks/{id}/give"),
                &json!({ "owner": owner, "by": by }),
            )?,
            None,
        ),
        Verb::Report(ReportVerb::Close { id, by, reason }) => (
            client.post(
                &format!("/admin/breaks/{id}/close"),
                &json!({ "by": by, "reason": reason }),
            )?,
            None,
        ),
        Verb::Report(ReportVerb::Unsettled) => (client.get("/admin/unsettled")?, None),
        Verb::Report(ReportVerb::Transit) => (client.get("/admin/transit")?, None),
        Verb::Audit(AuditVerb::Verify) => (client.get("/admin/audit/verify")?, Some("intact")),
        Verb::Audit(AuditVerb::Acts) => (client.get("/admin/audit/acts")?, None),
        Verb::Backup { to } => {
            let to = std::path::absolute(&to)?;
            (client.post("/admin/backup", &json!({ "to": to }))?, None)
        }
        Verb::Serve { .. }
        | Verb::CheckConfig
        | Verb::RotateKey
        | Verb::Restore { .. }
        | Verb::Move
        | Verb::Restored
        | Verb::Plugin(_)
        | Verb::Approvals(_)
        | Verb::Routes(_)
        | Verb::Compile { .. }
        | Verb::Worker => return Ok(()),
    };
    say(&serde_json::to_string_pretty(&answer)?)?;
    match good {
        Some(field) if answer.get(field) != Some(&json!(true)) => anyhow::bail!("not {field}: see above"),
        Some(_) | None => Ok(()),
    }
}

fn switch(client: &client::Client, word: &str, args: &SwitchArgs) -> anyhow::Result<serde_json::Value> {
    let body = json!({ "endpoint": args.endpoint, "by": args.by, "reason": args.reason });
    client.post(&format!("/admin/channels/{}/{word}", args.channel), &body)
}

fn restore(config: &Config, from: &std::path::Path) -> anyhow::Result<()> {
    let file = config.folder.join("portolan.db");
    std::fs::create_dir_all(&config.folder)?;
    anyhow::ensure!(
        config.postgres.is_none(),
        "the store is in PostgreSQL: restore it with PostgreSQL's own tools, then `portolan restored`"
    );
    portolan_storage::restore(from, &file).with_context(|| format!("restoring {}", from.display()))?;
    say("restored; the next start asks the providers about everything that was open or young in the backup")
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// One line on standard error.
pub fn say_error(error: &anyhow::Error) {
    // Where standard error is gone, nobody reads it either.
    // It may repeat what somebody else's server said: nothing of it steers the terminal.
    let text: String = format!("{error:#}")
        .chars()
        .map(|it| if it.is_control() && it != '\n' { '?' } else { it })
        .collect();
    let _ = writeln!(std::io::stderr(), "portolan: {text}");
}
