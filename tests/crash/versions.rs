//! Kills between the steps of a version's life: what was written is found, what was not is not, and one version is active.

use base64::Engine;
use portolan_tests::{Options, World, guest};
use serde_json::{Value, json};

fn component(mark: u8) -> Value {
    let mut bytes = std::fs::read(guest("portolan_sandbox_adapter")).unwrap();
    // A custom section, so that it is another version.
    bytes.extend_from_slice(&[0, 3, 1, b'm', mark]);
    json!({ "by": "alice", "component": base64::engine::general_purpose::STANDARD.encode(bytes) })
}

fn stages(world: &World) -> Vec<String> {
    let all = world.admin_call("GET", "/admin/plugins", None).unwrap();
    let versions = all.body["versions"].as_array().unwrap();
    let mut stages: Vec<String> = versions
        .iter()
        .map(|it| it["stage"].as_str().unwrap().to_owned())
        .collect();
    stages.sort();
    stages
}

/// Starts the host anew, to be killed at that step, and does it.
fn killed_at(world: &mut World, step: &str, path: &str, body: &Value) {
    world.kill_host().unwrap();
    world.set_env(vec![("PORTOLAN_STOP_AT".into(), step.into())]);
    world.start_host().unwrap();
    let answer = world.admin_call("POST", path, Some(body));
    assert!(answer.is_err(), "{step}: it was not killed");
    world.await_host_end().unwrap();
    world.set_env(vec![]);
    world.start_host().unwrap();
    let paid = world.pay("4242424242424242", 1_000).unwrap();
    assert_eq!(paid.text_at("/status"), "succeeded", "{step}: {}", paid.text);
}

#[test]
fn a_kill_at_every_step_of_a_version_leaves_one_active() {
    let mut world = World::start(Options {
        is_fresh: true,
        acquirer: vec!["--silent".into()],
        ..Options::default()
    })
    .unwrap();
    let versions = "/admin/plugins/sandbox/versions";
    killed_at(&mut world, "before_version:1", versions, &component(b'a'));
    assert_eq!(stages(&world), ["active"], "it never came in");
    // Staged, verified, admitted: whatever was written last, the next start brings it to its end.
    for (n, mark) in [(1, b'b'), (2, b'c'), (3, b'd')] {
        killed_at(&mut world, &format!("after_version:{n}"), versions, &component(mark));
    }
    assert_eq!(stages(&world), ["active", "ready", "ready", "ready"]);
    let all = world.admin_call("GET", "/admin/plugins", None).unwrap();
    let ready = all.body["versions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["stage"] == "ready")
        .unwrap();
    let activate = format!("{versions}/{}/activate", ready["digest"].as_str().unwrap());
    killed_at(&mut world, "before_version:1", &activate, &json!({ "by": "alice" }));
    assert_eq!(stages(&world), ["active", "ready", "ready", "ready"]);
    killed_at(&mut world, "after_version:1", &activate, &json!({ "by": "alice" }));
    assert_eq!(stages(&world), ["active", "draining", "ready", "ready"]);
    killed_at(
        &mut world,
        "after_version:1",
        "/admin/plugins/sandbox/rollback",
        &json!({ "by": "alice" }),
    );
    assert_eq!(stages(&world), ["active", "draining", "ready", "ready"]);
    world.assert_books().unwrap();
}
