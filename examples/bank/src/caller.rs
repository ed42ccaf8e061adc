//! Who calls: bearer token, digest of the body, and a signature over both by the client's seal certificate
//! (draft-cavage-http-signatures-10, as NextGenPSD2 1.3 has it), verified by webpki.

use anyhow::{Context, anyhow};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::Path;
use webpki::EndEntityCert;
use webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256;

/// The client's certificate, as it was registered.
pub struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// Reads it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let der = CertificateDer::from_pem_file(path).with_context(|| path.display().to_string())?;
        EndEntityCert::try_from(&der).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        Ok(Self(der))
    }

    fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        EndEntityCert::try_from(&self.0).is_ok_and(|certificate| {
            certificate
                .verify_signature(RSA_PKCS1_2048_8192_SHA256, text, signature)
                .is_ok()
        })
    }
}

pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Token, number, digest and signature of a request.
pub fn check(certificate: &Certificate, token: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), Response> {
    let header = |name: &str| header(headers, name);
    let refuse = |code: &str, text: &str| Err(problem(StatusCode::UNAUTHORIZED, code, text));
    if header("authorization").strip_prefix("Bearer ") != Some(token) {
        return refuse("TOKEN_INVALID", "no such token");
    }
    let id = header("x-request-id");
    if !is_uuid(id) {
        return Err(problem(StatusCode::BAD_REQUEST, "FORMAT_ERROR", "X-Request-ID"));
    }
    let digest = format!("SHA-256={}", STANDARD.encode(Sha256::digest(body)));
    if header("digest") != digest {
        return refuse("SIGNATURE_INVALID", "the digest is not the body's");
    }
    if header("tpp-signature-certificate") != STANDARD.encode(&certificate.0) {
        return refuse("CERTIFICATE_INVALID", "the certificate is not registered");
    }
    let signature = header("signature");
    if parameter(signature, "keyId").is_none() || parameter(signature, "algorithm") != Some("rsa-sha256") {
        return refuse("SIGNATURE_INVALID", "keyId and algorithm rsa-sha256 are wanted");
    }
    let signed = parameter(signature, "headers").unwrap_or_default();
    if !["digest", "x-request-id"]
        .iter()
        .all(|name| signed.split(' ').any(|it| it == *name))
    {
        return refuse("SIGNATURE_INVALID", "digest and x-request-id must be signed");
    }
    let lines = signed.split(' ').map(|name| format!("{name}: {}", header(name)));
    let text = lines.collect::<Vec<_>>().join("\n");
    let raw = STANDARD.decode(parameter(signature, "signature").unwrap_or_default());
    if certificate.has_signed(text.as_bytes(), &raw.unwrap_or_default()) {
        Ok(())
    } else {
        refuse("SIGNATURE_INVALID", "the signature does not fit")
    }
}

fn is_uuid(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

/// `name="value"` in a signature's header.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let begin = format!("{name}=\"");
    let mut rest = header;
    loop {
        if let Some(value) = rest.strip_prefix(begin.as_str()) {
            return value.split('"').next();
        }
        let (_, after) = rest.split_once("\",")?;
        rest = after.trim_start();
    }
}

/// A refusal as NextGenPSD2 writes it.
pub fn problem(status: StatusCode, code: &str, text: &str) -> Response {
    let message = json!({ "category": "ERROR", "code": code, "text": text });
    (status, axum::Json(json!({ "tppMessages": [message] }))).into_response()
}
