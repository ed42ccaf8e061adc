//! Sending one request to one endpoint: resolve, filter, connect, write, read, each with its own deadline. No
//! redirects, no proxies, no retries but one: on a pooled connection that was closed before a byte was written.

use crate::address::is_public;
use crate::counted::{Counted, Stream};
use bytes::Bytes;
use dashmap::DashMap;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;
use portolan_domain::wire::{WireBytes, WireRequest};
use rustls_pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The largest reply body, in bytes. Providers answer with a few KiB; reports have their own way.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// How much of a body is read that nobody wants, and for how long, to keep its connection.
const REST_BYTES_MAX: usize = 16 * 1024;
const REST_WITHIN: Duration = Duration::from_millis(500);
/// The largest head of a reply, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most headers in a reply.
const HEADERS_MAX: usize = 100;
/// Idle connections kept per endpoint.
const IDLE_MAX: usize = 256;
/// How long an idle connection is kept: shorter than what servers usually keep theirs.
const IDLE_FOR: Duration = Duration::from_secs(20);

/// How long each phase may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the look-up to an open TCP connection.
    pub connect: Duration,
    /// For the TLS handshake.
    pub tls: Duration,
    /// For everything, whatever the adapter asked for.
    pub total_max: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            tls: Duration::from_secs(5),
            total_max: Duration::from_secs(60),
        }
    }
}

/// A text that is not an endpoint.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an endpoint: scheme http or https, a host, a port if need be, nothing more")]
pub struct EndpointError(String);

/// Where requests go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    is_tls: bool,
    host: String,
    port: u16,
    allow_private: bool,
}

impl Endpoint {
    /// Parses `https://host[:port]`. Plain http is for loopback alone: the caller checks that.
    pub fn parse(url: &str, allow_private: bool) -> Result<Self, EndpointError> {
        let error = || EndpointError(url.to_owned());
        let (is_tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(error()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| error())?),
            None => (rest, if is_tls { 443 } else { 80 }),
        };
        let is_host = !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        if is_host {
            Ok(Self {
                is_tls,
                host: host.to_ascii_lowercase(),
                port,
                allow_private,
            })
        } else {
            Err(error())
        }
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    fn authority(&self) -> String {
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

/// What came of a request.
pub enum Sent {
    /// A whole reply.
    Response {
        /// The status.
        status: u16,
        /// Names and values.
        headers: Vec<(String, Vec<u8>)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Not one byte of the request was written.
    NotSent(String),
    /// Bytes left, and no whole reply came.
    Unknown(String),
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    written: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
    idle_since: Instant,
}

/// The client, with its pools.
pub struct Egress {
    timeouts: Timeouts,
    tls: TlsConnector,
    idle: DashMap<Endpoint, Vec<Connection>>,
}

/// What of a reply counts.
#[derive(Clone, Copy)]
enum Wants {
    Body,
    Status,
}

enum Failure {
    Before(String),
    After(String),
}

impl Egress {
    /// A client that trusts the public certificate authorities.
    pub fn new(timeouts: Timeouts) -> Self {
        let roots = rustls::RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self::with_roots(timeouts, roots, provider)
    }

    /// A client that trusts the given authorities.
    pub fn with_roots(
        timeouts: Timeouts,
        roots: rustls::RootCertStore,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Self {
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions);
        let config = match builder {
            Ok(builder) => builder.with_root_certificates(roots).with_no_client_auth(),
            Err(error) => unreachable_provider(&error),
        };
        Self {
            timeouts,
            tls: TlsConnector::from(Arc::new(config)),
            idle: DashMap::new(),
        }
    }

    /// Sends one request and reads the whole reply.
    pub async fn send(&self, endpoint: &Endpoint, request: WireRequest, longest: Duration) -> Sent {
        self.send_for(endpoint, request, (longest, Wants::Body)).await
    }

    /// The same where only status and headers count: whatever comes after them is dropped, with its connection if it is long.
    pub async fn send_for_status(&self, endpoint: &Endpoint, request: WireRequest, longest: Duration) -> Sent {
        self.send_for(endpoint, request, (longest, Wants::Status)).await
    }

    /// Closes what nobody used for a while, and forgets where it led.
    pub fn close_idle(&self) {
        self.idle.retain(|_, connections| {
            connections.retain(|it| it.sender.is_ready() && it.idle_since.elapsed() < IDLE_FOR);
            !connections.is_empty()
        });
    }

    async fn send_for(&self, endpoint: &Endpoint, request: WireRequest, (longest, wants): (Duration, Wants)) -> Sent {
        let started = Instant::now();
        let total = longest.min(self.timeouts.total_max);
        let request = match build(endpoint, request) {
            Ok(request) => request,
            Err(error) => return Sent::NotSent(error),
        };
        // Whoever was not run in between does not go on as if no time had passed.
        let is_late = || started.elapsed() > self.timeouts.connect.saturating_add(self.timeouts.tls);
        if let Some(connection) = self.take_idle(endpoint).filter(|_| !is_late()) {
            match self
                .exchange(endpoint, connection, request.clone(), (total, wants))
                .await
            {
                Err(Failure::Before(_)) => {}
                Err(Failure::After(error)) => return Sent::Unknown(error),
                Ok(sent) => return sent,
            }
        }
        let connection = match timeout(total, self.connect(endpoint)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Sent::NotSent(error),
            Err(_) => return Sent::NotSent("no connection in time".into()),
        };
        if is_late() {
            return Sent::NotSent("no connection in time".into());
        }
        let rest = total.saturating_sub(started.elapsed());
        match self.exchange(endpoint, connection, request, (rest, wants)).await {
            Ok(sent) => sent,
            Err(Failure::Before(error)) => Sent::NotSent(error),
            Err(Failure::After(error)) => Sent::Unknown(error),
        }
    }

    fn take_idle(&self, endpoint: &Endpoint) -> Option<Connection> {
        let mut idle = self.idle.get_mut(endpoint)?;
        while let Some(connection) = idle.pop() {
            if connection.sender.is_ready() && connection.idle_since.elapsed() < IDLE_FOR {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, String> {
        let connecting = timeout(self.timeouts.connect, connect_tcp(endpoint));
        let tcp = connecting
            .await
            .map_err(|_| "the connection took too long".to_owned())??;
        let stream = if endpoint.is_tls {
            let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| error.to_string())?;
            let handshake = timeout(self.timeouts.tls, self.tls.connect(name, tcp));
            let tls = handshake
                .await
                .map_err(|_| "the TLS handshake took too long".to_owned())?;
            Stream::Tls(Box::new(tls.map_err(|error| format!("TLS: {error}"))?))
        } else {
            Stream::Plain(tcp)
        };
        let (counted, written) = Counted::new(stream);
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let handshake = builder.handshake(TokioIo::new(counted)).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a provider ended");
            }
        });
        Ok(Connection {
            sender,
            written,
            task,
            idle_since: Instant::now(),
        })
    }

    /// One exchange on one connection. Whether bytes left is counted, not guessed.
    async fn exchange(
        &self,
        endpoint: &Endpoint,
        mut connection: Connection,
        request: hyper::Request<Full<Bytes>>,
        (rest, wants): (Duration, Wants),
    ) -> Result<Sent, Failure> {
        if rest.is_zero() {
            return Err(Failure::Before("no time is left".into()));
        }
        let before = connection.written.load(Ordering::SeqCst);
        let result = timeout(rest, async {
            let response = connection
                .sender
                .send_request(request)
                .await
                .map_err(|error| error.to_string())?;
            match wants {
                Wants::Body => read(response).await.map(|sent| (sent, true)),
                Wants::Status => Ok(status_of(response).await),
            }
        });
        let result = result.await.unwrap_or_else(|_| Err("no whole reply in time".into()));
        match result {
            Ok((sent, is_done)) => {
                match is_done {
                    true => self.keep(endpoint, connection),
                    false => connection.task.abort(),
                }
                Ok(sent)
            }
            Err(error) => {
                // The connection's own task writes; only once it has ended is the count final.
                let Connection { written, task, .. } = connection;
                task.abort();
                let _ = task.await;
                if written.load(Ordering::SeqCst) == before {
                    Err(Failure::Before(error))
                } else {
                    Err(Failure::After(error))
                }
            }
        }
    }

    fn keep(&self, endpoint: &Endpoint, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.idle_since = Instant::now();
        let mut idle = self.idle.entry(endpoint.clone()).or_default();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}

/// The provider and the protocol versions are both fixed at compile time, so this cannot happen; a client that trusts
/// nobody is what is left to give.
fn unreachable_provider(error: &rustls::Error) -> rustls::ClientConfig {
    tracing::error!(%error, "the TLS provider does not speak TLS 1.2 and 1.3");
    rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// Resolves once, filters, and connects to the very address that was checked.
async fn connect_tcp(endpoint: &Endpoint) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|error| format!("look-up: {error}"))?.collect();
    let mut last = "the host has no address".to_owned();
    for address in addresses {
        if !endpoint.allow_private && !is_public(address.ip()) {
            last = format!(
                "{} is not a public address, and the endpoint is not granted private ones",
                address.ip()
            );
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                return Ok(stream);
            }
            Err(error) => last = format!("connect: {error}"),
        }
    }
    Err(last)
}

struct Owned(WireBytes);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_for_wire()
    }
}

fn build(endpoint: &Endpoint, request: WireRequest) -> Result<hyper::Request<Full<Bytes>>, String> {
    let mut builder = hyper::Request::builder()
        .method(request.method.as_str())
        .uri(request.path.as_str());
    let headers = builder.headers_mut().ok_or("the request line is not one")?;
    headers.insert(
        HOST,
        HeaderValue::from_str(&endpoint.authority()).map_err(|error| error.to_string())?,
    );
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        let mut value = HeaderValue::from_bytes(value.expose_for_wire()).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    builder
        .body(Full::new(Bytes::from_owner(Owned(request.body))))
        .map_err(|error| error.to_string())
}

/// Status and headers; and whether the rest came in a moment, so that the connection can be used again.
async fn status_of(response: hyper::Response<hyper::body::Incoming>) -> (Sent, bool) {
    let (parts, body) = response.into_parts();
    let rest = timeout(REST_WITHIN, Limited::new(body, REST_BYTES_MAX).collect()).await;
    let sent = Sent::Response {
        status: parts.status.as_u16(),
        headers: headers_of(&parts),
        body: vec![],
    };
    (sent, matches!(rest, Ok(Ok(_))))
}

fn headers_of(parts: &hyper::http::response::Parts) -> Vec<(String, Vec<u8>)> {
    let pairs = parts.headers.iter();
    pairs
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> Result<Sent, String> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, RESPONSE_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| format!("half a body: {error}"))?;
    Ok(Sent::Response {
        status: parts.status.as_u16(),
        headers: headers_of(&parts),
        body: body.to_bytes().to_vec(),
    })
}
