//! The floor: what no payment router can avoid. A server in, a client to the same acquirer with session and signature,
//! two group commits of about the bytes that the host writes; no rules, no sandbox, no books. It shows the price of the
//! rest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measuring instrument fails by panicking"
)]

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use clap::Parser;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// What the host's intent and outcome take on disk, measured on a plain card payment.
const INTENT_BYTES: usize = 5_000;
const OUTCOME_BYTES: usize = 7_000;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    listen: std::net::SocketAddr,
    #[arg(long)]
    acquirer: std::net::SocketAddr,
    #[arg(long)]
    file: PathBuf,
}

type Write = (u64, usize, oneshot::Sender<()>);

struct Floor {
    acquirer: std::net::SocketAddr,
    session: String,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    disk: SyncSender<Write>,
    next: AtomicU64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let (disk, waiting) = sync_channel(4_096);
    let file = options.file.clone();
    std::thread::spawn(move || write(&file, &waiting));
    let mut floor = Floor {
        acquirer: options.acquirer,
        session: String::new(),
        idle: Mutex::new(vec![]),
        disk,
        next: AtomicU64::new(1),
    };
    let opened = floor
        .send(
            "/v1/sessions",
            json!({ "client_secret": "acquirer-client-secret" }).to_string(),
            "s",
        )
        .await;
    let opened: serde_json::Value = serde_json::from_slice(&opened)?;
    floor.session = opened
        .pointer("/access_token")
        .and_then(|token| token.as_str())
        .unwrap_or_default()
        .to_owned();
    let routes = Router::new()
        .route("/v1/payments", post(pay))
        .with_state(Arc::new(floor));
    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    Ok(axum::serve(listener, routes).await?)
}

/// Group commit, as the host does it: all that wait in one transaction, one sync.
fn write(file: &std::path::Path, waiting: &Receiver<Write>) {
    let database = rusqlite::Connection::open(file).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.pragma_update(None, "synchronous", "FULL").unwrap();
    database
        .execute_batch("CREATE TABLE payment (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
        .unwrap();
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        while let Ok(next) = waiting.try_recv() {
            batch.push(next);
        }
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        for (id, size, _) in &batch {
            let mut upsert = database
                .prepare_cached("INSERT OR REPLACE INTO payment (id, body) VALUES (?, ?)")
                .unwrap();
            upsert
                .execute(rusqlite::params![i64::try_from(*id).unwrap(), vec![7_u8; *size]])
                .unwrap();
        }
        database.execute_batch("COMMIT").unwrap();
        for (_, _, done) in batch {
            let _ = done.send(());
        }
    }
}

impl Floor {
    async fn commit(&self, id: u64, size: usize) {
        let (done, written) = oneshot::channel();
        self.disk.send((id, size, done)).unwrap();
        written.await.unwrap();
    }

    async fn send(&self, path: &str, body: String, key: &str) -> Bytes {
        let idle = self.idle.lock().unwrap().pop();
        let mut sender = match idle {
            Some(sender) => sender,
            None => {
                let stream = tokio::net::TcpStream::connect(self.acquirer).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                sender
            }
        };
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"acquirer-signing-key").unwrap();
        mac.update(body.as_bytes());
        let request = hyper::Request::post(path)
            .header("host", "acquirer")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.session))
            .header("x-signature", hex::encode(mac.finalize().into_bytes()))
            .header("idempotency-key", key)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        self.idle.lock().unwrap().push(sender);
        body
    }
}

async fn pay(State(floor): State<Arc<Floor>>, body: Bytes) -> Vec<u8> {
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let id = floor.next.fetch_add(1, Ordering::Relaxed);
    floor.commit(id, INTENT_BYTES).await;
    let charge = json!({
        "reference": format!("floor-{id}"), "amount": asked.get("amount"), "currency": "EUR", "capture": true,
        "card": { "number": "4242424242424242", "expiry_month": 12, "expiry_year": 2031 },
        "return_url": "http://127.0.0.1/return", "notify_url": "http://127.0.0.1/notify",
    });
    let charged = floor
        .send("/v1/charges", charge.to_string(), &format!("floor-{id}"))
        .await;
    floor.commit(id, OUTCOME_BYTES).await;
    let charged: serde_json::Value = serde_json::from_slice(&charged).unwrap();
    json!({ "id": id, "status": "succeeded", "charge": charged })
        .to_string()
        .into_bytes()
}
