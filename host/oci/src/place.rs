//! Where something lies: registry, repository, tag or digest.

use crate::OciError;
use oci_client::Reference;
use std::fmt;
use std::str::FromStr;

/// What a place begins with.
const SCHEME: &str = "oci://";

/// A place in a registry, which is always named: nothing falls to somebody's default.
#[derive(Clone, Debug)]
pub struct Place(pub(crate) Reference);

impl Place {
    /// Whether a word that was typed is meant as a place.
    pub fn is_meant(word: &str) -> bool {
        word.starts_with(SCHEME)
    }

    /// The registry's host, and port where one is named.
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// Whether the registry is on this machine: only there no TLS is spoken.
    pub(crate) fn is_here(&self) -> bool {
        let host = match self.registry().rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|it| it.is_ascii_digit()) => host,
            _ => self.registry(),
        };
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
    }
}

impl FromStr for Place {
    type Err = OciError;

    fn from_str(word: &str) -> Result<Self, OciError> {
        let wrong = |problem: &str| OciError::Place(word.to_owned(), problem.to_owned());
        let path = word.strip_prefix(SCHEME).ok_or_else(|| wrong("it begins otherwise"))?;
        let (host, _) = path.split_once('/').ok_or_else(|| wrong("no repository"))?;
        // "acme/cards" would be looked for at Docker's own registry.
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err(wrong("no registry"));
        }
        let reference = Reference::from_str(path);
        let reference = reference.map_err(|error| {
            wrong(&format!(
                "{error} (a repository is lower case; a tag has letters, digits, _, . and -)"
            ))
        })?;
        if reference.registry() != host {
            return Err(wrong("no registry"));
        }
        Ok(Self(reference))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_its_registry() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for word in [
            "oci://registry.example/acme/cards:1.2.0",
            "oci://127.0.0.1:5000/cards:1",
            "oci://localhost/cards:1",
            &format!("oci://registry.example/acme/cards@{digest}"),
        ] {
            assert_eq!(word.parse::<Place>().unwrap().to_string(), word);
        }
        assert_eq!(
            "oci://localhost/a".parse::<Place>().unwrap().to_string(),
            "oci://localhost/a:latest"
        );
        for (word, problem) in [
            ("registry.example/acme/cards:1", "begins otherwise"),
            ("oci://cards", "no repository"),
            ("oci://acme/cards:1", "no registry"),
            ("oci://registry.example/Acme/cards:1", "lower case"),
            ("oci://registry.example/acme/cards:no good", "invalid"),
            ("oci://registry.example/acme/cards@sha256:12", "invalid"),
            ("oci:///acme/cards", "no registry"),
        ] {
            let error = word.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains(problem), "{word}: {error}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_clear() {
        for (registry, is_here) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.8.8:5000", true),
            ("10.0.0.1:5000", false),
            ("127.0.0.1.example:5000", false),
            ("registry.example", false),
        ] {
            let place: Place = format!("oci://{registry}/a:1").parse().unwrap();
            assert_eq!(place.is_here(), is_here, "{registry}");
        }
    }
}
