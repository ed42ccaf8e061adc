//! How certain an outcome can be, computed by the host from the exchanges alone. Nothing an adapter, rule or model says
//! can raise it (law 3).

use crate::exchange::{Effect, Exchange, Reply};

/// The most that the exchanges of one operation prove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Certainty {
    /// No byte of any write left this host: the provider saw nothing.
    NotSent,
    /// The only writes that left were refused at the door (401, 403): no effect.
    Refused,
    /// Every write that left got a clear refusal of its own (4xx): nothing was taken, and the adapter knows why.
    TurnedDown,
    /// Every write has a clear reply, or a later read says what happened: the adapter's reading of it counts.
    Clear,
    /// A write left and its effect is unknown: nothing but `unknown` may follow.
    Unknown,
}

/// How one write ended.
#[derive(Clone, Copy, PartialEq)]
enum Write {
    NotSent,
    Refused,
    TurnedDown,
    Clear,
    Unclear,
}

/// The ceiling over all writes of an operation.
pub fn ceiling(exchanges: &[Exchange]) -> Certainty {
    let writes = || {
        exchanges
            .iter()
            .enumerate()
            .filter(|(_, exchange)| exchange.request.effect == Effect::Write)
    };
    let ends = || writes().map(|(_, exchange)| write_end(exchange));
    let read_after_last_write = || {
        let last = writes().next_back().map_or(0, |(at, _)| at);
        exchanges.iter().skip(last + 1).any(proves)
    };
    if ends().all(|end| end == Write::NotSent) {
        Certainty::NotSent
    } else if ends().any(|end| end == Write::Unclear) && !read_after_last_write() {
        Certainty::Unknown
    } else if ends().all(|end| matches!(end, Write::Refused | Write::NotSent)) {
        Certainty::Refused
    } else if ends().all(|end| matches!(end, Write::Refused | Write::TurnedDown | Write::NotSent)) {
        Certainty::TurnedDown
    } else {
        Certainty::Clear
    }
}

/// Whether the provider knew a write when it came: it took it, or said why not. What is then still unknown (a copy of what
/// it has, say) does not become undone because it is not found.
pub fn was_known(exchanges: &[Exchange]) -> bool {
    let mut writes = exchanges.iter().filter(|it| it.request.effect == Effect::Write);
    writes.any(|it| matches!(write_end(it), Write::Clear | Write::TurnedDown))
}

/// A read that got a whole, successful reply.
fn proves(exchange: &Exchange) -> bool {
    exchange.request.effect == Effect::Read
        && matches!(&exchange.answer, Some(answer)
            if matches!(&answer.reply, Reply::Response(response) if (200..300).contains(&response.status)))
}

fn write_end(exchange: &Exchange) -> Write {
    match exchange.answer.as_ref().map(|answer| &answer.reply) {
        None | Some(Reply::Unknown(_)) => Write::Unclear,
        Some(Reply::NotSent(_)) => Write::NotSent,
        Some(Reply::Response(response)) => match response.status {
            401 | 403 => Write::Refused,
            408 | 409 | 425 | 429 => Write::Unclear,
            200..=299 => Write::Clear,
            400..=499 => Write::TurnedDown,
            _ => Write::Unclear,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, Body, Request, Response};

    fn exchange(effect: Effect, reply: Option<Reply>) -> Exchange {
        let request = Request {
            endpoint: "e".into(),
            method: "POST".into(),
            path: "/".into(),
            headers: vec![],
            body: Body::Text(String::new()),
            effect,
            timeout_ms: 1,
            words: vec![],
        };
        Exchange {
            run: 0,
            request,
            answer: reply.map(|reply| Answer { at_ms: 0, reply }),
        }
    }

    fn status(status: u16) -> Option<Reply> {
        Some(Reply::Response(Response {
            status,
            headers: vec![],
            body: Body::Text(String::new()),
        }))
    }

    /// Every status alone, as the only write, after a clear write, before one, and with a read that proves after it.
    #[test]
    fn status_by_position_by_outcome() {
        for code in 100..=599 {
            let alone = match code {
                401 | 403 => Certainty::Refused,
                408 | 409 | 425 | 429 => Certainty::Unknown,
                200..=299 => Certainty::Clear,
                400..=499 => Certainty::TurnedDown,
                _ => Certainty::Unknown,
            };
            let write = || exchange(Effect::Write, status(code));
            let clear = || exchange(Effect::Write, status(200));
            let in_company = if alone == Certainty::Unknown {
                alone
            } else {
                Certainty::Clear
            };
            let proven = if alone == Certainty::Unknown {
                Certainty::Clear
            } else {
                alone
            };
            assert_eq!(ceiling(&[write()]), alone, "{code} alone");
            assert_eq!(ceiling(&[clear(), write()]), in_company, "{code} after a clear write");
            assert_eq!(ceiling(&[write(), clear()]), in_company, "{code} before a clear write");
            assert_eq!(
                ceiling(&[write(), exchange(Effect::Read, status(200))]),
                proven,
                "{code}, then a read"
            );
            assert_eq!(
                ceiling(&[write(), exchange(Effect::Read, status(500))]),
                alone,
                "{code}, then a failed read"
            );
            assert_eq!(
                ceiling(&[exchange(Effect::Read, status(200)), write()]),
                alone,
                "a read before {code}"
            );
            assert_eq!(
                ceiling(&[write(), exchange(Effect::Prepare, status(200))]),
                alone,
                "{code}, then a prepare"
            );
        }
    }

    #[test]
    fn no_reply_by_position() {
        let none = || exchange(Effect::Write, None);
        let lost = || exchange(Effect::Write, Some(Reply::Unknown("reset".into())));
        let not_sent = || exchange(Effect::Write, Some(Reply::NotSent("refused".into())));
        assert_eq!(ceiling(&[]), Certainty::NotSent);
        assert_eq!(ceiling(&[exchange(Effect::Read, None)]), Certainty::NotSent);
        assert_eq!(ceiling(&[exchange(Effect::Prepare, status(500))]), Certainty::NotSent);
        assert_eq!(ceiling(&[not_sent(), not_sent()]), Certainty::NotSent);
        assert_eq!(ceiling(&[none()]), Certainty::Unknown);
        assert_eq!(ceiling(&[lost()]), Certainty::Unknown);
        assert_eq!(ceiling(&[not_sent(), lost()]), Certainty::Unknown);
        assert_eq!(
            ceiling(&[lost(), exchange(Effect::Write, status(200))]),
            Certainty::Unknown
        );
        assert_eq!(
            ceiling(&[not_sent(), exchange(Effect::Write, status(403))]),
            Certainty::Refused
        );
        assert_eq!(
            ceiling(&[lost(), exchange(Effect::Read, status(200))]),
            Certainty::Clear
        );
    }
}
