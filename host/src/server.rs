//! Listening and stopping: connections with header, idle and drain limits; readiness off first, then no new
//! connections, then what is in flight may finish, then the end. A second signal ends at once, which is as safe as a
//! crash.

use crate::admin;
use crate::api::{self, Api, Counters, Limiter, Signatures};
use crate::app::App;
use anyhow::Context;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};

/// How long a request's head may take, and how long a connection may idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// What the servers share.
pub struct Shared {
    /// The application.
    pub app: Arc<App>,
    /// Counts.
    pub counters: Arc<Counters>,
    /// Whether new requests are welcome.
    pub is_ready: AtomicBool,
}

/// Serves until a signal.
pub async fn serve(app: App) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = Arc::new(app);
    let public = TcpListener::bind(app.config.listen)
        .await
        .with_context(|| format!("listening on {}", app.config.listen))?;
    let operators = TcpListener::bind(app.config.admin)
        .await
        .with_context(|| format!("listening on {}", app.config.admin))?;
    let counters = Arc::new(Counters::default());
    let shared = Arc::new(Shared {
        app: app.clone(),
        counters: counters.clone(),
        is_ready: AtomicBool::new(false),
    });
    let token = admin::token(&app.config.folder)?;

    let (stop, stopped) = watch::channel(false);
    let admin_task = tokio::spawn(listen(
        operators,
        admin::routes(shared.clone(), token),
        64,
        stopped.clone(),
    ));
    // It is only for better guesses: nobody waits for it, least of all the merchants of a router that was killed just now.
    let learning = app.clone();
    let _learnt_beside = tokio::task::spawn_blocking(move || match learning.routes.relearn() {
        Ok(payments) => tracing::info!(payments, "what channels approved before is learnt again"),
        Err(error) => tracing::warn!(%error, "how often channels approve is not known from before"),
    });
    let unknown = app.engine.recover().await.context("taking up what the last run left")?;
    let timers = tokio::spawn(app.engine.clone().run_timers(stopped.clone()));
    let feeds = tokio::spawn(app.engine.clone().run_feeds(stopped.clone()));
    let inbox = tokio::spawn(app.engine.clone().run_inbox(stopped.clone()));
    let telling = tokio::spawn(app.webhooks.clone().run(stopped.clone()));
    let watching = tokio::spawn(app.plugins.clone().watch(stopped.clone()));
    let shadows = tokio::spawn(app.plugins.clone().watch_shadows(stopped.clone()));
    let inbox_of = app.config.inbox.clone();
    let components = tokio::spawn(app.plugins.clone().watch_inbox(inbox_of, stopped.clone()));
    let pruning = tokio::spawn(app.engine.clone().run_pruning(app.config.retention, stopped.clone()));
    let api_task = tokio::spawn(listen(
        public,
        api::routes(Api {
            app: app.clone(),
            counters,
            limiter: Arc::new(Limiter::new(app.config.requests_per_second)),
            signatures: Arc::new(Signatures::new(app.ambient.now_ms())),
        }),
        app.config.connections_max,
        stopped,
    ));
    shared.is_ready.store(true, Ordering::SeqCst);
    tracing::info!(listen = %app.config.listen, admin = %app.config.admin, unknown, "ready");

    first_of(&mut term, &mut interrupt).await;
    shared.is_ready.store(false, Ordering::SeqCst);
    tracing::info!("stopping: draining");
    stop.send(true)?;
    let drained = async {
        let _ = tokio::join!(
            api_task, timers, feeds, inbox, pruning, telling, watching, shadows, components
        );
    };
    tokio::select! {
        () = drained => tracing::info!("drained"),
        () = tokio::time::sleep(app.config.drain) => tracing::warn!("stopping with requests in flight: their outcomes will be asked for"),
        () = first_of(&mut term, &mut interrupt) => tracing::warn!("second signal: stopping at once"),
    }
    admin_task.abort();
    Ok(())
}

async fn first_of(term: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Accepts until told to stop, then waits for what is in flight.
async fn listen(listener: TcpListener, routes: Router, connections_max: usize, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(connections_max));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (routes, stopped) = (routes.clone(), stopped.clone());
        tokio::spawn(async move {
            connection(stream, routes, stopped).await;
            drop(slot);
        });
    }
    let _ = slots
        .acquire_many(u32::try_from(connections_max).unwrap_or(u32::MAX))
        .await;
}

async fn connection(stream: tokio::net::TcpStream, routes: Router, mut stopped: watch::Receiver<bool>) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(64);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut serving = std::pin::pin!(serving);
    loop {
        tokio::select! {
            done = serving.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            _ = stopped.changed() => serving.as_mut().graceful_shutdown(),
        }
        if *stopped.borrow() {
            let _ = serving.await;
            return;
        }
    }
}
