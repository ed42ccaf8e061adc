//! What a payout needs, by country, currency and rail: dated data, compiled once into JSON Schemas that check requests and
//! are shown to merchants, so that both are the same. The rules that hold everywhere are the domain's.

use jsonschema::Validator;
use portolan_domain::beneficiary::check_iban;
use portolan_domain::money::{Asset, Money};
use portolan_domain::payment::request::FieldError;
use serde::Deserialize;
use serde_json::{Value, json};

/// The data, by its edition.
const DATA: &str = include_str!("../data/corridors.json");

#[derive(Deserialize)]
struct Data {
    edition: String,
    #[expect(dead_code, reason = "for whoever reads the file")]
    note: String,
    corridors: Vec<Rules>,
}

/// One corridor's rules, as they stand in the data.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Its name in the API.
    pub id: String,
    name: String,
    /// A currency's code, or a token's symbol.
    pub currency: String,
    /// As channels name it.
    pub rail: String,
    /// ISO 3166-1 alpha-2; empty: any.
    countries: Vec<String>,
    effective: String,
    min: i128,
    /// Minor units; none where the rail has no limit of its own.
    max: Option<i128>,
    cut_off: Option<Value>,
    business_days: u8,
    source: String,
    account: Value,
    purpose: Option<Vec<String>>,
    needs_address: bool,
}

/// Rules with what checks them.
pub struct Corridor {
    /// The rules.
    pub rules: Rules,
    schema: Value,
    validator: Validator,
}

/// Every corridor.
pub struct Corridors {
    /// Of which day.
    pub edition: String,
    all: Vec<Corridor>,
}

impl Corridors {
    /// Compiles the data.
    pub fn load() -> anyhow::Result<Self> {
        let data: Data = serde_json::from_str(DATA)?;
        let compile = |rules: Rules| {
            let schema = schema_of(&rules);
            let validator = jsonschema::options()
                .with_format("iban", |text| check_iban(text).is_ok())
                .with_format("aba", is_routing_number)
                .should_validate_formats(true)
                .build(&schema)
                .map_err(|error| anyhow::anyhow!("corridor {}: {error}", rules.id))?;
            Ok(Corridor {
                rules,
                schema,
                validator,
            })
        };
        Ok(Self {
            edition: data.edition,
            all: data.corridors.into_iter().map(compile).collect::<anyhow::Result<_>>()?,
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Corridor> {
        self.all.iter()
    }

    /// The corridor of a payout, or the ones that there are.
    pub fn find(&self, country: &str, asset: &Asset, rail: &str) -> Result<&Corridor, FieldError> {
        let fits = |corridor: &&Corridor| {
            let rules = &corridor.rules;
            let is_currency = asset.code().split(':').next() == Some(&rules.currency);
            let is_country = rules.countries.is_empty() || rules.countries.iter().any(|code| code == country);
            is_currency && is_country && rules.rail == rail
        };
        self.all.iter().find(fits).ok_or_else(|| {
            let known = |corridor: &Corridor| {
                format!(
                    "{} ({} by {})",
                    corridor.rules.id, corridor.rules.currency, corridor.rules.rail
                )
            };
            let known: Vec<String> = self.all.iter().map(known).collect();
            let code = asset.code();
            let why = format!(
                "no corridor for {code} to {country} by {rail}; there are {}: see GET /v1/corridors",
                known.join(", ")
            );
            FieldError::new("/beneficiary/country", "unknown_corridor", why)
        })
    }
}

impl Corridor {
    /// What a payout through it must say, as JSON Schema: beneficiary and purpose.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Checks a beneficiary that is stored: what a payout brings besides is not asked for yet. Pointers begin at it.
    pub fn check_beneficiary(&self, beneficiary: &Value) -> Vec<FieldError> {
        let mut instance = json!({ "beneficiary": beneficiary });
        let first = self.rules.purpose.as_ref().and_then(|codes| codes.first());
        if let (Some(purpose), Some(fields)) = (first, instance.as_object_mut()) {
            fields.insert("purpose".into(), json!(purpose));
        }
        let mut errors = self.errors_of(&instance);
        for error in &mut errors {
            error.pointer = error.pointer.replacen("/beneficiary", "", 1);
        }
        errors
    }

    fn errors_of(&self, instance: &Value) -> Vec<FieldError> {
        // Masked: what stands in an account field is written into no error.
        let told = |error: jsonschema::ValidationError<'_>| {
            let pointer = error.instance_path().to_string();
            FieldError::new(
                pointer,
                "not_for_corridor",
                format!("corridor {}: {}", self.rules.id, error.masked()),
            )
        };
        self.validator.iter_errors(instance).map(told).collect()
    }

    /// Checks a payout's beneficiary, purpose and amount; every error at once.
    pub fn check(&self, beneficiary: &Value, purpose: Option<&str>, amount: &Money) -> Vec<FieldError> {
        let mut instance = json!({ "beneficiary": beneficiary });
        if let (Some(purpose), Some(fields)) = (purpose, instance.as_object_mut()) {
            fields.insert("purpose".into(), purpose.into());
        }
        let mut errors = self.errors_of(&instance);
        let (min, max) = (self.rules.min, self.rules.max.unwrap_or(i128::MAX));
        if !(min..=max).contains(&amount.minor()) {
            let how = format!("corridor {} takes from {min} to {max} minor units", self.rules.id);
            errors.push(FieldError::new("/amount", "corridor_limit", how));
        }
        errors
    }

    /// As merchants see it. `channels`: who can pay through it.
    pub fn view(&self, channels: &[&str]) -> Value {
        let rules = &self.rules;
        json!({
            "id": rules.id, "object": "corridor", "name": rules.name, "currency": rules.currency, "rail": rules.rail,
            "countries": rules.countries, "effective": rules.effective, "source": rules.source,
            "amount_min": rules.min, "amount_max": rules.max, "cut_off": rules.cut_off, "business_days": rules.business_days,
            "purposes": rules.purpose, "available": !channels.is_empty(), "requirements": self.schema,
        })
    }
}

fn schema_of(rules: &Rules) -> Value {
    let mut account = rules.account.clone();
    if let Some(fields) = account.as_object_mut() {
        fields.insert("type".into(), "object".into());
        fields.insert("additionalProperties".into(), false.into());
    }
    let text = json!({ "type": "string", "minLength": 1, "maxLength": 70 });
    let mut address = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "line1": text, "line2": text, "city": text, "postcode": text },
    });
    let mut needs = vec!["type", "name", "country", "account"];
    if rules.needs_address {
        needs.push("address");
        if let Some(fields) = address.as_object_mut() {
            fields.insert("required".into(), json!(["line1", "city", "postcode"]));
        }
    }
    let mut country = json!({ "type": "string" });
    if let (false, Some(fields)) = (rules.countries.is_empty(), country.as_object_mut()) {
        fields.insert("enum".into(), json!(rules.countries));
    }
    let beneficiary = json!({
        "type": "object", "additionalProperties": false, "required": needs,
        "properties": {
            "type": { "enum": ["person", "company"] }, "name": { "type": "string", "minLength": 1, "maxLength": 140 },
            "country": country, "address": address, "account": account,
        },
    });
    let (purpose, required) = match &rules.purpose {
        Some(codes) => (json!({ "enum": codes }), json!(["beneficiary", "purpose"])),
        None => (json!({ "type": "string", "maxLength": 35 }), json!(["beneficiary"])),
    };
    json!({ "type": "object", "properties": { "beneficiary": beneficiary, "purpose": purpose }, "required": required })
}

/// An ABA routing number: nine digits whose weighted sum is a multiple of ten.
fn is_routing_number(text: &str) -> bool {
    let weights = [3, 7, 1].into_iter().cycle();
    let digits = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits.zip(weights).map(|(digit, weight)| digit * weight).sum();
    text.len() == 9 && text.bytes().all(|byte| byte.is_ascii_digit()) && sum.is_multiple_of(10) && sum > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(code: &str, minor: i128) -> Money {
        Money::new(minor, Asset::currency(code).unwrap()).unwrap()
    }

    #[test]
    fn requirements_are_told_by_field() {
        let corridors = Corridors::load().unwrap();
        let amount = money("CNY", 10_000);
        let corridor = corridors.find("CN", amount.asset(), "bank:local").unwrap();
        let good = json!({
            "type": "company", "name": "Supplier", "country": "CN",
            "account": { "cnaps": "102100099996", "account_number": "6222021234567890" },
        });
        assert!(corridor.check(&good, Some("GDDS"), &amount).is_empty());
        let missing = corridor.check(&good, None, &amount);
        assert!(missing[0].message.contains("purpose"), "{missing:?}");
        let mut bad = good.clone();
        bad["account"]["cnaps"] = json!("1");
        let errors = corridor.check(&bad, Some("GDDS"), &amount);
        assert_eq!(errors[0].pointer, "/beneficiary/account/cnaps");
        assert!(corridors.find("BR", amount.asset(), "bank:local").is_err());
    }

    #[test]
    fn formats_are_checked() {
        let corridors = Corridors::load().unwrap();
        let eur = money("EUR", 100);
        let sepa = corridors.find("DE", eur.asset(), "bank:iban").unwrap();
        let to = |iban: &str| json!({ "type": "person", "name": "A", "country": "DE", "account": { "iban": iban } });
        assert!(sepa.check(&to("DE89370400440532013000"), None, &eur).is_empty());
        assert_eq!(sepa.check(&to("DE89370400440532013001"), None, &eur).len(), 1);
        assert!(is_routing_number("021000021") && !is_routing_number("021000022"));
    }
}
