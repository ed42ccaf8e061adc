//! The payer: scans the code, pays or cannot, and goes back; the provider tells the router.

use crate::book::Payment;
use crate::fault::{self, Fault};
use crate::http::{Shared, Wallet};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use portolan_simulator::{notify, now_ms};
use serde_json::json;
use std::sync::Arc;

/// `GET /scan/{id}`: what a payer's phone does.
pub async fn scan(State(wallet): Shared, Path(id): Path<String>) -> Response {
    match pays(&wallet, &id) {
        Some(payment) => Redirect::to(&payment.redirect_url).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The payer pays, if there is something to pay and enough to pay it with.
pub fn pays(wallet: &Arc<Wallet>, id: &str) -> Option<Payment> {
    let mut book = wallet.book();
    let mut payment = book.find(Some(id), None).cloned()?;
    if payment.status == "PROCESSING" {
        let poor = fault::of_amount(&payment.amount.value) == Fault::PoorPayer;
        payment.status = if poor { "FAIL" } else { "SUCCESS" }.into();
        payment.failure = poor.then(|| "USER_BALANCE_NOT_ENOUGH".to_owned());
        book.put(payment.clone()).ok()?;
        drop(book);
        tell(wallet, &payment);
    }
    Some(payment)
}

fn tell(wallet: &Arc<Wallet>, payment: &Payment) {
    if wallet.options.silent {
        return;
    }
    let (wallet, payment) = (wallet.clone(), payment.clone());
    tokio::spawn(async move {
        let (code, status) = match &payment.failure {
            Some(failure) => (failure.as_str(), "F"),
            None => ("SUCCESS", "S"),
        };
        let body = json!({
            "notifyType": "PAYMENT_RESULT",
            "result": { "resultCode": code, "resultStatus": status, "resultMessage": code },
            "paymentRequestId": payment.request_id, "paymentId": payment.id, "paymentAmount": payment.amount,
            "paymentCreateTime": "2026-11-25T12:01:00+08:00", "paymentTime": "2026-11-25T12:01:01+08:00",
        });
        let (body, fault) = (body.to_string(), fault::of_amount(&payment.amount.value));
        let rest = payment.notify_url.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/").to_owned();
        if fault == Fault::ForgedNotification {
            let forged = || {
                vec![
                    ("client-id".into(), wallet.options.client_id.clone()),
                    ("signature".into(), "signature=AAAA".into()),
                ]
            };
            notify::send(&payment.notify_url, &body, forged).await;
        }
        let times = if fault == Fault::DuplicateNotifications { 3 } else { 1 };
        for _ in 0..times {
            let headers = || {
                let (client, time) = (wallet.options.client_id.clone(), now_ms().to_string());
                let signature = wallet.keys.sign(&path, &client, &time, body.as_bytes());
                vec![
                    ("client-id".into(), client),
                    ("request-time".into(), time),
                    ("signature".into(), signature),
                ]
            };
            notify::send(&payment.notify_url, &body, headers).await;
        }
    });
}
