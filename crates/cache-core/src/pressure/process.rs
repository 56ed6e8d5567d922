//! What memory this process has left.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{Pressure, PressureGauge};
use crate::{
    error::{Error, ErrorKind, Result},
    units::ByteSize,
};

/// A limit of cgroup v1 that stands for none: it is written as the largest number of pages.
const NO_LIMIT: u64 = 1 << 60;

/// Reads this process's resident memory against what it may have: its cgroup's limit (v2 or v1), a
/// limit that was set, or the lower of both.
///
/// Where a cgroup has a limit, its own count is read where that is more: what other processes in it
/// take is missing here too. Pages of files that were not used lately are no part of it: the kernel
/// gives them up when memory is wanted. Without any limit there is no pressure. Reads `/proc` and
/// `/sys/fs/cgroup`, and so tells nothing on other systems than Linux.
#[derive(Clone, Debug)]
pub struct ProcessMemory {
    limit: Option<u64>,
    root: PathBuf,
}

impl ProcessMemory {
    /// Against the limit of the cgroup.
    #[must_use]
    pub fn new() -> Self {
        Self { limit: None, root: "/".into() }
    }

    /// Against this limit, or that of the cgroup where it is lower.
    #[must_use]
    pub fn with_limit(self, limit: ByteSize) -> Self {
        Self { limit: Some(limit.as_u64()), ..self }
    }

    /// With another directory in the place of `/`.
    #[cfg(test)]
    fn under(self, root: &Path) -> Self {
        Self { root: root.to_owned(), ..self }
    }

    fn read_now(&self) -> Result<Pressure> {
        let resident = self.resident()?;
        let group = self.group();
        let limit = [self.limit, group.map(|group| group.limit)].into_iter().flatten().min();
        // What a cgroup counts says nothing about a limit that is this process's own.
        let is_groups = group.is_some_and(|group| Some(group.limit) == limit);
        let used = group.filter(|_| is_groups).map_or(resident, |group| group.used.max(resident));
        Ok(Pressure { used, limit: limit.unwrap_or(0) })
    }

    /// The resident set of this process.
    fn resident(&self) -> Result<u64> {
        let path = self.root.join("proc/self/status");
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| unreadable(&path, &"there is no line `VmRSS`"))
    }

    /// The limit of the cgroup and what it uses, of version 2 or else 1; nothing without a limit.
    fn group(&self) -> Option<Pressure> {
        let groups = std::fs::read_to_string(self.root.join("proc/self/cgroup")).ok()?;
        groups.lines().filter_map(|line| self.group_of(line)).min_by_key(|group| group.limit)
    }

    /// Of a line of `/proc/self/cgroup`: `0::/path` in version 2, `5:memory:/path` in version 1.
    fn group_of(&self, line: &str) -> Option<Pressure> {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (mount, files) = if controllers.is_empty() {
            ("sys/fs/cgroup", &VERSION_2)
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", &VERSION_1)
        } else {
            return None;
        };
        let mount = self.root.join(mount);
        // Within a container the path is often that of the host, and the mount its own root. A limit
        // of a parent holds for its children.
        let relative = Path::new(path.trim_start_matches('/'));
        let places = relative.ancestors().map(|place| mount.join(place));
        places.filter_map(|place| read_group(&place, files)).min_by_key(|group| group.limit)
    }
}

impl Default for ProcessMemory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl PressureGauge for ProcessMemory {
    fn name(&self) -> &str {
        "process"
    }

    /// The files are the kernel's own, and reading them waits for no disk.
    async fn read(&self) -> Result<Pressure> {
        self.read_now()
    }
}

/// The files of a cgroup.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` that tells the pages of files that were not used lately.
    idle: &'static str,
}

const VERSION_2: Files =
    Files { limit: "memory.max", used: "memory.current", idle: "inactive_file " };

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    idle: "total_inactive_file ",
};

fn read_group(place: &Path, files: &Files) -> Option<Pressure> {
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(place.join(name)).ok()?.trim().parse().ok()
    };
    let limit = number(files.limit).filter(|limit| *limit < NO_LIMIT)?;
    let stat = std::fs::read_to_string(place.join("memory.stat")).unwrap_or_default();
    let idle = stat.lines().find_map(|line| line.strip_prefix(files.idle)?.trim().parse().ok());
    Some(Pressure { used: number(files.used)?.saturating_sub(idle.unwrap_or(0)), limit })
}

fn unreadable(path: &Path, fault: &dyn std::fmt::Display) -> Error {
    let message =
        format!("the memory of this process cannot be read in {}: {fault}", path.display());
    Error::new(ErrorKind::Unavailable, message).hint("this needs Linux with /proc")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nVmRSS:\t   2048 kB\nVmSwap:\t 0 kB\n";

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files.iter().chain(&[("proc/self/status", STATUS)]) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn both_versions_of_cgroups_are_read_and_the_lowest_limit_counts() {
        let second = system(&[
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("sys/fs/cgroup/pod/app/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/app/memory.current", "1\n"),
            ("sys/fs/cgroup/pod/memory.max", "4194304\n"),
            ("sys/fs/cgroup/pod/memory.current", "3000000\n"),
        ]);
        let gauge = ProcessMemory::new().under(second.path());
        assert_eq!(gauge.read_now().unwrap(), Pressure { used: 3_000_000, limit: 4_194_304 });
        let lower = gauge.with_limit(ByteSize::mib(3));
        assert_eq!(lower.read_now().unwrap(), Pressure { used: 2 << 20, limit: 3 << 20 });

        let first = system(&[
            ("proc/self/cgroup", "3:cpu:/x\n5:memory:/app\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "8388608\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "100\n"),
        ]);
        let gauge = ProcessMemory::new().under(first.path());
        assert_eq!(gauge.read_now().unwrap(), Pressure { used: 2 << 20, limit: 8 << 20 });
    }

    #[test]
    fn pages_of_files_that_the_kernel_would_give_up_are_not_counted() {
        let second = system(&[
            ("proc/self/cgroup", "0::/app\n"),
            ("sys/fs/cgroup/app/memory.max", "4194304\n"),
            ("sys/fs/cgroup/app/memory.current", "4190000\n"),
            ("sys/fs/cgroup/app/memory.stat", "anon 9\nactive_file 5\ninactive_file 1190000\n"),
        ]);
        let gauge = ProcessMemory::new().under(second.path());
        assert_eq!(gauge.read_now().unwrap(), Pressure { used: 3_000_000, limit: 4_194_304 });

        let first = system(&[
            ("proc/self/cgroup", "5:memory:/app\n"),
            ("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "8388608\n"),
            ("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "8000000\n"),
            (
                "sys/fs/cgroup/memory/app/memory.stat",
                "inactive_file 7\ntotal_inactive_file 3000000\n",
            ),
        ]);
        let gauge = ProcessMemory::new().under(first.path());
        assert_eq!(gauge.read_now().unwrap(), Pressure { used: 5_000_000, limit: 8 << 20 });
    }

    #[test]
    fn without_a_limit_there_is_none_and_without_proc_that_is_said() {
        let root = system(&[
            ("proc/self/cgroup", "0::/\n5:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let gauge = ProcessMemory::new().under(root.path());
        assert_eq!(gauge.read_now().unwrap(), Pressure { used: 2 << 20, limit: 0 });
        let gauge = ProcessMemory::new().under(&root.path().join("nowhere"));
        let error = gauge.read_now().unwrap_err();
        assert!(error.to_string().contains("proc/self/status"), "{error}");
    }
}
