//! The wall itself: the few system calls that computing takes. Any other kills the worker. No file can be opened, nothing
//! connected, no process or thread started, and no page of memory made executable.

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    apply_filter_all_threads,
};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// `PAGEMAP_SCAN` of `linux/fs.h`: which pages of its own memory a guest wrote to.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
const PROT_EXEC: u64 = 4;
const MAP_PRIVATE: u64 = 2;
const MAP_TYPE: u64 = 15;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_GROWSDOWN: u64 = 0x100;
const MSG_NOSIGNAL: u64 = 0x4000;

/// Memory, clocks, waiting, signals of its own traps, its end.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Puts up the wall around all threads. There is no way back. What passes is what goes through `pipe`; of open files only
/// those in `images` can be seen.
pub(super) fn shut(pipe: &UnixStream, images: &[u64]) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| format!("putting up the wall: {error}");
    let filter = filter(pipe, images).map_err(|error| text(&error))?;
    let program: seccompiler::BpfProgram = filter
        .try_into()
        .map_err(|error: seccompiler::BackendError| text(&error))?;
    apply_filter_all_threads(&program).map_err(|error| text(&error))
}

fn filter(pipe: &UnixStream, images: &[u64]) -> Result<SeccompFilter, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, vec![])).collect();
    let is = |argument, operator, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    // Files that the router itself was started with may be open here too: they cannot be read, written or mapped.
    let through_the_pipe = || is(0, SeccompCmpOp::Eq, u64::try_from(pipe.as_raw_fd()).unwrap_or(u64::MAX));
    let plainly = |flags: u64| SeccompRule::new(vec![through_the_pipe()?, is(3, SeccompCmpOp::Eq, flags)?]);
    rules.insert(libc::SYS_recvfrom, vec![plainly(0)?]);
    rules.insert(libc::SYS_sendto, vec![plainly(0)?, plainly(MSG_NOSIGNAL)?]);
    let not_executable = || is(2, SeccompCmpOp::MaskedEq(PROT_EXEC), 0);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_executable()?])?]);
    // Memory that the limit on data does not count is not to be had.
    let private = |more: u64| {
        let kind = MAP_TYPE | MAP_GROWSDOWN | more;
        is(3, SeccompCmpOp::MaskedEq(kind), MAP_PRIVATE | more)
    };
    let mut maps = vec![SeccompRule::new(vec![not_executable()?, private(MAP_ANONYMOUS)?])?];
    for image in images {
        let it = is(4, SeccompCmpOp::Eq, *image)?;
        maps.push(SeccompRule::new(vec![not_executable()?, private(0)?, it])?);
    }
    rules.insert(libc::SYS_mmap, maps);
    let own_pages = is(1, SeccompCmpOp::Eq, PAGEMAP_SCAN)?;
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![own_pages])?]);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    const TRIED: &str = "PORTOLAN_TRIED_BEHIND_THE_WALL";

    /// Each in a process of its own, which is this test again.
    #[test]
    fn behind_the_wall_only_computing_works() {
        if let Ok(what) = std::env::var(TRIED) {
            let (pipe, other) = UnixStream::pair().unwrap();
            shut(&pipe, &[]).unwrap();
            attempt(&what, &pipe, &other);
            std::process::exit(0);
        }
        let name = "worker::seccomp::tests::behind_the_wall_only_computing_works";
        for (what, signal) in [
            ("computing", None),
            ("speaking", None),
            ("speaking elsewhere", Some(31)),
            ("reading a file", Some(31)),
            ("writing a file", Some(31)),
            ("connecting", Some(31)),
            ("starting a program", Some(31)),
            ("starting a thread", Some(31)),
            ("stopping the router", Some(31)),
            ("making machine code", Some(31)),
        ] {
            let mut again = Command::new(std::env::current_exe().unwrap());
            let out = again.args(["--exact", name]).env(TRIED, what).output().unwrap();
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.signal(), signal, "{what}: {} {text}", out.status);
            assert!(
                signal.is_some() || out.status.success(),
                "{what}: {} {text}",
                out.status
            );
        }
    }

    fn attempt(what: &str, mut pipe: &UnixStream, mut other: &UnixStream) {
        match what {
            "speaking" => pipe.write_all(b"words").unwrap(),
            "speaking elsewhere" => drop(other.write_all(b"words")),
            "computing" => {
                let much = vec![1_u8; 64 << 20];
                assert_eq!(much.iter().map(|it| u64::from(*it)).sum::<u64>(), 64 << 20);
            }
            "reading a file" => drop(std::fs::read("/etc/hostname")),
            "writing a file" => drop(std::fs::write("/tmp/portolan-wall", "x")),
            "connecting" => drop(std::net::TcpStream::connect("127.0.0.1:9")),
            "starting a program" => drop(Command::new("/bin/true").spawn()),
            "starting a thread" => drop(std::thread::spawn(|| ())),
            "stopping the router" => {
                let itself = rustix::process::Pid::from_raw(1).unwrap();
                let _ = rustix::process::test_kill_process(itself);
            }
            "making machine code" => {
                // One function that does nothing.
                let module = hex::decode("0061736d01000000010401600000030201000a040102000b").unwrap();
                drop(
                    wasmtime::Module::new(&wasmtime::Engine::default(), module)
                        .map_err(drop)
                        .unwrap(),
                );
            }
            other => panic!("{other}?"),
        }
    }
}
