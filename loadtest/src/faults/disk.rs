//! Disks that fail: one that is full, one that hangs.
//! Knows mounts, and a library that is loaded into the server. What the server makes of it is measured elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A small file system in memory, that can be filled.
pub(super) struct SmallDisk {
    /// Where it is.
    pub(super) folder: PathBuf,
}

/// The journal's reserve of 64 MiB, and room for a database and what is written before the disk is full.
const SIZE: &str = "160m";
/// What fills it up.
const BALLAST: &str = "ballast";
const CHUNK: usize = 64 << 10;

impl SmallDisk {
    /// Mounts one, which only root may.
    pub(super) fn mount(folder: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tandem", &folder.display().to_string()],
        )?;
        Ok(Self { folder })
    }

    /// Not a byte more fits on it.
    pub(super) fn fill(&self) -> Result<(), String> {
        let path = self.folder.join(BALLAST);
        let mut file = fs::File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let chunk = vec![0x55; CHUNK];
        // Each write is shorter once there is less room, until nothing fits.
        for length in
            std::iter::successors(Some(CHUNK), |length| Some(length / 2)).take_while(|length| *length > 0)
        {
            while std::io::Write::write_all(&mut file, &chunk[..length]).is_ok() {}
        }
        Ok(())
    }

    /// There is room again.
    pub(super) fn relieve(&self) {
        let _it_was_never_filled = fs::remove_file(self.folder.join(BALLAST));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that does not end keeps what it has open.
        let _it_goes_with_the_namespace = run("umount", &["-l", &self.folder.display().to_string()]);
    }
}

/// Lets the server's writes below its data directory hang.
pub(super) struct HangingDisk {
    library: PathBuf,
    switch: PathBuf,
    /// Where files hang.
    pub(super) below: PathBuf,
}

impl HangingDisk {
    /// Prepares one for the server whose data is below `below`; `folder` is for what it needs.
    pub(super) fn prepare(folder: &Path, below: PathBuf) -> Result<Self, String> {
        let source = folder.join("disk.c");
        let library = folder.join("disk.so");
        fs::write(&source, include_str!("disk.c"))
            .map_err(|error| format!("{}: {error}", source.display()))?;
        let (library_name, source_name) = (library.display().to_string(), source.display().to_string());
        run("cc", &["-O1", "-shared", "-fPIC", "-o", &library_name, &source_name, "-ldl"])?;
        Ok(Self { library, switch: folder.join("disk.hangs"), below })
    }

    /// What the server is to be started with.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("TANDEM_FAULT_SWITCH", self.switch.display().to_string()),
            ("TANDEM_FAULT_FOLDER", self.below.display().to_string()),
        ]
    }

    pub(super) fn hang(&self) -> Result<(), String> {
        fs::write(&self.switch, "").map_err(|error| format!("{}: {error}", self.switch.display()))
    }

    pub(super) fn go_on(&self) {
        let _it_never_hung = fs::remove_file(&self.switch);
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        self.go_on();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
