//! The provider that an adapter is tried against: a script behind HTTP, on loopback.

use super::leaves::Sent;
use super::script::{Answer, Script};
use anyhow::Context;
use axum::body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The longest request.
const BODY_MAX: usize = 1 << 20;
/// After a connection that was not accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// Requests that are kept to be told of.
const HEARD_MAX: usize = 1_000;

/// What the connection says of itself, whatever stands in a vector.
const OWN_HEADERS: [&str; 5] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "content-encoding",
];

/// What is played, and what was heard.
struct Stage {
    script: Script,
    heard: VecDeque<Heard>,
}

/// One request and its answer.
pub struct Heard {
    /// `POST /charges → 200 (approved)`
    pub line: String,
    /// The vector that was played.
    pub by: Option<String>,
    /// Whether it was asked for something that is not there.
    pub is_absent: bool,
    /// What it was about, of all that was taken.
    pub about: Option<usize>,
}

/// A provider that answers as vectors say, until it is dropped.
pub struct Provider {
    /// Where it listens.
    pub at: SocketAddr,
    stage: Arc<Mutex<Stage>>,
    _open: oneshot::Sender<()>,
}

impl Provider {
    /// Starts to listen, on threads of its own.
    pub fn start(script: Script) -> anyhow::Result<Self> {
        let heard = VecDeque::new();
        let stage = Arc::new(Mutex::new(Stage { script, heard }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .context("the provider's port")?;
        let at = listener.local_addr()?;
        let shared = stage.clone();
        let (open, closed) = oneshot::channel();
        std::thread::Builder::new().name("provider".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listen(listener, shared) => {}
                    _ = closed => {}
                }
            });
        })?;
        Ok(Self { at, stage, _open: open })
    }

    /// Does something with the script.
    pub fn with<T>(&self, act: impl FnOnce(&mut Script) -> T) -> T {
        act(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner).script)
    }

    /// What was asked since the last time.
    pub fn heard(&self) -> Vec<Heard> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        stage.heard.drain(..).collect()
    }
}

async fn listen(listener: TcpListener, stage: Arc<Mutex<Stage>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let stage = stage.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| reply(stage.clone(), request));
            // Who wants no answer, or is given none, closes.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// `Err`: the connection ends without an answer.
async fn reply(stage: Arc<Mutex<Stage>>, request: Request<Incoming>) -> std::io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(std::io::Error::other)?;
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    };
    let sent = Sent {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
        headers: head.headers.iter().map(header).collect(),
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    };
    answer(&mut stage.lock().unwrap_or_else(PoisonError::into_inner), &sent)
}

fn response((status, headers, body): (u16, &[(String, String)], &str)) -> Result<Response<Body>, hyper::http::Error> {
    let is_own = |name: &str| OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own));
    let says_kind = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let mut response = Response::builder().status(status);
    if !says_kind {
        response = response.header("content-type", "application/json");
    }
    for (name, value) in headers.iter().filter(|(name, _)| !is_own(name)) {
        response = response.header(name, value);
    }
    response.body(Body::from(body.to_owned()))
}

fn answer(stage: &mut Stage, sent: &Sent) -> std::io::Result<Response<Body>> {
    let told = stage.script.answer(sent);
    let response = match &told.answer {
        Answer::Said(status, headers, body) => {
            response((*status, headers, body)).map_err(|error| format!("an answer that HTTP does not know: {error}"))
        }
        Answer::Silence => Err("no answer".to_owned()),
    };
    // A query may name the payer.
    let path = sent.path.split('?').next().unwrap_or_default();
    let what = match &response {
        Ok(response) => response.status().as_u16().to_string(),
        Err(problem) => problem.clone(),
    };
    let by = told.by.as_deref().unwrap_or("no vector");
    stage.heard.push_back(Heard {
        line: format!("{} {path} → {what} ({by})", sent.method),
        is_absent: told.is_absent,
        about: told.about,
        by: told.by,
    });
    if stage.heard.len() > HEARD_MAX {
        stage.heard.pop_front();
    }
    response.map_err(std::io::Error::other)
}
