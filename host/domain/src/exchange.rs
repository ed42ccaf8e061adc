//! What passes between an operation and its provider, as the journal keeps it: request templates (handles, never
//! secrets), scrubbed answers, and how far the bytes went.

use serde::{Deserialize, Serialize};

/// What a request may do. Decided by the host from method and grant; the adapter's word is a wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// Repeating is free.
    Read,
    /// Makes something that cannot move money.
    Prepare,
    /// May move money: on disk before it is on the wire.
    Write,
}

/// A signature, digest or sealed field that is computed at the wire; the adapter holds only its word.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Word {
    /// The text that stands for it.
    pub word: String,
    /// The channel's key by name; `None` for a plain digest.
    pub key: Option<String>,
    /// `hmac-sha256`, `sha-256`, …
    pub algorithm: String,
    /// How handles inside `data` are encoded when it is filled in.
    pub content_type: String,
    /// What is signed, with handles.
    pub data: Body,
    /// `hex`, `hex-upper`, `base64`, `base64url`.
    pub encoding: String,
}

/// Bytes of a request or reply. Text stays text in the journal, so that a human can read it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// Valid UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }
}

impl Body {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// One HTTP request as the adapter wrote it: a template with handles in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The endpoint's name; the channel says where it is.
    pub endpoint: String,
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Name and value, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// Decided by the host.
    pub effect: Effect,
    /// The longest to wait for the whole reply.
    pub timeout_ms: u32,
    /// Words to be computed at the wire.
    pub words: Vec<Word>,
}

/// A whole reply, scrubbed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Name and value, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

/// What came of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// A whole reply.
    Response(Response),
    /// Not one byte of the request was written. Nothing else proves that the provider saw nothing.
    NotSent(String),
    /// Bytes left, and no whole reply came.
    Unknown(String),
}

/// A reply with the time when it was there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// What came.
    pub reply: Reply,
}

/// The run of status queries in an operation's journal: they are no part of what the operation itself did.
pub const RUN_OF_CHECKS: u8 = u8::MAX;

/// One request and, once it is there, its answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Exchange {
    /// Which run of the operation: a session that went stale makes a second one.
    pub run: u8,
    /// What was asked.
    pub request: Request,
    /// What came; `None` while it is on the wire, or when the host died then.
    pub answer: Option<Answer>,
}
