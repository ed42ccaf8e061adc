//! The commented configuration is a good one, wherever the router is started.

use portolan_tests::{binary, workspace};
use std::process::Command;

#[test]
fn the_example_is_good_from_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(workspace().join("examples/portolan.toml")).unwrap();
    // Beside it lies what it names; only the guests stay where they were built.
    let text = text.replace("../target/", &format!("{}/", workspace().join("target").display()));
    std::fs::write(folder.path().join("portolan.toml"), text).unwrap();
    for key in [
        "wallet/keys/router.key",
        "wallet/keys/provider.pub",
        "bank/keys/router.key",
    ] {
        let to = folder.path().join(key);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(workspace().join("examples").join(key), to).unwrap();
    }
    let secrets = [
        "ACQUIRER_CLIENT_SECRET",
        "ACQUIRER_SIGNING_KEY",
        "ACQUIRER_NOTIFY_KEY",
        "DESK_CLIENT_ID",
        "DESK_API_KEY",
        "DESK_WEBHOOK_SECRET",
        "BANK_ACCESS_TOKEN",
        "BANK_CONSENT",
        "USDC_SEED",
    ];
    let check = |secrets: &[&str]| {
        let out = Command::new(binary("portolan"))
            .arg("--config")
            .arg(folder.path().join("portolan.toml"))
            .arg("check-config")
            .envs(secrets.iter().map(|name| (*name, "000102030405060708090a0b0c0d0e0f")))
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.success(), said)
    };
    let (is_good, said) = check(&secrets);
    assert!(is_good, "{said}");
    let (is_good, said) = check(&secrets[1..]);
    assert!(!is_good && said.contains("ACQUIRER_CLIENT_SECRET"), "{said}");
}
