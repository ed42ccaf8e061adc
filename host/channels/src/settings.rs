//! Whether a channel's settings are such as its adapter asks for: the contract promises the adapter no others.

use jsonschema::PatternOptions;
use serde_json::Value;

/// Problems that are told.
const TOLD_MAX: usize = 3;

/// Holds settings against an adapter's schema; the text says what does not fit, and where.
pub(crate) fn check(settings: &str, schema: &str) -> Result<(), String> {
    let schema: Value =
        serde_json::from_str(schema).map_err(|error| format!("its adapter's settings schema is no JSON: {error}"))?;
    let settings: Value =
        serde_json::from_str(settings).map_err(|error| format!("its settings are no JSON: {error}"))?;
    let validator = jsonschema::options()
        // The schema is the adapter's: no pattern of it may take longer than the text is long.
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(|error| format!("its adapter's settings schema is none: {error}"))?;
    let told =
        |error: jsonschema::ValidationError<'_>| format!("settings{}: {}", error.instance_path(), error.masked());
    let problems: Vec<String> = validator.iter_errors(&settings).take(TOLD_MAX).map(told).collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{"timeout_ms":{"type":"integer"},"code":{"type":"string","pattern":"^(a+)+$"}},
        "required":["timeout_ms"],"additionalProperties":false}"#;

    #[test]
    fn what_does_not_fit_is_named_by_its_place() {
        assert_eq!(check(r#"{"timeout_ms":800}"#, SCHEMA), Ok(()));
        for (settings, problem) in [
            (r#"{"timeout_ms":"x"}"#, "settings/timeout_ms: "),
            (r"{}", "timeout_ms"),
            (r#"{"timeout_ms":1,"timeout":3}"#, "timeout"),
        ] {
            let told = check(settings, SCHEMA).unwrap_err();
            assert!(told.contains(problem), "{told}");
        }
        let slow = format!(r#"{{"timeout_ms":1,"code":"{}b"}}"#, "a".repeat(5_000));
        assert!(check(&slow, SCHEMA).unwrap_err().contains("settings/code"));
        assert!(check("{}", "").unwrap_err().contains("no JSON"));
        assert!(check("{}", r#"{"type":7}"#).unwrap_err().contains("schema is none"));
        assert!(
            check("{}", r#"{"$ref":"https://elsewhere.example/schema"}"#).is_err(),
            "nothing is fetched"
        );
    }
}
