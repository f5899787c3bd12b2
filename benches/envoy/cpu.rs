//! CPUs: who may use which, and how long threads have used them.

use std::fs;
use std::ops::{Add, Sub};
use std::process::Command;
use std::time::Duration;

/// The CPUs of this benchmark.
pub(crate) struct Cpus {
    /// Envoy's alone.
    pub(crate) envoy: String,
    /// All that there are.
    pub(crate) all: String,
}

impl Cpus {
    /// Takes the first CPU for this process, load and upstreams, and leaves the last to Envoy: where cores have
    /// two threads each, these two are on different cores.
    pub(crate) fn claim() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let all = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .expect("a list")
            .trim()
            .to_owned();
        let is_border = |character: char| character == ',' || character == '-';
        let mine = all.split(is_border).next().expect("a CPU");
        let envoy = all.rsplit(is_border).next().expect("a CPU").to_owned();
        assert_ne!(mine, envoy, "this needs two CPUs: one for Envoy, one for load and upstreams");
        let pid = std::process::id().to_string();
        let pinned =
            Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", mine, &pid]).output();
        assert!(pinned.expect("taskset (util-linux)").status.success(), "taskset refused CPU {mine}");
        Self { envoy, all }
    }
}

/// How long threads have run, and how long they have waited for a CPU that somebody else had: the scheduler's
/// own nanoseconds. (utime and stime in `/proc/PID/stat` say the same in hundredths of a second.)
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) ran: Duration,
    pub(crate) waited: Duration,
}

impl Times {
    /// Of all threads of a process.
    pub(crate) fn of_process(pid: u32) -> Self {
        threads(pid).map(|thread| Self::of(&thread)).fold(Self::default(), |all, one| all + one)
    }

    /// Of the thread with this name.
    pub(crate) fn of_thread(pid: u32, name: &str) -> Self {
        let is_it = |thread: &String| {
            fs::read_to_string(format!("{thread}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        Self::of(&threads(pid).find(is_it).expect("the thread"))
    }

    fn of(thread: &str) -> Self {
        // A thread may have ended since it was listed.
        let schedstat = fs::read_to_string(format!("{thread}/schedstat")).unwrap_or_default();
        let mut numbers = schedstat.split(' ').map_while(|number| number.parse().ok());
        let mut next = || Duration::from_nanos(numbers.next().unwrap_or(0));
        Self { ran: next(), waited: next() }
    }
}

impl Add for Times {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { ran: self.ran + other.ran, waited: self.waited + other.waited }
    }
}

impl Sub for Times {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { ran: self.ran - earlier.ran, waited: self.waited - earlier.waited }
    }
}

/// The threads' directories.
fn threads(pid: u32) -> impl Iterator<Item = String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    tasks.map(|task| task.expect("a thread").path().to_str().expect("digits").to_owned())
}
