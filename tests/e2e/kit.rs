//! The partner's kit: a new folder in each language is an adapter that passes its vectors and the host's attacks; the
//! acquirer's adapter in JavaScript and Python does what the one in Rust does, in a running router too.

use portolan_tests::http::call;
use portolan_tests::{Options, World, binary, guest, peers, workspace};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The templates' vectors that ask for a charge by its key.
const STATUS_VECTORS: [&str; 4] = [
    "status.json",
    "status-held.json",
    "status-not-found.json",
    "status-voided.json",
];
/// How long `plugin dev` may be silent on a busy machine.
const SAYS_WITHIN: Duration = Duration::from_secs(120);
const LANGUAGES: [&str; 4] = ["rust", "javascript", "python", "go"];

/// Runs `portolan plugin …`; what it said, good or not.
fn kit(words: &[&str]) -> (bool, String) {
    let out = Command::new(binary("portolan"))
        .arg("plugin")
        .args(words)
        // The tools and crates are here already: nothing is fetched.
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", workspace().join("target/kit"))
        .env("GOPROXY", "off")
        .env("PATH", peers::path())
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn good(words: &[&str]) -> String {
    let (is_good, said) = kit(words);
    assert!(is_good, "{words:?}: {said}");
    said
}

/// Puts the tools of the language where `build` looks for them.
fn with_tools(folder: &Path, language: &str) {
    use std::os::unix::fs::symlink;
    match language {
        "rust" => {
            std::fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        }
        "go" => {
            let module = std::fs::read_to_string(folder.join("go.mod")).unwrap();
            let replaced = format!(
                "{module}\nreplace go.bytecodealliance.org/pkg => {}\n",
                peers::go_module().unwrap()
            );
            std::fs::write(folder.join("go.mod"), replaced).unwrap();
        }
        "javascript" => symlink(peers::node_modules(), folder.join("node_modules")).unwrap(),
        _ => symlink(workspace().join("target/peers"), folder.join(".venv")).unwrap(),
    }
}

fn sandbox_vectors() -> String {
    workspace().join("plugins/sandbox/vectors").display().to_string()
}

/// The acquirer's adapter in another language.
fn acquirer_in(language: &str, folder: &Path) -> PathBuf {
    let file = if language == "python" { "app.py" } else { "adapter.js" };
    let own = workspace().join("examples/partner").join(language).join(file);
    let exports = ["sessions", "payments", "actions", "captures", "refunds", "reversals"];
    let vectors = sandbox_vectors();
    partners(
        folder,
        (language, "dev.portolan.sandbox"),
        (&own, Path::new(&vectors)),
        &exports,
    )
}

/// An adapter in that language, as its partner would build it in a new folder.
pub(crate) fn partners(
    folder: &Path,
    (language, name): (&str, &str),
    (own, vectors): (&Path, &Path),
    exports: &[&str],
) -> PathBuf {
    let path = folder.display().to_string();
    good(&["new", &path, "--lang", language, "--name", name]);
    std::fs::copy(own, folder.join(own.file_name().unwrap())).unwrap();
    let exports: String = exports
        .iter()
        .map(|it| format!("export portolan:channel/{it}@0.1.0; "))
        .collect();
    let world = format!("package partner:adapter; world adapter {{ include portolan:channel/base@0.1.0; {exports} }}");
    std::fs::write(folder.join("wit/world.wit"), world).unwrap();
    std::fs::remove_dir_all(folder.join("vectors")).unwrap();
    std::os::unix::fs::symlink(vectors, folder.join("vectors")).unwrap();
    with_tools(folder, language);
    good(&["build", &path]);
    folder.join("adapter.wasm")
}

/// The example in C: names and values instead of JSON, and no SDK but the contract's bindings.
#[test]
fn the_example_in_c_is_an_adapter_that_conforms() {
    let place = tempfile::tempdir().unwrap();
    let (folder, example) = (place.path(), workspace().join("examples/partner/c"));
    std::fs::create_dir_all(folder.join("wit/deps/channel")).unwrap();
    for (from, to) in [
        (example.join("provider.c"), "provider.c"),
        (example.join("wit/world.wit"), "wit/world.wit"),
        (
            workspace().join("wit/0.1.0/channel.wit"),
            "wit/deps/channel/channel.wit",
        ),
    ] {
        std::fs::copy(from, folder.join(to)).unwrap();
    }
    std::os::unix::fs::symlink(example.join("vectors"), folder.join("vectors")).unwrap();
    good(&["build", &folder.display().to_string()]);
    let component = folder.join("adapter.wasm").display().to_string();
    let vectors = folder.join("vectors").display().to_string();
    let said = good(&["test", &component, "--vectors", &vectors]);
    assert!(said.contains("11 vectors good, 0 not"), "{said}");
    let said = good(&["conform", &component, "--vectors", &vectors]);
    assert!(said.contains(" attacks, 0 findings"), "{said}");
    let said = good(&["check", &component]);
    assert!(
        said.contains("vectors: 11 in it") && said.contains("(form field number)"),
        "{said}"
    );
}

#[test]
fn a_new_folder_in_each_language_is_an_adapter_that_conforms() {
    let place = tempfile::tempdir().unwrap();
    for language in LANGUAGES {
        let folder = place.path().join(language);
        let (path, vectors) = (
            folder.display().to_string(),
            folder.join("vectors").display().to_string(),
        );
        let component = folder.join("adapter.wasm").display().to_string();
        let name = format!("com.acme.{language}");
        good(&[
            "new",
            &path,
            "--lang",
            language,
            "--can",
            "payments,captures,refunds",
            "--name",
            &name,
        ]);
        with_tools(&folder, language);
        good(&["build", &path]);
        let said = good(&["test", &component, "--vectors", &vectors]);
        assert!(said.contains("16 vectors good, 0 not"), "{language}: {said}");
        if language == "python" {
            // Compiling 19 MB takes its time; the attacks are the same.
            continue;
        }
        let said = good(&["conform", &component, "--vectors", &vectors]);
        assert!(said.contains(" attacks, 0 findings"), "{language}: {said}");
        let said = good(&["check", &component]);
        assert!(said.contains("vectors: 16 in it"), "{said}");
        assert!(said.starts_with(&format!("{name} 0.1.0: PROVIDER, cards")), "{said}");
        assert!(
            said.contains("  secret api_key at api (header authorization after \"Bearer \"): every request"),
            "{said}"
        );
        assert!(
            kit(&["new", &path, "--lang", language, "--name", &name])
                .1
                .contains("exists already")
        );
    }
}

#[test]
fn an_adapter_in_go_is_taken_in_behind_either_wall() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("go");
    let path = folder.display().to_string();
    good(&["new", &path, "--lang", "go", "--name", "com.acme.go"]);
    with_tools(&folder, "go");
    // What it writes to its own output goes nowhere, and what it waits for is there.
    let source = folder.join("adapter/adapter.go");
    let text = std::fs::read_to_string(&source).unwrap();
    let said = text.replacen("\t\"fmt\"\n", "\t\"fmt\"\n\t\"os\"\n", 1).replacen(
        "\tit := request.Instrument.Card()\n",
        "\tit := request.Instrument.Card()\n\tfmt.Fprintln(os.Stderr, it.Brand)\n",
        1,
    );
    assert!(said.contains("os.Stderr"));
    std::fs::write(&source, said).unwrap();
    good(&["build", &path]);
    let first = folder.join("adapter.wasm");
    let mut bytes = std::fs::read(&first).unwrap();
    bytes.extend_from_slice(&[0, 3, 1, b'm', 1]);
    let second = folder.join("second.wasm");
    std::fs::write(&second, bytes).unwrap();
    for trusted in [false, true] {
        let more = format!(
            "[[adapter]]\nname = \"acme\"\nfile = {first:?}\ntrusted = {trusted}\n[[channel]]\nid = \"acme-a\"\nmode = \"test\"\n\
             adapter = \"acme\"\ncard_data = true\nendpoints.api = {{ url = \"https://api.provider.example\" }}\n\
             secrets.api_key = \"env:ACME_KEY\"\n"
        );
        let world = World::start(Options {
            more,
            env: vec![("ACME_KEY".into(), "of-acme".into())],
            ..Options::default()
        })
        .unwrap();
        let staged = crate::plugins::good(&world, &["stage", "acme", &second.display().to_string()]);
        assert!(
            staged.contains("\"ready\"") && staged.contains("com.acme.go"),
            "{staged}"
        );
    }
}

#[test]
fn the_kit_finds_what_an_adapter_does_wrong() {
    let adapters = ["sandbox", "stripe", "airwallex", "alipay_plus"];
    for name in adapters {
        let component = guest(&format!("portolan_{name}_adapter")).display().to_string();
        let vectors = workspace().join("plugins").join(name.replace('_', "-")).join("vectors");
        let vectors = vectors.display().to_string();
        good(&["test", &component, "--vectors", &vectors]);
        good(&["conform", &component, "--vectors", &vectors]);
    }
    // The misbehaving one, on amounts at which it does: each is found.
    let place = tempfile::tempdir().unwrap();
    let bad = guest("portolan_misbehaving_adapter").display().to_string();
    let approved = std::fs::read_to_string(workspace().join("plugins/sandbox/vectors/approved.json")).unwrap();
    let cases = [
        ("10801", "timeout"),
        ("10802", "memory"),
        ("10803", "trap"),
        ("10804", "the adapter is broken on purpose"),
        ("10805", "too_large"),
        ("10806", "too_large"),
        ("10830", "\"do-not-honour\" is not one that merchants are told"),
    ];
    for (units, finding) in cases {
        let folder = place.path().join(units);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("case.json"), approved.replace("1099", units)).unwrap();
        let (is_good, said) = kit(&["test", &bad, "--vectors", &folder.display().to_string()]);
        assert!(!is_good && said.contains(finding), "{units}: {said}");
    }
    let folder = place.path().join("10812");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("case.json"), approved.replace("1099", "10812")).unwrap();
    let (is_good, said) = kit(&["conform", &bad, "--vectors", &folder.display().to_string()]);
    assert!(
        !is_good
            && said.contains("no answer: a write went unanswered and the outcome is Declined: nobody can know that"),
        "{said}"
    );
}

#[test]
fn the_same_adapter_in_javascript_and_python_takes_over_a_running_channel() {
    let place = tempfile::tempdir().unwrap();
    let world = World::start(Options {
        acquirer: vec!["--silent".into()],
        ..Options::default()
    })
    .unwrap();
    for language in ["javascript", "python"] {
        let component = acquirer_in(language, &place.path().join(language));
        let component_at = component.display().to_string();
        let said = good(&["test", &component_at, "--vectors", &sandbox_vectors()]);
        let all = std::fs::read_dir(sandbox_vectors()).unwrap().count();
        assert!(
            said.contains(&format!("{all} vectors good, 0 not")),
            "{language}: {said}"
        );
        assert!(good(&["check", &component_at]).contains(&format!("vectors: {all} in it")));
        let config = world.config().display().to_string();
        let out = Command::new(binary("portolan"))
            .args(["--config", &config, "plugin", "stage", "sandbox", &component_at])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            out.status.success(),
            "{language}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        let digest = said
            .split("\"digest\": \"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        let path = format!("/admin/plugins/sandbox/versions/{digest}/activate");
        let active = world
            .admin_call("POST", &path, Some(&json!({ "by": "alice" })))
            .unwrap();
        assert_eq!(active.status, 200, "{}", active.text);
        let paid = world.pay("4242424242424242", 1_234).unwrap();
        assert_eq!(paid.text_at("/status"), "succeeded", "{language}: {}", paid.text);
        assert_eq!(world.charges_of(paid.text_at("/id")).unwrap().len(), 1);
        let declined = world.pay("4000000000000002", 1_000).unwrap();
        assert_eq!(declined.text_at("/status"), "failed", "{language}: {}", declined.text);
        let refund = json!({ "payment": paid.text_at("/id"), "amount": 234 });
        let refunded = world.post("/v1/refunds", &refund).unwrap();
        assert_eq!(
            refunded.text_at("/status"),
            "succeeded",
            "{language}: {}",
            refunded.text
        );
    }
    world.assert_books().unwrap();
}

/// A process that ends with this, however that is.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// `portolan plugin dev` of a folder, with what it says.
fn dev(folder: &Path) -> (Running, impl FnMut(&str) -> String) {
    let mut watching = Command::new(binary("portolan"))
        .args(["plugin", "dev"])
        .arg(folder)
        .env("PATH", peers::path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = watching.stdout.take().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            let _gone = tell.send(line);
        }
    });
    let until = move |what: &str| {
        let mut all = String::new();
        loop {
            let Ok(line) = told.recv_timeout(SAYS_WITHIN) else {
                panic!("never: {what}; it said:\n{all}")
            };
            if line.contains(what) {
                return line;
            }
            all.push_str(&line);
            all.push('\n');
        }
    };
    (Running(watching), until)
}

/// What the command answers.
fn as_hinted(command: &str) -> serde_json::Value {
    let between = |before: &str, after: &str| {
        let rest = command.split_once(before).unwrap().1;
        rest.split_once(after).unwrap().0.to_owned()
    };
    let address = between("http://", "/").parse().unwrap();
    let bearer = between("'Authorization: ", "'");
    let body = between("-d '", "'");
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", body.as_str()),
        ("content-type", "application/json"),
    ];
    let path = format!("/{}", between(&format!("{address}/"), " "));
    call(address, "POST", &path, &headers, Some(&body)).unwrap().body
}

#[test]
fn a_new_folder_is_paid_with_at_a_provider_that_answers_as_its_vectors_say() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("acme");
    let path = folder.display().to_string();
    let can = ["--can", "captures,refunds"];
    good(&[
        "new",
        &path,
        "--lang",
        "javascript",
        can[0],
        can[1],
        "--name",
        "com.acme.cards",
    ]);
    with_tools(&folder, "javascript");
    let (watching, mut until) = dev(&folder);
    for (vector, ending) in [
        ("approved", "succeeded"),
        ("declined-unknown-code", "failed"),
        ("declined", "failed"),
        ("held", "requires_capture"),
        ("server-error", "processing, then succeeded"),
        ("timeout", "processing, then succeeded"),
        ("capture", "succeeded"),
        ("cancel", "canceled"),
        ("refund", "succeeded"),
    ] {
        let said = until(&format!(", {vector} ("));
        assert!(said.contains(&format!("): {ending}, ")), "{said}");
    }
    // The hint is a command that pays; the amount's last two digits choose the vector.
    let hint = until("  curl http://127.0.0.1:");
    for (amount, ending) in [("7701", "succeeded"), ("7703", "failed")] {
        let paid = as_hinted(&hint.replace("\"amount\":1001", &format!("\"amount\":{amount}")));
        assert_eq!(
            (&paid["status"], &paid["amount"]),
            (&json!(ending), &json!(amount.parse::<u64>().unwrap()))
        );
    }
    until("waiting for the next save");
    // Another version goes into the same router; one that asks for more gets a new one, where it is granted.
    let source = folder.join("adapter.js");
    let text = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, format!("{text}\nexport const mark = 1;")).unwrap();
    assert!(until(", approved (").contains("succeeded"));
    until("waiting for the next save");
    // One that asks for what it never sent is found, although its vectors hold.
    let wrong = text.replace("/charges?key=${of.keys[0]}", "/charges?key=${of.operation}");
    assert_ne!(wrong, text);
    for name in STATUS_VECTORS {
        let vector = folder.join("vectors").join(name);
        let kept = std::fs::read_to_string(&vector).unwrap();
        std::fs::write(&vector, kept.replace("charges?key=key-of-charge", "charges?key=op_1")).unwrap();
    }
    std::fs::write(&source, wrong).unwrap();
    assert!(until(", timeout (").contains("IT WAS TAKEN, AND WHAT IT ASKED FOR IS NOT THERE"));
    until("went otherwise than their vectors say");
    until("waiting for the next save");
    for name in STATUS_VECTORS {
        let vector = folder.join("vectors").join(name);
        let kept = std::fs::read_to_string(&vector).unwrap();
        std::fs::write(&vector, kept.replace("charges?key=op_1", "charges?key=key-of-charge")).unwrap();
    }
    let asks = "harmless: [{ endpoint: API, method: \"POST\", path: \"/quotes\", without: [], prepare: false }]";
    std::fs::write(&source, text.replace("harmless: []", asks)).unwrap();
    until("a router of its own");
    let (is_good, said) = kit(&["dev", &path]);
    assert!(!is_good && said.contains("another `plugin dev` is at work"), "{said}");
    let config = std::fs::read_to_string(folder.join(".portolan/portolan.toml")).unwrap();
    assert!(config.contains("harmless = [\"POST /quotes\"]"), "{config}");
    let hint = until("  curl http://127.0.0.1:");
    let at = hint
        .trim_start()
        .trim_start_matches("curl http://")
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    // However it ends, its router does not stay behind.
    drop(watching);
    let started = std::time::Instant::now();
    while std::net::TcpStream::connect(&at).is_ok() {
        assert!(started.elapsed().as_secs() < 60, "{at} still listens");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

#[test]
fn what_is_saved_is_in_the_router_a_moment_later() {
    let place = tempfile::tempdir().unwrap();
    let world = World::start(Options {
        acquirer: vec!["--silent".into()],
        ..Options::default()
    })
    .unwrap();
    let folder = place.path().join("acquirer");
    acquirer_in("javascript", &folder);
    std::fs::remove_file(folder.join("vectors")).unwrap();
    let mut watching = Command::new(binary("portolan"))
        .arg("--config")
        .arg(world.config())
        .args(["plugin", "dev"])
        .arg(&folder)
        .args(["--into", "sandbox"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(watching.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut until = |what: &str| {
        said.find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("never: {what}"))
    };
    let first = until("sandbox is ");
    until("waiting for the next save");
    let source = folder.join("adapter.js");
    let good = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, format!("{good}\nthis is no JavaScript")).unwrap();
    until("adapter.js");
    until("waiting for the next save");
    std::fs::write(&source, format!("{good}\nexport const mark = 1;")).unwrap();
    let second = until("sandbox is ");
    assert_ne!(first.split(' ').nth(2), second.split(' ').nth(2));
    watching.kill().unwrap();
    watching.wait().unwrap();
    let paid = world.pay("4242424242424242", 1_234).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{}", paid.text);
    let all = world.admin_call("GET", "/admin/plugins", None).unwrap();
    let versions = all.body["versions"].as_array().unwrap();
    let active = versions.iter().find(|it| it["stage"] == "active").unwrap();
    let digest = active["digest"].as_str().unwrap();
    assert!(
        digest.starts_with(second.split(' ').nth(2).unwrap()),
        "{second}: {digest}"
    );
}
