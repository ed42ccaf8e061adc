//! Serving connections by hand, so that a scripted fault can drop one without an answer.

use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::time::Duration;
use tokio::net::TcpListener;
use tower::ServiceExt;

/// Put into a response's extensions: close the connection instead of answering.
#[derive(Clone, Copy)]
pub struct DropConnection;

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, routes: Router) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let routes = routes.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let routes = routes.clone();
                async move {
                    let response = routes
                        .oneshot(request.map(Body::new))
                        .await
                        .unwrap_or_else(|never| match never {});
                    if response.extensions().get::<DropConnection>().is_some() {
                        return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
                    }
                    Ok(response)
                }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(60));
            // A dropped connection is what was asked for.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
