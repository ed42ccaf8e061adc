//! Adapters through a real OCI registry, which nobody here wrote: pushed with what is signed about them, pulled into a
//! running router; and what a registry can do to those who trust it.

use crate::admission::{live_world, sign};
use crate::plugins::{good, rebuilt, refusal};
use portolan_tests::{World, http};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a manifest is written as.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Of the user `acme`: "a long word", bcrypt.
const LOGIN: &str = "acme:$2b$05$abcdefghijklmnopqrstuu5cFaqxswsCe2LcxYyTHBp8Frn.8FlJG\n";
/// `acme:a long word`, as Docker's configuration has it.
const DOCKER_AUTH: &str = "YWNtZTphIGxvbmcgd29yZA==";

/// The Distribution project's registry, as Debian packages it, over a folder of its own.
struct Registry {
    process: Child,
    at: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    fn start(has_login: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let root = folder.path().join("registry");
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": root } },
            "http": { "addr": at.to_string() },
        });
        if has_login {
            std::fs::write(folder.path().join("logins"), LOGIN).unwrap();
            config["auth"] = json!({ "htpasswd": { "realm": "portolan", "path": folder.path().join("logins") } });
        }
        // YAML takes JSON.
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry (Debian: apt-get install docker-registry)");
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(at).is_err() {
            assert!(Instant::now() < until, "the registry does not listen");
            std::thread::yield_now();
        }
        Self { process, at, folder }
    }

    fn place(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.at)
    }

    /// A manifest, as the registry gives it to anybody.
    fn manifest(&self, repository: &str, tag: &str, kind: &str) -> Value {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let reply = http::call(self.at, "GET", &path, &[("accept", kind)], None).unwrap();
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some(kind)),
            "{}",
            reply.text
        );
        reply.body
    }

    fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.folder.path().join("registry/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// Puts a manifest, as anybody who may write can.
    fn put(&self, repository: &str, tag: &str, kind: &str, body: &Value) {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let reply = http::call(
            self.at,
            "PUT",
            &path,
            &[("content-type", kind)],
            Some(&body.to_string()),
        )
        .unwrap();
        assert_eq!(reply.status, 201, "{}", reply.text);
    }
}

/// A component of one's own in a file.
fn component(world: &World, name: &str, mark: u8) -> String {
    let file = world.folder.join(name);
    std::fs::write(&file, rebuilt("portolan_sandbox_adapter", mark)).unwrap();
    file.display().to_string()
}

#[test]
fn what_two_signed_apart_comes_through_a_registry_into_a_live_router() {
    let (registry, world) = (Registry::start(false), live_world());
    let place = registry.place("acme/cards:1.0.0");
    // The partner pushes what it signed; the operator pulls that, signs it, and pushes it back.
    let theirs = component(&world, "theirs.wasm", b'o');
    sign(&world, &theirs, "acme");
    let said = good(&world, &["push", &theirs, &place]);
    assert!(said.contains("signed by acme: sha256:"), "{said}");
    let line = refusal(&world, &["stage", "sandbox", &place]);
    assert!(line.contains("signature: no operator signed it"), "{line}");
    let ours = world.folder.join("ours.wasm").display().to_string();
    let pulled = good(&world, &["pull", &place, "--to", &ours]);
    let bytes = std::fs::read(&ours).unwrap();
    let digest = hex::encode(Sha256::digest(&bytes));
    assert_eq!(bytes, std::fs::read(&theirs).unwrap());
    assert!(
        pulled.contains(&digest) && pulled.contains("signed, as it says, by acme;"),
        "{pulled}"
    );
    // Apart: the operator's envelope has the operator's signature only, over the very statement of the partner.
    let envelope = PathBuf::from(format!("{ours}.dsse.json"));
    sign(&world, &ours, "ops");
    let mut both: Value = serde_json::from_slice(&std::fs::read(&envelope).unwrap()).unwrap();
    let signatures = both["signatures"].as_array_mut().unwrap();
    signatures.retain(|it| it["keyid"] == "ops");
    std::fs::write(&envelope, both.to_string()).unwrap();
    let again = good(&world, &["push", &ours, &place]);
    let same = |said: &str| {
        said.lines()
            .find(|line| line.starts_with("component: "))
            .unwrap()
            .to_owned()
    };
    assert_eq!(same(&said), same(&again), "the same component is the same manifest");
    let staged = good(&world, &["stage", "sandbox", &place]);
    assert!(
        staged.contains("\"ready\"") && staged.contains("acme (partner)") && staged.contains("ops (operator)"),
        "{staged}"
    );
    assert!(staged.contains(&digest), "{staged}");

    // As the ecosystem lays it out.
    let manifest = registry.manifest("acme/cards", "1.0.0", MANIFEST);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["digest"], format!("sha256:{digest}"));
    let config = std::fs::read(registry.blob_file(manifest["config"]["digest"].as_str().unwrap())).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(
        (&config["architecture"], &config["os"]),
        (&json!("wasm"), &json!("wasip2"))
    );
    assert_eq!(config["layerDigests"], json!([format!("sha256:{digest}")]));
    let exports = config["component"]["exports"].as_array().unwrap();
    assert!(exports.contains(&json!("portolan:channel/payments@0.1.0")), "{config}");
    // This registry knows no referrers: the list of them is a tag.
    let subject = same(&said).replace("component: ", "");
    let list = registry.manifest("acme/cards", &subject.replace(':', "-"), INDEX);
    let listed = list["manifests"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{list}");
    for entry in listed {
        assert_eq!(entry["artifactType"], "application/vnd.dsse.envelope.v1+json");
        let referrer = registry.manifest("acme/cards", entry["digest"].as_str().unwrap(), MANIFEST);
        assert_eq!(referrer["subject"]["digest"], subject.as_str());
    }
    // A stranger who signs with many keys hides nobody.
    let junk = world.folder.join("junk.wasm").display().to_string();
    std::fs::copy(&theirs, &junk).unwrap();
    for key in ["stranger", "acme2", "ops2", "third"] {
        if key != "stranger" {
            good(&world, &["keygen", &world.folder.join(key).display().to_string()]);
        }
        sign(&world, &junk, key);
    }
    good(&world, &["push", &junk, &place]);
    let staged = good(&world, &["stage", "sandbox", &place, "--dry-run"]);
    assert!(staged.contains("ops (operator)"), "{staged}");
    // Exactly this one, whatever the tag says later.
    let exact = format!("{}@{subject}", registry.place("acme/cards"));
    let pulled = good(&world, &["pull", &exact, "--to", &ours]);
    assert!(pulled.contains("signed, as it says, by"), "{pulled}");
}

#[test]
fn a_registry_that_lies_is_found_out() {
    let (registry, world) = (Registry::start(false), live_world());
    let place = registry.place("acme/cards:1");
    let file = component(&world, "mine.wasm", b'l');
    sign(&world, &file, "acme");
    sign(&world, &file, "ops");
    good(&world, &["push", &file, &place]);
    let stage = ["stage", "sandbox", &place];
    let manifest = registry.manifest("acme/cards", "1", MANIFEST);
    let layer = registry.blob_file(manifest["layers"][0]["digest"].as_str().unwrap());
    let whole = std::fs::read(&layer).unwrap();

    // A bit of the component is another.
    let mut bytes = whole.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let line = refusal(&world, &stage);
    assert!(line.contains("digest"), "{line}");
    // It is cut short.
    std::fs::write(&layer, &whole[..whole.len() / 2]).unwrap();
    refusal(&world, &stage);
    std::fs::write(&layer, &whole).unwrap();

    // Another's component under this one's tag: nobody's push puts it there by mistake.
    let other = component(&world, "other.wasm", b'x');
    let line = refusal(&world, &["push", &other, &place]);
    assert!(line.contains("is sha256:") && line.contains("--move-tag"), "{line}");
    assert_eq!(registry.manifest("acme/cards", "1", MANIFEST), manifest);
    // It is there all the same: what is signed is not about it.
    good(&world, &["push", &other, &registry.place("acme/cards:other")]);
    let others = registry.manifest("acme/cards", "other", MANIFEST);
    registry.put("acme/cards", "1", MANIFEST, &others);
    let line = refusal(&world, &stage);
    assert!(line.contains("signature: unsigned"), "{line}");
    good(&world, &["push", &file, &place, "--move-tag"]);
    assert_eq!(registry.manifest("acme/cards", "1", MANIFEST), manifest, "moved back");
    registry.put("acme/cards", "1", MANIFEST, &others);
    // With this one's signatures hung onto it.
    let subject = |manifest: &Value| {
        let digest = hex::encode(Sha256::digest(manifest.to_string().as_bytes()));
        format!("sha256:{digest}")
    };
    let list = registry.manifest("acme/cards", &subject(&manifest).replace(':', "-"), INDEX);
    registry.put("acme/cards", &subject(&others).replace(':', "-"), INDEX, &list);
    let line = refusal(&world, &stage);
    assert!(line.contains("signature: unsigned"), "{line}");

    // What is no component, larger than anything, or a list.
    let mut changed = manifest.clone();
    changed["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    registry.put("acme/cards", "image", MANIFEST, &changed);
    let line = refusal(&world, &["pull", &registry.place("acme/cards:image")]);
    assert!(
        line.contains("is no WebAssembly component: its configuration is"),
        "{line}"
    );
    let mut changed = manifest.clone();
    changed["layers"][0]["size"] = json!(1_u64 << 40);
    registry.put("acme/cards", "large", MANIFEST, &changed);
    let line = refusal(&world, &["pull", &registry.place("acme/cards:large")]);
    assert!(line.contains("bytes are more than the"), "{line}");
    let mut changed = manifest.clone();
    changed["layers"][0]["size"] = json!(100);
    registry.put("acme/cards", "small", MANIFEST, &changed);
    let line = refusal(&world, &["pull", &registry.place("acme/cards:small")]);
    assert!(line.contains("more came than the 100 bytes announced"), "{line}");
    let listed = registry.place(&format!("acme/cards:{}", subject(&manifest).replace(':', "-")));
    let line = refusal(&world, &["pull", &listed]);
    assert!(line.contains("it is a list of images"), "{line}");
    assert!(!world.folder.join("adapter.wasm").exists(), "nothing was written");
    // And where nothing is, nobody listens, or no place is named.
    let line = refusal(&world, &["pull", &registry.place("acme/cards:2")]);
    assert!(line.contains("acme/cards:2"), "{line}");
    let silent = format!(
        "oci://{}/acme/cards:1",
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    );
    refusal(&world, &["pull", &silent]);
    let line = refusal(&world, &["pull", "acme/cards:1"]);
    assert!(line.contains("write oci://registry.example/acme/cards:1.2.0"), "{line}");
    let line = refusal(
        &world,
        &[
            "push",
            &file,
            &format!("{}@{}", registry.place("acme/cards"), subject(&manifest)),
        ],
    );
    assert!(line.contains("pushed under a tag"), "{line}");
}

/// Says yes to everything and does not come to an end.
fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                // A client takes no answer to what it has not asked yet.
                let mut asked = BufReader::new(stream.try_clone().unwrap()).lines();
                while asked.next().is_some_and(|line| line.is_ok_and(|it| !it.is_empty())) {}
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {MANIFEST}\r\n\r\n");
                let mut sent = stream.write_all(head.as_bytes());
                while sent.is_ok() {
                    sent = stream.write_all(&[b' '; 1 << 16]);
                }
            });
        }
    });
    at
}

#[test]
fn the_largest_component_comes_through_and_more_does_not() {
    let (registry, world) = (Registry::start(false), live_world());
    let file = world.folder.join("large.wasm");
    let mut bytes = rebuilt("portolan_sandbox_adapter", b'L');
    // A custom section up to the last byte that a router takes.
    let most = 24 << 20;
    let size = u32::try_from(most - bytes.len() - 6).unwrap();
    let length = (0..5).map(|n| u8::try_from(size >> (7 * n) & 0x7f).unwrap() | if n < 4 { 0x80 } else { 0 });
    bytes.push(0);
    bytes.extend(length);
    bytes.extend_from_slice(&[1, b'm']);
    bytes.resize(most, 7);
    std::fs::write(&file, &bytes).unwrap();
    let (file, place) = (file.display().to_string(), registry.place("acme/large:1"));
    sign(&world, &file, "acme");
    sign(&world, &file, "ops");
    good(&world, &["push", &file, &place]);
    let staged = good(&world, &["stage", "sandbox", &place]);
    assert!(staged.contains("\"ready\""), "{staged}");
    bytes.push(7);
    std::fs::write(&file, &bytes).unwrap();
    assert!(refusal(&world, &["push", &file, &place]).contains("are more than the"));
    let line = refusal(&world, &["pull", &format!("oci://{}/acme/cards:1", endless())]);
    assert!(line.contains("it sends more than 256 MiB"), "{line}");
}

#[test]
fn a_registry_with_a_login_takes_dockers() {
    let (registry, world) = (Registry::start(true), live_world());
    let place = registry.place("acme/cards:1");
    let file = component(&world, "mine.wasm", b'a');
    let docker = registry.folder.path().join("docker");
    std::fs::create_dir(&docker).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(portolan_tests::binary("portolan"));
        command.arg("plugin").args(words).env("DOCKER_CONFIG", &docker);
        let out = command.output().unwrap();
        let text = [out.stdout, out.stderr]
            .map(|it| String::from_utf8(it).unwrap())
            .concat();
        (out.status.success(), text)
    };
    let (is_done, said) = run(&["push", &file, &place]);
    assert!(!is_done && said.to_lowercase().contains("auth"), "{said}");
    let login = |auth: &str| {
        let config = json!({ "auths": { registry.at.to_string(): { "auth": auth } } });
        std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
    };
    // Not base64; another's; the right one.
    login("?");
    let (is_done, said) = run(&["push", &file, &place]);
    assert!(!is_done && said.contains("`docker login"), "{said}");
    login("YWNtZTphbm90aGVy");
    assert!(!run(&["push", &file, &place]).0);
    login(DOCKER_AUTH);
    let (is_done, said) = run(&["push", &file, &place]);
    assert!(
        is_done && said.contains("unsigned: a live channel does not take it"),
        "{said}"
    );
    let to = world.folder.join("back.wasm").display().to_string();
    std::fs::write(format!("{to}.dsse.json"), "about something else").unwrap();
    let (is_done, said) = run(&["pull", &place, "--to", &to]);
    assert!(is_done && said.contains("nothing is signed about it"), "{said}");
    assert!(!PathBuf::from(format!("{to}.dsse.json")).exists());
    assert!(!said.contains("a long word") && !said.contains(DOCKER_AUTH));
}
