//! Reading a condition: it is parsed, and its types are checked, so that what can be written can be judged. Only facts,
//! found and functions without loops are allowed.

use crate::facts::{FACTS, Type, check_value, type_of};
use cel::Program;
use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators as op};

/// The engine's name and version, as it is kept with every set: a newer one may judge differently.
pub const ENGINE: &str = "cel 0.15";
/// Characters of a condition.
const CONDITION_MAX: usize = 1_000;
/// Operators that only compare and combine.
const PLAIN: [&str; 11] = [
    op::LOGICAL_AND,
    op::LOGICAL_OR,
    op::LOGICAL_NOT,
    op::EQUALS,
    op::NOT_EQUALS,
    op::LESS,
    op::LESS_EQUALS,
    op::GREATER,
    op::GREATER_EQUALS,
    op::IN,
    op::CONDITIONAL,
];
/// How deep an expression may be, with brackets or without: whoever judges it goes as deep on the stack.
const DEPTH_MAX: usize = 40;
/// How deep brackets may be nested.
const NESTING_MAX: usize = 8;

/// A condition that was checked.
pub(crate) struct Condition {
    pub program: Program,
    /// The numbers and texts in it: between them its truth cannot change.
    pub numbers: Vec<i64>,
    pub texts: Vec<String>,
    /// The facts that it looks at, `payment.amount`.
    pub looks_at: Vec<String>,
    /// A fact that is compared with what it can never be.
    pub impossible: Option<String>,
    /// Whether it only compares facts with values: then payments made of these values stand for all.
    pub is_plain: bool,
    /// How long it was written.
    pub length: usize,
}

impl Condition {
    /// Reads a condition, or says what is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > CONDITION_MAX {
            return Err(format!("at most {CONDITION_MAX} characters"));
        }
        if nesting(text) > NESTING_MAX {
            return Err(format!("brackets may be nested {NESTING_MAX} deep"));
        }
        let program = Program::compile(text).map_err(|errors| first_line(&errors.to_string()))?;
        let mut condition = Self {
            numbers: vec![],
            texts: vec![],
            looks_at: vec![],
            impossible: None,
            is_plain: true,
            length: text.len(),
            program,
        };
        let mut found = Found::default();
        match infer(condition.program.expression(), &mut found)? {
            Type::Bool => {}
            other => return Err(format!("a condition is true or false; this is {}", other.word())),
        }
        condition.numbers = found.numbers;
        condition.texts = found.texts;
        condition.looks_at = found.looks_at;
        condition.impossible = found.impossible;
        condition.is_plain = !found.reckons;
        Ok(condition)
    }
}

/// How deep brackets are nested; those within texts count too. The parser goes as deep on the stack.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth = depth.saturating_add(1),
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    format!("is no CEL expression: {}", line.unwrap_or_default())
}

/// What is found on the way.
#[derive(Default)]
struct Found {
    numbers: Vec<i64>,
    texts: Vec<String>,
    looks_at: Vec<String>,
    /// The first fact that is compared with what it can never be.
    impossible: Option<String>,
    /// Whether a value is made of facts, or looked into.
    reckons: bool,
    /// How deep in the expression this is.
    depth: usize,
}

fn infer(expression: &IdedExpr, found: &mut Found) -> Result<Type, String> {
    if found.depth >= DEPTH_MAX {
        return Err(format!(
            "at most {DEPTH_MAX} operators may stand in one another: write several rules"
        ));
    }
    found.depth = found.depth.saturating_add(1);
    let kind = infer_here(expression, found);
    found.depth = found.depth.saturating_sub(1);
    kind
}

fn infer_here(expression: &IdedExpr, found: &mut Found) -> Result<Type, String> {
    match &expression.expr {
        Expr::Literal(LiteralValue::Int(number)) => {
            found.numbers.push(*number.inner());
            Ok(Type::Int)
        }
        Expr::Literal(LiteralValue::String(text)) => {
            found.texts.push(text.inner().to_owned());
            Ok(Type::Text)
        }
        Expr::Literal(LiteralValue::Boolean(_)) => Ok(Type::Bool),
        Expr::Literal(_) => Err("numbers are whole, texts are in quotes; nothing else can be written".into()),
        Expr::Select(select) if !select.test => match &select.operand.expr {
            Expr::Ident(root) => {
                found.looks_at.push(format!("{root}.{}", select.field));
                fact(root, &select.field)
            }
            _ => Err(unknown("this")),
        },
        Expr::Ident(name) => Err(unknown(name)),
        Expr::List(list) => {
            let mut of = Type::Empty;
            for element in &list.elements {
                let kind = infer(element, found)?;
                if of == Type::Empty {
                    of = kind;
                } else if of != kind {
                    return Err("a list holds values of one type".into());
                }
            }
            match of {
                Type::Empty => Ok(Type::Empty),
                of => Ok(Type::List(Box::new(of))),
            }
        }
        Expr::Call(call) => {
            let target = call.target.as_deref();
            let arguments = target.into_iter().chain(&call.args);
            let types = arguments.map(|it| infer(it, found)).collect::<Result<Vec<_>, _>>()?;
            found.reckons |= !PLAIN.contains(&call.func_name.as_str());
            if let [one, other] = call.args.as_slice()
                && [op::EQUALS, op::NOT_EQUALS, op::IN].contains(&call.func_name.as_str())
            {
                let wrong = check_values(one, other).and_then(|()| check_values(other, one)).err();
                found.impossible = found.impossible.take().or(wrong);
            }
            of_call(&call.func_name, target.is_some(), &types)
        }
        Expr::Select(_) | Expr::Comprehension(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => Err(
            "only facts, values, comparisons, && || ! in, size, startsWith, endsWith and contains are allowed".into(),
        ),
    }
}

/// Whether a fact that is compared with values can be any of them.
fn check_values(fact: &IdedExpr, values: &IdedExpr) -> Result<(), String> {
    let Expr::Select(select) = &fact.expr else {
        return Ok(());
    };
    let Expr::Ident(root) = &select.operand.expr else {
        return Ok(());
    };
    let list = match &values.expr {
        Expr::List(list) => list.elements.as_slice(),
        _ => std::slice::from_ref(values),
    };
    let texts = list.iter().filter_map(|it| match &it.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    });
    for text in texts {
        check_value(root, &select.field, text)?;
    }
    Ok(())
}

fn fact(root: &str, field: &str) -> Result<Type, String> {
    type_of(root, field)
        .cloned()
        .ok_or_else(|| unknown(&format!("{root}.{field}")))
}

fn unknown(name: &str) -> String {
    let all: Vec<String> = FACTS.iter().map(|(root, field, _)| format!("{root}.{field}")).collect();
    format!("{name} is no fact; there are {}", all.join(", "))
}

fn of_call(name: &str, is_method: bool, types: &[Type]) -> Result<Type, String> {
    use Type::{Bool, Empty, Int, List, Text};
    let given: Vec<String> = types.iter().map(Type::word).collect();
    let wrong = || Err(format!("{} cannot be used with {}", shown(name), given.join(" and ")));
    match (name, is_method, types) {
        (op::LOGICAL_AND | op::LOGICAL_OR, false, [Bool, Bool]) | (op::LOGICAL_NOT, false, [Bool]) => Ok(Bool),
        (op::EQUALS | op::NOT_EQUALS, false, [a, b]) if a == b && matches!(a, Int | Text | Bool) => Ok(Bool),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, false, [Int, Int]) => Ok(Bool),
        (op::ADD | op::SUBSTRACT | op::MULTIPLY, false, [Int, Int]) | (op::NEGATE, false, [Int]) => Ok(Int),
        (op::CONDITIONAL, false, [Bool, a, b]) if a == b => Ok(a.clone()),
        (op::IN, false, [_, Empty]) => Ok(Bool),
        (op::IN, false, [a, List(of)]) if *a == **of => Ok(Bool),
        ("size", _, [Text | List(_) | Empty]) => Ok(Int),
        ("startsWith" | "endsWith" | "contains", true, [Text, Text]) => Ok(Bool),
        _ => wrong(),
    }
}

/// `_==_` as it is written: `==`.
fn shown(name: &str) -> String {
    match name {
        op::IN => "in".into(),
        op::CONDITIONAL => "? :".into(),
        other => other.trim_matches('_').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        match Condition::read(text) {
            Ok(condition) => condition.impossible.unwrap_or_default(),
            Err(why) => why,
        }
    }

    #[test]
    fn what_can_be_judged_is_read() {
        for text in [
            "payment.amount >= 100000 && payment.currency == 'EUR'",
            "card.network in ['visa', 'mastercard'] || !payment.manual_capture",
            "card.bin.startsWith('4242') ? payment.amount > 5 : true",
            "size(card.bin) == 6 && payment.amount * 2 - 1 < 900",
            "payment.method != \"card\" && payment.kind == 'payout'",
            "payment.currency in []",
            "payer.ip_country != payer.country && shipping.country == 'DE' || beneficiary.country in ['HK']",
            "payment.currency == 'USDC:eip155:1' || payer.country in ['DE', ''] || card.bin == '424242'",
        ] {
            assert_eq!(refusal(text), "", "{text}");
        }
    }

    #[test]
    fn what_cannot_is_refused_with_its_reason() {
        for (text, why) in [
            ("payment.amout > 1", "payment.amout is no fact"),
            ("payer.city == 'Bonn'", "payer.city is no fact"),
            ("shipping.country == 'UK'", "shipping.country is never 'UK'"),
            ("amount > 1", "amount is no fact"),
            ("payment.amount > '1'", "> cannot be used with a number and a text"),
            ("payment.currency == 978", "== cannot be used with a text and a number"),
            ("payment.amount", "a condition is true or false; this is a number"),
            ("payment.amount > 1.5", "numbers are whole"),
            ("[1, 2].all(x, x > 0)", "only facts"),
            ("has(card.bin)", "only facts"),
            ("payment.amount >", "is no CEL expression"),
            ("card.bin.matches('4.*')", "matches cannot be used"),
            ("payment.amount / 0 == 1", "/ cannot be used"),
            ("payment.currency in ['EUR', 1]", "a list holds values of one type"),
            (
                "card.network == 'vsa'",
                "card.network is never 'vsa'; it is visa, mastercard",
            ),
            ("'Visa' != card.network", "card.network is never 'Visa'"),
            (
                "payment.currency in ['EUR', 'EURO']",
                "payment.currency is never 'EURO'",
            ),
            ("payer.country == 'UK'", "payer.country is never 'UK'"),
            (
                "card.bin == '4242'",
                "card.bin is never '4242'; it is the first 6 digits",
            ),
            (
                "payment.kind == 'refund'",
                "payment.kind is never 'refund'; it is payment, payout",
            ),
        ] {
            assert!(refusal(text).contains(why), "{text}: {}", refusal(text));
        }
        let deep = format!("{}true{}", "(".repeat(400), ")".repeat(400));
        assert!(refusal(&deep).contains("nested 8 deep"));
        // As deep as is allowed fits a stack of 2 MiB, a thread's default, even unoptimised; the router's threads have 8.
        for open in ["(", "[", "!(", "size([", "{"] {
            let brackets = open.bytes().filter(|byte| b"([{".contains(byte)).count();
            let _ = Condition::read(&open.repeat(NESTING_MAX / brackets));
        }
        let deepest = format!("{}true{}", "(".repeat(NESTING_MAX), ")".repeat(NESTING_MAX));
        assert_eq!(refusal(&deepest), "");
        for long in [
            format!("{}true", "!".repeat(990)),
            format!("{}1 == 1", "-".repeat(990)),
            format!("{}true", "true?true:".repeat(90)),
            format!("1{} > 1", "+1".repeat(490)),
            format!("true{}", "||true".repeat(160)),
            format!("payment{} == 1", ".a".repeat(400)),
        ] {
            // Read and judged, or refused: neither brings the router down.
            if let Ok(condition) = Condition::read(&long) {
                let facts = crate::facts::Sample {
                    amount: 1,
                    currency: "EUR".into(),
                    method: "card".into(),
                    kind: "payment".into(),
                    manual_capture: false,
                    network: String::new(),
                    bin: String::new(),
                    country: String::new(),
                    ip_country: String::new(),
                    shipping_country: String::new(),
                    beneficiary_country: String::new(),
                };
                assert!(condition.program.execute(&facts.context()).is_ok());
            }
        }
        assert!(refusal(&"true || ".repeat(200)).contains("at most 1000 characters"));
    }
}
